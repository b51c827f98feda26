"""Checks of derivatives: reverse mode, forward mode, second order, and what backward needs of overwritten tensors.

First derivatives are compared with central differences in float64, derivative rules with each other (inner products),
second derivatives with central differences of the first.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import expkit as ek
from tests.ops.case import Case, attempt, cases, close, smooth
from tests.ops.rows import Row, Sample, assert_close, tensors, to_ek, to_torch

STEP = 1e-6


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
    """Gradients and their dtypes as PyTorch has them, at edges (ties, zeros, empty tensors) as well."""
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
    """Something overwritten before backward: the right gradient or an error, and no error where PyTorch has none."""
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
    """Forward mode against central differences and reverse mode (by inner products); each argument alone too."""
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
            close(
                np.asarray(forward),
                np.asarray(backward),
                f"{case.what}: forward and reverse mode",
                rtol=1e-9,
                atol=1e-9,
            )


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
