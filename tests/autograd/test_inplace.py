"""In-place writes: version counters, views of views, siblings, detached views. Each scenario as in PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import expkit as ek
from expkit.autograd.trace import trace
from expkit.errors import AutogradError, InplaceError
from tests.autograd.scenarios import both_ways, compare, grid, plain
from tests.autograd.table_inplace import scenario

test_as_in_pytorch, test_it_runs = both_ways(scenario)


# ---- random programs -------------------------------------------------------------------------------------------------

VIEWS = {
    "row": lambda t: t[0],
    "rows": lambda t: t[1:],
    "every second": lambda t: t[..., ::2],
    "transposed": lambda t: t.transpose(0, -1),
    "unsqueezed": lambda t: t.unsqueeze(0),
    "narrowed": lambda t: t.narrow(-1, 0, 1),
    "alias": lambda t: t[...],
    "detached": lambda t: t.detach(),
}
WRITES = {
    "mul_ number": lambda t, other, w: t.mul_(1.5),
    "mul_ w": lambda t, other, w: t.mul_(w),
    "add_ w": lambda t, other, w: t.add_(w),
    "add_ sum of another": lambda t, other, w: t.add_(other.sum() * 0.1),
    "zero_": lambda t, other, w: t.zero_(),
    "copy_ another's mean": lambda t, other, w: t.copy_(other.mean()),
    "setitem": lambda t, other, w: t.__setitem__(0, w * 2),
    "square_": lambda t, other, w: t.square_(),
    "div_ another's": lambda t, other, w: t.div_(other.sum() ** 2 + 2.0),
}


def run_program(m, steps):
    """Builds views of a base and writes into them; returns every value and gradient, or where an error was raised."""
    x, w = grid(m, 3, 2), m.tensor(0.7, dtype=m.float64, requires_grad=True)
    pool = [x * 1.0, m.ones(2, 2, dtype=m.float64)]
    uses = []
    for n, (kind, name, first, second) in enumerate(steps):
        t, other = pool[first % len(pool)], pool[second % len(pool)]
        assert t.grad_fn is None or t.requires_grad  # PyTorch takes a stale view for a leaf until it is looked at
        if kind == "use":
            uses.append((t * t).sum())
        elif kind == "view":
            if t.ndim == 0 or t.shape[0] == 0 or t.shape[-1] == 0:
                continue
            pool.append(VIEWS[name](t))
        else:
            if name == "setitem" and (t.ndim == 0 or t.shape[0] == 0):
                continue
            try:
                WRITES[name](t, other, w)
            except RuntimeError:
                return ["refused", n]
    total = sum(u for u in uses) + sum((t * t).sum() for t in pool)
    try:
        grads = m.autograd.grad(total, [x, w], allow_unused=True)
    except RuntimeError:
        return ["overwritten", *pool]
    return [*pool, *grads]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("view"), st.sampled_from(sorted(VIEWS)), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("write"), st.sampled_from(sorted(WRITES)), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("use"), st.just("use"), st.integers(0, 9), st.integers(0, 9)),
    ),
    min_size=2,
    max_size=10,
)


@pytest.mark.torch
@settings(max_examples=200, deadline=None, derandomize=True)
@given(steps)
def test_random_programs_of_views_and_writes_as_in_pytorch(steps):
    import torch

    compare(lambda m: run_program(m, steps), torch)


def test_a_program_can_be_told_from_another():
    """The comparison above can fail: two programs that differ in one write have different results."""
    one = plain(run_program(ek, [("view", "row", 0, 0), ("write", "mul_ w", 2, 0)]))
    other = plain(run_program(ek, [("view", "row", 0, 0), ("write", "add_ w", 2, 0)]))
    assert not np.allclose(one[0][1], other[0][1])


# ---- where PyTorch refuses -------------------------------------------------------------------------------------------


def test_pieces_are_views_that_may_be_written():
    """PyTorch refuses to write into the outputs of split, chunk and unbind; here they are views as any other."""
    x = grid(ek, 4, 2)
    y = x * 1
    y.chunk(2)[0].mul_(2.0)
    y.unbind(1)[1].mul_(3.0)
    y.sum().backward()
    assert x.grad.tolist() == [[2.0, 6.0], [2.0, 6.0], [1.0, 3.0], [1.0, 3.0]]


# ---- messages --------------------------------------------------------------------------------------------------------


def test_the_errors_say_what_to_do():
    x = ek.ones(2, requires_grad=True)
    with pytest.raises(AutogradError, match=r"leaf tensor that requires grad.*no_grad"):
        x.add_(1.0)
    with pytest.raises(AutogradError, match="view of a leaf"):
        x[0].add_(1.0)
    y = x.exp()
    z = y.sum()
    y.add_(1.0)
    with pytest.raises(InplaceError, match=r"exp needs its result.*out-of-place"):
        z.backward()
    y = x * 2
    z = (y * y).sum()
    y.add_(1.0)
    with pytest.raises(InplaceError, match=r"mul needs its argument 1, of shape \(2,\)"):
        z.backward()
    with pytest.raises(AutogradError, match="expand"):
        ek.zeros(3).expand(2, 3).add_(1.0)


# ---- the same programs under transforms ------------------------------------------------------------------------------


def program_as_function(steps):
    """The program as a function of (x, w): a scalar."""

    def f(x, w):
        pool = [x * 1.0, ek.ones(2, 2, dtype=ek.float64)]
        total = 0.0
        for kind, name, first, second in steps:
            t, other = pool[first % len(pool)], pool[second % len(pool)]
            if kind == "use":
                total = total + (t * t).sum()
            elif kind == "view" and t.ndim and t.shape[0] and t.shape[-1]:
                pool.append(VIEWS[name](t))
            elif kind == "write" and (name != "setitem" or (t.ndim and t.shape[0])):
                WRITES[name](t, other, w)
        return total + sum((t * t).sum() for t in pool)

    return f


@settings(max_examples=120, deadline=None, derandomize=True)
@given(steps)
def test_random_programs_under_transforms(steps):
    """func.grad, jvp, vmap and trace agree with the tape, where the tape has a gradient."""
    f = program_as_function(steps)
    x, w = grid(ek, 3, 2), ek.tensor(0.7, dtype=ek.float64, requires_grad=True)
    try:
        value = f(x, w)
        expected = ek.autograd.grad(value, [x, w], materialize_grads=True)
    except AutogradError:
        return  # a needed value was overwritten
    a, b = x.detach(), w.detach()
    for got in (ek.func.grad(f, argnums=(0, 1))(a, b), trace(ek.func.grad(f, argnums=(0, 1)), a, b)(a, b)):
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-9, atol=1e-10)
    tangents = ek.ones_like(a), ek.full_like(b, 0.5)
    out, slope = ek.func.jvp(f, (a, b), tangents)
    np.testing.assert_allclose(out.item(), value.item(), rtol=1e-10)
    along = sum((e * t).sum().item() for e, t in zip(expected, tangents, strict=True))
    np.testing.assert_allclose(slope.item(), along, rtol=1e-8, atol=1e-9)
    xs = ek.stack([a, a * 0.5, -a])
    loop = [f(v, b).item() for v in xs]
    np.testing.assert_allclose(ek.vmap(f, in_dims=(0, None))(xs, b).numpy(), loop, rtol=1e-10)
    np.testing.assert_allclose(trace(f, a, b)(a, b).item(), value.item(), rtol=1e-10)
