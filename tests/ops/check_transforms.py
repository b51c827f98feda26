"""Checks of vmap (against a loop) and of traces (against eager runs)."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import expkit as ek
from expkit.autograd.trace import trace
from tests.ops.case import Case, attempt, cases, close
from tests.ops.rows import Row, Sample, array_of, tensors, to_ek

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
            loop = [
                f(*(ek.tensor(v[k] if m else v) for v, m in zip(values, mapped, strict=True))) for k in range(BATCH)
            ]
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


def check_trace_dtypes(row: Row, dtype: str) -> None:
    """In every equation of forward and backward the dtype is the one that its rule says, in low precision too."""
    for sample in row.make():
        s = to_ek(sample, dtype)
        places = [i for i, x in enumerate(s.arrays()) if x.is_floating_point()]

        def slopes(*xs: Any, s: Sample = s, places: list[int] = places) -> list[Any]:
            values, leaves = s.arrays(), [x.detach().requires_grad_() for x in xs]
            for i, x in zip(places, leaves, strict=True):
                values[i] = x
            called = s.fill(values)
            ys = [y for y in tensors(row.function()(*called.args, **called.kw)) if y.requires_grad]
            found = ek.autograd.grad([y.sum() for y in ys], leaves, allow_unused=True) if ys else ()
            return [g for g in found if g is not None]

        xs = [s.arrays()[i] for i in places]
        expected, refused = attempt(lambda: slopes(*xs))  # noqa: B023
        if refused is None:
            what = f"trace of the gradient of {row.name}{sample!r} in {dtype}"
            for got, e in zip(run_graph(trace(slopes, *xs), xs, what), expected, strict=True):
                assert got.dtype == e.raw.dtype, f"{what}: {got.dtype}, eager {e.raw.dtype}"


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
