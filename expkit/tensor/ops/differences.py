"""Differences and sums of neighbours: diff, gradient, the trapezoid rule."""

from collections.abc import Sequence
from typing import Any

from expkit.autograd.handle import Handle
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.ops.arguments import dim_of, dims_of, require_tensor
from expkit.tensor.ops.elementwise import add, div, logical_xor, mul, sub
from expkit.tensor.ops.join import cat
from expkit.tensor.ops.movement import narrow
from expkit.tensor.ops.reduce import sum
from expkit.tensor.ops.scan import cumsum


def _neighbours(x: Any, dim: int) -> tuple[Any, Any]:
    """All elements along a dimension but the first, and all but the last."""
    n = x.shape[dim]
    return narrow(x, dim, min(n, 1), max(n - 1, 0)), narrow(x, dim, 0, max(n - 1, 0))


def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The n-th differences of neighbours along `dim` (of bools: where they differ).

    prepend, append: tensors put before and behind the input first. RuntimeError for a number or a negative n.
    """
    if not require_tensor(input, "diff").ndim:
        raise ShapeError("diff(): the input must have at least one dimension")
    if n < 0:
        raise RuntimeError(f"diff(): the order must not be negative, got {n}")
    at = dim_of(dim, input.ndim)
    parts = [x for x in (prepend, input, append) if x is not None]
    for x in parts:
        if x.ndim != input.ndim or any(x.shape[a] != input.shape[a] for a in range(x.ndim) if a != at):
            raise ShapeError(
                f"diff(): what is prepended or appended must agree with the input's shape {tuple(input.shape)} "
                f"but for dim {dim}, got {tuple(x.shape)}"
            )
    if not n:
        return input.clone()
    x = cat(parts, at) if len(parts) > 1 else input
    of_two = logical_xor if dtypes.of(x.raw) is dtypes.bool_ else sub
    for _ in range(min(n, x.shape[at])):
        x = of_two(*_neighbours(x, at))
    return x


def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The integral along `dim` by the trapezoid rule, at points x or dx apart (1 where neither is given)."""
    at = dim_of(dim, require_tensor(y, "trapezoid").ndim)
    return sum(_areas("trapezoid", y, x, dx, at), at)


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The integrals from the first point to each other one, by the trapezoid rule."""
    at = dim_of(dim, require_tensor(y, "cumulative_trapezoid").ndim)
    return cumsum(_areas("cumulative_trapezoid", y, x, dx, at), at)


def trapz(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """trapezoid() by its older name."""
    return trapezoid(y, x, dx=dx, dim=dim)


def _areas(what: str, y: Any, x: Any, dx: Any, at: int) -> Any:
    """The area between each two neighbours."""
    if not y.ndim:
        raise ShapeError(f"{what}(): y must have at least one dimension")
    if x is not None and dx is not None:
        raise TypeError(f"{what}(): either x or dx, not both")
    heights = add(*_neighbours(y, at))
    if x is None:
        return mul(heights, (1 if dx is None else dx) / 2)
    return div(mul(heights, _widths(what, y, x, at)), 2.0)


def _widths(what: str, y: Any, x: Any, at: int) -> Any:
    """The distances of the points: of one line along the dimension, or a point for each y (or broadcast to that)."""
    if x.ndim == 1:
        if x.shape[0] != y.shape[at]:
            raise ShapeError(f"{what}(): there must be one x for each y, got {x.shape[0]} and {y.shape[at]}")
        return diff(x).reshape(-1 if x.shape[0] > 1 else 0, *(1,) * (y.ndim - 1 - at))
    place = at - y.ndim
    return sub(*_neighbours(x, dim_of(place, x.ndim)))


# ---- gradient --------------------------------------------------------------------------------------------------------


def gradient(input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Any, ...]:
    """The derivative along each dimension by central differences of second order; one tensor for each.

    spacing: a distance, one a dimension, or coordinates along each. edge_order: that of the differences at the ends.
    """
    dims = dims_of(dim, require_tensor(input, "gradient").ndim) if dim is None else _listed(dim, input.ndim)
    if edge_order not in (1, 2):
        raise RuntimeError(f"gradient(): edge_order must be 1 or 2, got {edge_order}")
    spacing = 1 if spacing is None else spacing
    steps = list(spacing) if isinstance(spacing, list | tuple) else [spacing] * len(dims)
    if len(steps) != len(dims):
        raise RuntimeError(f"gradient(): {len(steps)} spacings are given for {len(dims)} dimensions")
    for at, step in zip(dims, steps, strict=True):
        if input.shape[at] < edge_order + 1:
            raise RuntimeError(f"gradient(): dimension {at} needs at least {edge_order + 1} points")
        if isinstance(step, Handle) and (step.ndim > 1 or (step.ndim and step.shape[0] != input.shape[at])):
            raise ShapeError(f"gradient(): coordinates of dimension {at} must be {input.shape[at]} numbers")
    return tuple(_slope(input, at, step, edge_order) for at, step in zip(dims, steps, strict=True))


def _listed(dim: Any, ndim: int) -> list[int]:
    found = [dim_of(d, ndim) for d in (dim if isinstance(dim, list | tuple) else [dim])]
    if len(set(found)) != len(found):
        raise RuntimeError(f"gradient(): dim {dim} names a dimension twice")
    return found


def _slope(x: Any, at: int, step: Any, edge_order: int) -> Any:
    n = x.shape[at]

    def part(start: int, size: int) -> Any:
        return narrow(x, at, start, size)

    def line(h: Any) -> Any:
        return h.reshape(-1, *(1,) * (x.ndim - 1 - at))

    if isinstance(step, Handle) and step.ndim:
        h = diff(step)
        widths = [line(h[:-1]), line(h[1:])]
        ends: Sequence[Any] = (h[0], h[1] if n > 2 else None, h[-1], h[-2] if n > 2 else None)
    else:
        widths, ends = [step, step], (step,) * 4
    inner = _inner(part(0, n - 2), part(1, n - 2), part(2, n - 2), *widths) if n > 2 else part(0, 0)
    first = [part(i, 1) for i in range(edge_order + 1)]
    last = [part(n - 1 - i, 1) for i in range(edge_order + 1)]
    return cat([_end(first, *ends[:2]), div(inner, 1), -_end(last, *ends[2:])], at)


def _weighted(points: list[Any], weights: list[Any]) -> Any:
    total = mul(points[0], weights[0])
    for x, w in zip(points[1:], weights[1:], strict=True):
        total = add(total, mul(x, w))
    return total


def _inner(before: Any, here: Any, after: Any, left: Any, right: Any) -> Any:
    """The slope of the parabola through three points, at the middle one."""
    if left is right:
        return div(sub(after, before), 2 * left)
    both = left + right
    return _weighted(
        [before, here, after], [-right / (left * both), (right - left) / (left * right), left / (right * both)]
    )


def _end(points: list[Any], h: Any, further: Any) -> Any:
    """The slope at the first of two points (or of the parabola through three)."""
    if len(points) == 2:
        return div(sub(points[1], points[0]), h)
    both = h + further
    return _weighted(points, [-(h + both) / (h * both), both / (h * further), -h / (further * both)])
