"""Random compositions of operations: reverse mode, forward mode, differences and vmap agree, to second order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import expkit as ek

N = 3  # every value on the stack is of shape (N, N)

# Smooth maps of (N, N) matrices; bounded enough that a dozen of them in a row stay tame.
UNARY = {
    "sin": lambda x: x.sin(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "gentle exp": lambda x: (x * 0.3).tanh().exp(),
    "root": lambda x: (x * x + 1).sqrt(),
    "log": lambda x: (x * x + 1).log(),
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(0),
    "logsumexp": lambda x: x - x.logsumexp(1, keepdim=True),
    "mean": lambda x: x - x.mean(0, keepdim=True),
    "sum of rows": lambda x: x.sum(1, keepdim=True).expand(N, N) * 0.3,
    "variance": lambda x: x * x.var(1, keepdim=True),
    "transposed": lambda x: x.T,
    "flipped": lambda x: x.flip(0),
    "rolled": lambda x: x.roll(1, 1),
    "row": lambda x: x[1].expand(N, N),
    "picked": lambda x: x[ek.tensor([2, 0, 2])],
    "masked": lambda x: x.masked_fill(ek.eye(N).bool(), 0.5),
    "lower": lambda x: x.tril() + 0.1,
    "running": lambda x: x.cumsum(0) * 0.5,
    "product": lambda x: x.tanh().prod(1, keepdim=True) + x,
    "norm": lambda x: x / (1 + x.norm()),
    "written": lambda x: write(x),
    "gelu": lambda x: ek.nn.functional.gelu(x),
    "layer_norm": lambda x: ek.nn.functional.layer_norm(x, (N,), eps=1.0),
    "inverse": lambda x: ek.linalg.inv(x.tanh() * 0.2 + ek.eye(N, dtype=x.dtype)),
    "view": lambda x: x.reshape(N * N)[1:].sin().sum() + x,
}
BINARY = {
    "add": lambda x, y: x + y * 0.5,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y.tanh(),
    "div": lambda x, y: x / (y * y + 2),
    "matmul": lambda x, y: (x @ y).tanh(),
    "pow": lambda x, y: (x * x + 0.5) ** (y.tanh()),
    "atan2": lambda x, y: ek.atan2(x, y * y + 1),
    "where": lambda x, y: ek.where(ek.eye(N).bool(), x, y),
    "joined": lambda x, y: ek.cat([x[:1], y[1:]]),
    "lerp": lambda x, y: x.lerp(y, 0.3),
    "outer": lambda x, y: ek.outer(x[0], y[:, 1]),
    "logaddexp": lambda x, y: ek.logaddexp(x, y),
}


def write(x):
    y = x * 1.5
    y[0] = x[1].sin()
    y[:, 2].mul_(x[:, 0].tanh())
    return y


steps = st.lists(
    st.tuples(st.sampled_from(sorted(UNARY) + sorted(BINARY)), st.integers(0, 11), st.integers(0, 11)),
    min_size=1, max_size=6,
)  # fmt: skip


def program(made):
    """x -> a number: each step takes one or two of the values so far."""

    def f(x):
        values = [x]
        for name, i, j in made:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(UNARY[name](a) if name in UNARY else BINARY[name](a, b))
        weights = ek.arange(1.0, N * N + 1, dtype=ek.float64).reshape(N, N) / N
        return (values[-1] * weights.sin()).sum()

    return f


def point(seed, *lead):
    return ek.tensor(np.random.default_rng(seed).uniform(-1.2, 1.2, (*lead, N, N)))


def close(a, b, tolerance):
    a, b = (np.asarray(v.detach().numpy()) for v in (a, b))
    scale = max(1.0, float(np.abs(b).max(initial=0.0)))
    np.testing.assert_allclose(a / scale, b / scale, atol=tolerance, rtol=tolerance)


checked = settings(max_examples=60, deadline=None, derandomize=True)


@checked
@given(steps, st.integers(0, 1000))
def test_first_order(made, seed):
    f, x, t = program(made), point(seed), point(seed + 1)
    g = ek.func.grad(f)(x)
    leaf = x.clone().requires_grad_()
    f(leaf).backward()
    close(leaf.grad, g, 1e-12)
    value, slope = ek.func.jvp(f, (x,), (t,))
    close(value, f(x), 1e-12)
    close((g * t).sum(), slope, 1e-10)
    close(slope, (f(x + t * 1e-6) - f(x - t * 1e-6)) / 2e-6, 1e-6)


@checked
@given(steps, st.integers(0, 1000))
def test_second_order(made, seed):
    f, x, t = program(made), point(seed), point(seed + 1)
    grad = ek.func.grad(f)
    forward = ek.func.jvp(grad, (x,), (t,))[1]
    close(ek.func.grad(lambda v: (grad(v) * t).sum())(x), forward, 1e-9)
    close(ek.func.grad(lambda v: ek.func.jvp(f, (v,), (t,))[1])(x), forward, 1e-9)
    close(forward, (grad(x + t * 1e-5) - grad(x - t * 1e-5)) / 2e-5, 1e-5)
    leaf = x.clone().requires_grad_()
    (g,) = ek.autograd.grad(f(leaf), leaf, create_graph=True)
    (h,) = ek.autograd.grad(g, leaf, t, allow_unused=True, materialize_grads=True) if g.requires_grad else (x * 0,)
    close(h, forward, 1e-9)


@checked
@given(steps, st.integers(0, 1000))
def test_mapped(made, seed):
    f, xs = program(made), point(seed, 2)
    close(ek.vmap(f)(xs), ek.stack([f(x) for x in xs]), 1e-12)
    grad = ek.func.grad(f)
    close(ek.vmap(grad)(xs), ek.stack([grad(x) for x in xs]), 1e-10)
    both = ek.vmap(lambda a: ek.vmap(lambda b: f(a + b))(xs))(xs)
    close(both, ek.stack([ek.stack([f(a + b) for b in xs]) for a in xs]), 1e-12)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(steps, st.integers(0, 1000))
def test_checkpointed(made, seed):
    f, x = program(made), point(seed)
    close(ek.func.grad(lambda v: ek.utils.checkpoint.checkpoint(f, v))(x), ek.func.grad(f)(x), 1e-12)
