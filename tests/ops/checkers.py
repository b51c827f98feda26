"""The checks that every row of the op table goes through. Each raises AssertionError, naming the sample.

First derivatives are compared with central differences in float64, derivative rules with each other (inner products),
second derivatives with central differences of the first, vmap with a loop, traces with eager runs.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import expkit as ek
from expkit.autograd.trace import trace
from tests.ops.rows import (
    TOLERANCE,
    Row,
    Sample,
    array_of,
    as_dtype,
    assert_close,
    dtype_name,
    strided,
    tensors,
    to_ek,
    to_torch,
)  # fmt: skip

STEP = 1e-6
# A rule that is wrong anywhere is far off: this only has to cover the error of central differences.
NUMERIC = {"rtol": 2e-6, "atol": 2e-7}


def smooth(x: Any) -> bool:
    return isinstance(x, ek.Tensor) and x.dtype.is_floating_point


def close(got: Any, expected: Any, what: str, **tolerance: float) -> None:
    got, expected = np.asarray(array_of(got)), np.asarray(array_of(expected))
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    np.testing.assert_allclose(got, expected, err_msg=what, equal_nan=True, **(tolerance or NUMERIC))


class Case:
    """One sample of a row as a function of its differentiable arrays only: f(xs) -> list of float64 results."""

    def __init__(self, row: Row, sample: Sample) -> None:
        self.row, self.sample, self.fn = row, to_ek(sample), row.function()
        self.every = self.sample.arrays()
        self.places = [i for i, x in enumerate(self.every) if smooth(x)]
        self.xs = [self.every[i] for i in self.places]
        self.what = f"{row.name}{sample!r}"
        self.rng = np.random.default_rng(1)
        self.cots = [ek.tensor(self.rng.standard_normal(y.shape)) for y in self.f(self.xs)]

    def call(self, xs: list[Any]) -> Any:
        values = list(self.every)
        for i, x in zip(self.places, xs, strict=True):
            values[i] = x
        s = self.sample.fill(values)
        return self.fn(*s.args, **s.kw)

    def f(self, xs: list[Any]) -> list[Any]:
        return [y for y in tensors(self.call(list(xs))) if smooth(y)]

    def scalar(self, *xs: Any) -> Any:
        """A scalar that depends on each result with a weight of its own."""
        total = None
        for y, c in zip(self.f(list(xs)), self.cots, strict=True):
            part = (y * c).sum()
            total = part if total is None else total + part
        return total

    def directions(self) -> list[Any]:
        return [ek.tensor(self.rng.standard_normal(x.shape)) for x in self.xs]


def cases(row: Row) -> Iterator[Case]:
    """The samples that can be differentiated; there must be one."""
    found = False
    for sample in row.make():
        case = Case(row, sample)
        if case.xs and case.cots:
            found = True
            yield case
    assert found, f"row {row.name}: no sample has a floating-point argument and result"


# ---- values ----------------------------------------------------------------------------------------------------------


def check_value(row: Row) -> None:
    """float64, and float32 within its rounding, against the NumPy oracle."""
    fn = row.function()
    for sample in row.make():
        expected = tensors_of_arrays(row.numpy(*sample.args, **sample.kw))
        for dtype in ("float64", "float32"):
            s = to_ek(sample, dtype)
            got = tensors(fn(*s.args, **s.kw))
            what = f"{row.name}{sample!r} in {dtype}"
            assert len(got) == len(expected), f"{what}: {len(got)} results, expected {len(expected)}"
            for y, e in zip(got, expected, strict=True):
                assert_close(y, e, dtype, what, row.tolerance)


def tensors_of_arrays(result: Any) -> list[np.ndarray]:
    return [np.asarray(r) for r in result] if isinstance(result, list | tuple) else [np.asarray(result)]


def check_torch(row: Row, torch: Any, dtype: str) -> None:
    """Shape, dtype and value as PyTorch has them; an error where PyTorch raises one."""
    fn, oracle = row.function(), row.torch_function(torch)
    for sample in row.make():
        what = f"{row.name}{sample!r} in {dtype}"
        t, s = to_torch(sample, torch, dtype), to_ek(sample, dtype)
        expected, refused = attempt(lambda: oracle(*t.args, **t.kw))  # noqa: B023
        got, error = attempt(lambda: fn(*s.args, **s.kw))  # noqa: B023
        if refused is not None:  # a kernel that PyTorch lacks for a dtype may exist here
            lacking = isinstance(refused, NotImplementedError) or "not implemented for" in str(refused)
            assert error is not None or lacking, f"{what}: PyTorch refuses ({refused}), expkit returns {got}"
            continue
        assert error is None, f"{what}: {type(error).__name__}: {error}"
        got, expected = tensors(got), tensors(expected)
        assert len(got) == len(expected), f"{what}: {len(got)} results, expected {len(expected)}"
        for y, e in zip(got, expected, strict=True):
            assert dtype_name(y) == dtype_name(e), f"{what}: {y.dtype}, PyTorch has {e.dtype}"
            assert_close(y, e, dtype if dtype in TOLERANCE else dtype_name(y), what, row.tolerance)


def check_refused(row: Row, torch: Any) -> None:
    """Wrong arguments raise an error that names what is wrong, here and in PyTorch."""
    for sample in row.bad():
        s, t = to_ek(sample), to_torch(sample, torch)
        _, theirs = attempt(lambda: row.torch_function(torch)(*t.args, **t.kw))  # noqa: B023
        assert theirs is not None, f"{row.name}{sample!r}: PyTorch accepts this"
        got, error = attempt(lambda: row.function()(*s.args, **s.kw))  # noqa: B023
        assert error is not None, f"{row.name}{sample!r}: accepted, gave {got!r}"
        assert str(error), f"{row.name}{sample!r}: an error without a message"


# What a wrong argument may raise: never AttributeError, KeyError, AssertionError, ...
REFUSALS = (TypeError, ValueError, RuntimeError, IndexError, OverflowError, ZeroDivisionError, NotImplementedError)


def attempt(fn: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return fn(), None
    except REFUSALS as error:
        return None, error


def check_alias(row: Row, torch: Any) -> None:
    """A result looks into an argument's memory where PyTorch's does, and nowhere else."""
    for sample in row.make():
        t, s = to_torch(sample, torch), to_ek(sample)
        expected, refused = attempt(lambda: row.torch_function(torch)(*t.args, **t.kw))  # noqa: B023
        if refused is not None:
            continue
        got = tensors(row.function()(*s.args, **s.kw))
        for i, (y, e) in enumerate(zip(got, tensors(expected), strict=True)):
            for j, (x, z) in enumerate(zip(s.arrays(), t.arrays(), strict=True)):
                shares = np.shares_memory(y.numpy(), x.numpy())
                looks_in = bool(e.numel()) and e.untyped_storage().data_ptr() == z.untyped_storage().data_ptr()
                what = f"{row.name}{sample!r}: result {i} shares memory with argument {j}"
                assert shares == looks_in, f"{what}: {shares}, in PyTorch {looks_in}"


def check_layout(row: Row) -> None:
    """The result does not depend on how the arguments lie in memory, and the arguments are not written to."""
    fn = row.function()
    for sample in row.make():
        plain = to_ek(sample)
        held = [strided(x) for x in sample.arrays()]
        odd = sample.fill(held).map(lambda a: ek.from_numpy(a) if a.ndim and a.dtype == np.float64 else ek.tensor(a))
        expected = tensors(fn(*plain.args, **plain.kw))
        for y, e in zip(tensors(fn(*odd.args, **odd.kw)), expected, strict=True):
            assert_close(y, e, "float64", f"{row.name}{sample!r}, strided")
        for before, after in zip(sample.arrays(), held, strict=True):
            assert np.array_equal(before, after, equal_nan=True), f"{row.name}{sample!r}: an argument was overwritten"


# ---- first derivatives -----------------------------------------------------------------------------------------------


def numeric_gradient(f: Callable[..., Any], xs: list[Any]) -> list[np.ndarray]:
    """Central differences of a scalar function, element by element."""
    grads = []
    for i, x in enumerate(xs):
        g = np.zeros(x.shape)
        for place in np.ndindex(*x.shape):
            values = []
            for sign in (1, -1):
                moved = x.numpy().copy()
                moved[place] += sign * STEP
                values.append(f(*xs[:i], ek.tensor(moved), *xs[i + 1 :]).item())
            g[place] = (values[0] - values[1]) / (2 * STEP)
        grads.append(g)
    return grads


def gradients(case: Case, chosen: tuple[int, ...], **kw: Any) -> tuple[Any, list[Any]]:
    """(the scalar, its gradients) with respect to the chosen arrays, the others being constants."""
    xs = [x.detach().clone().requires_grad_(i in chosen) for i, x in enumerate(case.xs)]
    out = case.scalar(*xs)
    if not out.requires_grad:
        raise AssertionError(f"{case.what}: the result does not require grad")
    return xs, list(ek.autograd.grad(out, [xs[i] for i in chosen], materialize_grads=True, **kw))


def check_vjp(row: Row) -> None:
    """Gradients against central differences: of all arguments together, and of each alone."""
    for case in cases(row):
        expected = numeric_gradient(case.scalar, case.xs)
        n = len(case.xs)
        for chosen in {tuple(range(n)), *((i,) for i in range(n))}:
            _, grads = gradients(case, chosen)
            for i, g in zip(chosen, grads, strict=True):
                assert g.dtype == case.xs[i].dtype, f"{case.what}: gradient of argument {i} is {g.dtype}"
                close(g, expected[i], f"{case.what}: gradient of argument {i} (of {chosen})")


def check_torch_grad(row: Row, torch: Any) -> None:
    """Gradients as PyTorch has them, at edges (ties, zeros, empty tensors) as well; dtypes of low-precision gradients."""
    fn, oracle = row.function(), row.torch_function(torch)
    for sample in row.make():
        for dtype in ("float64", "float32") if "float32" in row.dtypes else ("float64",):
            t, s = to_torch(sample, torch, dtype, True), to_ek(sample, dtype, True)
            expected, refused = attempt(lambda: oracle(*t.args, **t.kw))  # noqa: B023
            if refused is not None:
                continue
            ours = [y for y in tensors(fn(*s.args, **s.kw)) if smooth(y)]
            theirs = [y for y in tensors(expected) if y.is_floating_point()]
            inputs = [x for x in t.arrays() if x.requires_grad]
            leaves = [x for x in s.arrays() if x.requires_grad]
            for y, e in zip(ours, theirs, strict=True):
                assert y.requires_grad == e.requires_grad, f"{row.name}{sample!r}: requires_grad is {y.requires_grad}"
            cots = [np.random.default_rng(2).standard_normal(y.shape) for y in ours]
            pairs = [(y, e, c) for y, e, c in zip(ours, theirs, cots, strict=True) if y.requires_grad]
            if not pairs:
                continue
            wanted = torch.autograd.grad(
                [e for _, e, _ in pairs], inputs, [torch.tensor(c).to(e.dtype) for _, e, c in pairs], allow_unused=True
            )
            got = ek.autograd.grad(
                [y for y, _, _ in pairs], leaves, [ek.tensor(c).to(y.dtype) for y, _, c in pairs], allow_unused=True
            )
            for i, (g, w, x) in enumerate(zip(got, wanted, leaves, strict=True)):
                what = f"{row.name}{sample!r} in {dtype}: gradient of argument {i}"
                assert g is None or g.dtype == x.dtype, f"{what} is {g.dtype}"
                g, w = (np.zeros(x.shape) if v is None else v for v in (g, w))
                assert_close(g, w, dtype, what, 10 * row.tolerance)


def check_versions(row: Row, torch: Any) -> None:
    """An argument or result overwritten before backward: the right gradient or an error, and no error where PyTorch has none."""
    for sample in row.make():
        t, s = to_torch(sample, torch, "float64", True), to_ek(sample, "float64", True)
        for place in range(len(s.arrays()) + 1):
            expected, theirs = attempt(lambda: _overwriting(row.torch_function(torch), t, torch, place))  # noqa: B023
            got, error = attempt(lambda: _overwriting(row.function(), s, ek, place))  # noqa: B023
            what = f"{row.name}{sample!r}, {'result' if place == len(s.arrays()) else f'argument {place}'} overwritten"
            if theirs is None:
                assert error is None, f"{what}: {type(error).__name__}: {error}"
            if expected is None or got is None:
                continue
            for i, (g, e) in enumerate(zip(got, expected, strict=True)):
                if g is not None and e is not None:
                    assert_close(g, e, "float64", f"{what}: gradient {i}", 10 * row.tolerance)


def _overwriting(fn: Callable[..., Any], sample: Sample, m: Any, place: int) -> list[Any]:
    """Gradients of fn's results when an argument (or, at the last place, each result) is written to before backward."""
    leaves = [x for x in sample.arrays() if x.requires_grad]
    inner = [x * 1 if x.requires_grad else x.clone() for x in sample.arrays()]
    called = sample.fill(inner)
    results = [y for y in tensors(fn(*called.args, **called.kw)) if y.requires_grad]
    total = sum((y * 2).sum() for y in results)
    if not results:
        return []
    for x in results if place == len(inner) else [inner[place]]:
        x.mul_(2.0) if x.requires_grad else x.zero_()
    return list(m.autograd.grad(total, leaves, allow_unused=True))


def check_jvp(row: Row) -> None:
    """Forward mode against central differences and, by inner products, against reverse mode; each argument alone too."""
    for case in cases(row):
        n = len(case.xs)
        directions = case.directions()
        _, grads = gradients(case, tuple(range(n)))
        for chosen in {tuple(range(n)), *((i,) for i in range(n))}:
            def f(*some: Any, case: Case = case, chosen: tuple[int, ...] = chosen) -> Any:
                xs = list(case.xs)
                for i, x in zip(chosen, some, strict=True):
                    xs[i] = x
                return tuple(case.f(xs))

            some, along = [case.xs[i] for i in chosen], [directions[i] for i in chosen]
            values, slopes = ek.func.jvp(f, tuple(some), tuple(along))
            plus = f(*(x + STEP * t for x, t in zip(some, along, strict=True)))
            minus = f(*(x - STEP * t for x, t in zip(some, along, strict=True)))
            for y, value, slope, p, m in zip(f(*some), values, slopes, plus, minus, strict=True):
                what = f"{case.what}: forward mode along arguments {chosen}"
                close(value, y, what, rtol=1e-12, atol=0)
                assert slope.dtype == y.dtype, f"{what}: the tangent is {slope.dtype}"
                close(slope, (p - m) / (2 * STEP), what)
            forward = sum((c * s).sum().item() for c, s in zip(case.cots, slopes, strict=True))
            backward = sum((grads[i] * directions[i]).sum().item() for i in chosen)
            close(np.asarray(forward), np.asarray(backward), f"{case.what}: forward and reverse mode", rtol=1e-9, atol=1e-9)


# ---- second derivatives ----------------------------------------------------------------------------------------------


def check_second(row: Row) -> None:
    """Reverse over reverse and forward over reverse against central differences of the gradient, along a direction."""
    for case in cases(row):
        n = len(case.xs)
        directions = case.directions()

        def slope(*xs: Any, case: Case = case) -> list[Any]:
            return list(ek.func.grad(case.scalar, argnums=tuple(range(len(xs))))(*xs))

        plus = slope(*(x + STEP * t for x, t in zip(case.xs, directions, strict=True)))
        minus = slope(*(x - STEP * t for x, t in zip(case.xs, directions, strict=True)))
        expected = [(p - m) / (2 * STEP) for p, m in zip(plus, minus, strict=True)]
        xs, grads = gradients(case, tuple(range(n)), create_graph=True)
        along = sum((g * t).sum() for g, t in zip(grads, directions, strict=True))
        if along.requires_grad:
            twice = ek.autograd.grad(along, xs, materialize_grads=True)
        else:
            twice = [ek.zeros_like(x) for x in xs]
        _, forward = ek.func.jvp(lambda *xs: tuple(slope(*xs)), tuple(case.xs), tuple(directions))
        for i in range(n):
            close(twice[i], expected[i], f"{case.what}: reverse over reverse, argument {i}", rtol=1e-5, atol=1e-6)
            close(forward[i], expected[i], f"{case.what}: forward over reverse, argument {i}", rtol=1e-5, atol=1e-6)


# ---- vmap ------------------------------------------------------------------------------------------------------------

BATCH = 3


def batched(case_arrays: list[np.ndarray], mapped: tuple[bool, ...], rng: Any) -> list[np.ndarray]:
    """Each mapped array stacked with versions of itself: other floats and masks, the same indices in another order."""
    out = []
    for x, m in zip(case_arrays, mapped, strict=True):
        if not m:
            out.append(x)
        elif x.dtype == np.float64:
            out.append(np.stack([x + 0.05 * k * np.sign(x) for k in range(BATCH)]))
        elif x.dtype == bool:
            out.append(np.stack([x, ~x, x]))
        else:
            out.append(np.stack([x, np.flip(x), x]))
    return out


def patterns(n: int) -> list[tuple[bool, ...]]:
    """Which arguments are mapped: all, each alone, all but the first."""
    found = [(True,) * n, *(tuple(i == k for i in range(n)) for k in range(n)), (False,) + (True,) * (n - 1)]
    return [p for p in dict.fromkeys(found) if any(p)]


def on_arrays(row: Row, sample: Sample, fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn as a function of the sample's arrays alone, returning a tuple of tensors."""

    def f(*values: Any) -> tuple[Any, ...]:
        s = sample.fill(list(values))
        return tuple(tensors(fn(*s.args, **s.kw)))

    return f


def check_vmap(row: Row) -> None:
    """vmap against a loop: every choice of mapped arguments, other in_dims and out_dims, and vmap of vmap."""
    for sample in row.make():
        arrays = sample.arrays()
        f = on_arrays(row, sample, row.function())
        for mapped in patterns(len(arrays)):
            values = batched(arrays, mapped, None)
            loop = [f(*(ek.tensor(v[k] if m else v) for v, m in zip(values, mapped, strict=True))) for k in range(BATCH)]
            expected = [np.stack([array_of(parts[i]) for parts in loop]) for i in range(len(loop[0]))]
            what = f"vmap of {row.name}{sample!r}, mapped {mapped}"
            for got, e, dtype in zip(_mapped(f, values, mapped), expected, loop[0], strict=True):
                assert got.dtype == dtype.dtype, f"{what}: {got.dtype}, expected {dtype.dtype}"
                close(got, e, what, rtol=1e-10, atol=1e-12)
            for got, e in zip(_mapped_at_the_end(f, values, mapped), expected, strict=True):
                close(got, np.moveaxis(e, 0, -1), f"{what}, in_dims and out_dims -1", rtol=1e-10, atol=1e-12)
        _check_nested(row, sample, f)


def _mapped(f: Any, values: list[Any], mapped: tuple[bool, ...]) -> tuple[Any, ...]:
    return ek.vmap(f, in_dims=tuple(0 if m else None for m in mapped))(*map(ek.tensor, values))


def _mapped_at_the_end(f: Any, values: list[Any], mapped: tuple[bool, ...]) -> tuple[Any, ...]:
    moved = [np.moveaxis(v, 0, -1) if m else v for v, m in zip(values, mapped, strict=True)]
    return ek.vmap(f, in_dims=tuple(-1 if m else None for m in mapped), out_dims=-1)(*map(ek.tensor, moved))


def _check_nested(row: Row, sample: Sample, f: Any) -> None:
    """Two levels: the first argument is mapped by the inner one, the others by the outer one."""
    arrays = sample.arrays()
    outer = tuple(i > 0 for i in range(len(arrays))) if len(arrays) > 1 else (True,)
    values = batched(arrays, outer, None)
    inner = batched(values, tuple(i == 0 for i in range(len(arrays))), None)
    inside = ek.vmap(f, in_dims=tuple(0 if i == 0 else None for i in range(len(arrays))))
    if len(arrays) > 1:
        got = ek.vmap(inside, in_dims=tuple(None if i == 0 else 0 for i in range(len(arrays))))(*map(ek.tensor, inner))
        pick = lambda j, k: [inner[0][k], *(v[j] for v in inner[1:])]  # noqa: E731
    else:
        got = ek.vmap(inside)(*map(ek.tensor, inner))
        pick = lambda j, k: [inner[0][j, k]]  # noqa: E731
        inner = [np.swapaxes(inner[0], 0, 1)]
        got = ek.vmap(inside)(*map(ek.tensor, inner))
    for j, k in itertools.product(range(BATCH), range(BATCH)):
        for y, e in zip(got, f(*map(ek.tensor, pick(j, k))), strict=True):
            close(y[j, k], e, f"vmap of vmap of {row.name}{sample!r}", rtol=1e-10, atol=1e-12)


def check_vmap_grad(row: Row) -> None:
    """vmap of the gradient, and the gradient through vmap, against loops."""
    for case in cases(row):
        n = len(case.xs)
        arrays = [array_of(x) for x in case.xs]
        slopes = ek.func.grad(case.scalar, argnums=tuple(range(n)))
        for mapped in patterns(n)[:2]:
            values = batched(arrays, mapped, None)
            dims = tuple(0 if m else None for m in mapped)
            inputs = list(map(ek.tensor, values))
            loop = [slopes(*(v[k] if m else v for v, m in zip(inputs, mapped, strict=True))) for k in range(BATCH)]
            got = ek.vmap(slopes, in_dims=dims)(*inputs)

            def total(*xs: Any, dims: Any = dims, case: Case = case) -> Any:
                return ek.vmap(case.scalar, in_dims=dims)(*xs).sum()

            through = ek.func.grad(total, argnums=tuple(range(n)))(*inputs)
            for i in range(n):
                parts = np.stack([array_of(g[i]) for g in loop])
                close(got[i], parts, f"vmap of grad: {case.what}, mapped {mapped}", rtol=1e-9, atol=1e-11)
                whole = parts if mapped[i] else parts.sum(0)
                close(through[i], whole, f"grad of vmap: {case.what}, mapped {mapped}", rtol=1e-9, atol=1e-11)


# ---- trace -----------------------------------------------------------------------------------------------------------


def run_graph(graph: Any, inputs: list[Any], what: str) -> list[Any]:
    """The graph's raw results; every equation's results must have the shape and dtype that its rule says."""
    graph.check()

    def visit(equation: Any, results: tuple[Any, ...]) -> None:
        for var, raw in zip(equation.outs, results, strict=True):
            assert tuple(raw.shape) == tuple(var.shape), f"{what}: {equation!r} gave shape {raw.shape}"
            assert raw.dtype == var.dtype, f"{what}: {equation!r} gave {raw.dtype}"

    return graph.run([x.raw for x in inputs], visit)


def check_trace(row: Row, dtype: str = "float64") -> Any:
    """The traced graph gives what the eager run gives."""
    for sample in row.make():
        s = to_ek(sample, dtype)
        f = on_arrays(row, s, row.function())
        expected, refused = attempt(lambda: f(*s.arrays()))  # noqa: B023
        if refused is not None:
            continue
        what = f"trace of {row.name}{sample!r} in {dtype}"
        graph = trace(f, *s.arrays())
        for got, e in zip(run_graph(graph, s.arrays(), what), expected, strict=True):
            assert got.dtype == e.raw.dtype, f"{what}: {got.dtype}, eager {e.raw.dtype}"
            close(np.asarray(array_of(ek.tensor(got))), e, what, rtol=0, atol=0)


def check_trace_grad(row: Row, seen: set[str] | None = None) -> None:
    """A trace of forward and backward (on the tape and as func.grad) gives the eager gradients."""
    for case in cases(row):
        n = len(case.xs)

        def on_tape(*xs: Any, case: Case = case) -> tuple[Any, ...]:
            xs = [x.detach().requires_grad_() for x in xs]
            return ek.autograd.grad(case.scalar(*xs), xs, materialize_grads=True)

        for f in (on_tape, ek.func.grad(case.scalar, argnums=tuple(range(n)))):
            expected = f(*case.xs)
            what = f"trace of the gradient of {case.what}"
            graph = trace(f, *case.xs)
            for got, e in zip(run_graph(graph, case.xs, what), expected, strict=True):
                close(got, e, what, rtol=1e-12, atol=1e-14)
            if seen is not None:
                seen.update(equation.prim.name for equation in graph.equations)


def primitives_of(row: Row) -> set[str]:
    """The names of the primitives that a row's functions and gradients apply."""
    seen: set[str] = set()
    for sample in row.make():
        for dtype in ("float64", "int64"):
            s = to_ek(sample, dtype)
            f = on_arrays(row, s, row.function())
            if attempt(lambda: f(*s.arrays()))[1] is None and row.trace:  # noqa: B023
                seen.update(e.prim.name for e in trace(f, *s.arrays()).equations)
    if row.grad and row.trace and "trace_grad" not in row.gaps:
        check_trace_grad(row, seen)
    return seen


__all__ = ["as_dtype"]
