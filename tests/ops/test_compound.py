"""Gradient rules that are primitives of their own: whole where a trace stands for calls, differentiable."""

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit.autograd import trace
from expkit.autograd.primitive import PRIMITIVES
from expkit.autograd.tape import apply
from expkit.kernels.cells import CELLS

SMOOTH = [kind for kind in CELLS if kind != "rnn_relu"]  # the derivative of a step is none
RNG = np.random.default_rng(0)


def normal(*shape):
    return ek.tensor(RNG.standard_normal(shape))


def attention():
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 6, 4), normal(2, 3, 6, 2)
    y, lse = apply(PRIMITIVES["attention"], q, k, v, causal=False, scale=0.5, learned=False)
    return [normal(2, 3, 5, 2), y, lse, q, k, v], {"causal": False, "scale": 0.5}


def losses(logs):
    x, index = normal(4, 5), ek.tensor(RNG.integers(0, 5, 4))
    kept = apply(PRIMITIVES["cross_entropy"], x, index, ignore=2, reduction="mean")[1:] if logs else ()
    return [normal(), *kept, x, index], {"ignore": 2, "reduction": "mean"}


def recurrent(kind, given):
    cell, n, size, sizes = CELLS[kind], 3, 4, (3, 2)
    out = 2 if cell.projects else size
    matrices = [normal(cell.gates * size, out), *([normal(out, size)] if cell.projects else [])]
    rest = [normal(n, size)] * cell.carries + matrices[1:] + [normal(cell.gates * size)] * cell.apart
    x, h = normal(5, cell.gates * size), normal(n, out)
    made = apply(PRIMITIVES[kind], x, matrices[0], h, *rest, kind=kind, sizes=sizes, reverse=False, keeps=True)
    count = 2 + cell.carries
    saved = [*made[count : count + 1 + cell.carries], made[count + 1 + cell.carries] if cell.kept else made[0]]
    slopes = [normal(*v.shape) for v, there in zip(made, given[:count], strict=False) if there]
    kw = {"kind": kind, "sizes": sizes, "reverse": False, "given": given[:count]}
    return [*slopes, *saved, *matrices], kw


def norms(name, grads):
    x, stat = normal(6, 5), lambda: normal(6) ** 2 + 1
    kw = {"count": 1} if name == "rms_norm" else {"axes": (1,), "at": (1,) if grads else (), "grads": grads}
    stats = [stat()] if name == "rms_norm" else [normal(6), stat()]
    return [normal(6, 5), *stats, x, *([normal(5)] if grads else [])], {"eps": 1e-3, **kw}


CASES = {
    **{f"normalize_grad{n + 1}": lambda n=n: norms("normalize", n) for n in range(3)},
    **{f"rms_norm_grad{n + 1}": lambda n=n: norms("rms_norm", n) for n in range(2)},
    "attention_grad": attention, "cross_entropy_grad": lambda: losses(True), "nll_grad": lambda: losses(False),
    **{f"{kind}_grad": lambda kind=kind: recurrent(kind, (True, False, True)) for kind in SMOOTH},
}  # fmt: skip


def call(name, operands, kw, at, moved):
    full = list(operands)
    for i, x in zip(at, moved, strict=True):
        full[i] = x
    found = apply(PRIMITIVES[name], *full, **kw)
    return sum((x * x).sum() for x in (found if isinstance(found, tuple) else (found,)))


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_gradients(name):
    operands, kw = CASES[name]()
    at = [i for i, x in enumerate(operands) if x.is_floating_point()]
    moving = [operands[i].detach() for i in at]

    def total(*moved):
        return call(name, operands, kw, at, moved)

    assert ek.autograd.gradcheck(total, [x.requires_grad_() for x in moving])
    moving = tuple(x.detach() for x in moving)
    along = tuple(normal(*x.shape) for x in moving)
    pushed = ek.func.jvp(total, moving, along)[1]
    pulled = ek.func.grad(total, argnums=tuple(range(len(moving))))(*moving)
    np.testing.assert_allclose(pushed, sum((a * b).sum() for a, b in zip(along, pulled, strict=True)), rtol=1e-9)
    two = [ek.stack([x, x + 1]) for x in moving]
    mapped = ek.func.vmap(total)(*two)
    np.testing.assert_allclose(mapped, [total(*(x[i] for x in two)) for i in range(2)], rtol=1e-12)


def step(kind):
    if kind == "attention":
        q = normal(2, 3, 5, 4).requires_grad_()
        return lambda: F.scaled_dot_product_attention(q, q, q, is_causal=True), [q]
    if kind == "cross_entropy":
        x, y = normal(6, 4).requires_grad_(), ek.tensor([0, 1, 2, 3, 0, 1])
        return lambda: F.cross_entropy(x, y), [x]
    layer, x = getattr(ek.nn, kind)(3, 4), normal(5, 2, 3).to(ek.float32)
    return lambda: layer(x)[0], list(layer.parameters())


@pytest.mark.parametrize("kind", ["attention", "cross_entropy", "RNN", "LSTM", "GRU"])
def test_recorded_whole_where_the_trace_stands_for_calls(kind):
    fn, leaves = step(kind)

    def grads():
        return ek.autograd.grad((fn() ** 2).sum(), leaves)

    opened = trace.Trace(live=True)
    graph = trace.capture(opened, grads, ())
    graph.check()
    names = [e.prim.name for e in graph.equations]
    assert sum(name.endswith("_grad") and not name.startswith("sigmoid") for name in names) == 1, names
    for found, wanted in zip(graph.run([]), grads(), strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-7)
    opened = trace.Trace()
    graph = trace.capture(opened, grads, ())
    if kind in ("attention", "cross_entropy"):
        assert not any(e.prim.name.endswith("_grad") for e in graph.equations)
