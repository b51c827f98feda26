"""Sets: which elements are different, which are in another tensor."""

from typing import Any

import numpy as np

from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.arguments import COMPLEX, dim_of, refuse
from expkit.tensor.ops.convert import promote
from expkit.tensor.ops.elementwise import eq, logical_not
from expkit.tensor.ops.movement import flatten, reshape
from expkit.tensor.ops.order import sort
from expkit.tensor.ops.reduce import INT
from expkit.tensor.ops.search import searchsorted_p
from expkit.tensor.ops.subscript import index_select

# ---- primitives ------------------------------------------------------------------------------------------------------


def _begins(rows: Any) -> Any:
    """Where a row differs from the one before it; NaN differs from everything."""
    new = rows[1:] != rows[:-1]
    first = xp_of(rows).ones(min(len(rows), 1), bool)
    return xp_of(rows).concatenate([first, new.any(1) if rows.ndim > 1 else new])


def _in_order(rows: Any) -> Any:
    """The stable order of numbers, or of rows by their first column, then the second, ..."""
    xp = xp_of(rows)
    if not rows.size:
        return xp.arange(len(rows))
    keys = rows.astype(np.float32) if rows.dtype.kind == "V" else rows  # bfloat16 has no order of its own
    return xp.argsort(keys, kind="stable") if rows.ndim == 1 else xp.lexsort(keys.T[::-1])


def _parts(x: Any, axis: int) -> Any:
    """Its parts along the axis as rows."""
    n = x.shape[axis]
    return xp_of(x).moveaxis(x, axis, 0).reshape(n, x.size // n if n else 0)


def _unique(x: Any, *, axis: int | None, ordered: bool) -> tuple[Any, Any, Any]:
    """(different elements, or parts along an axis; where each is among them; how many there are).

    ordered: of the whole input, in order. Otherwise only neighbours are compared.
    """
    xp = xp_of(x)
    rows = x.reshape(-1) if axis is None else _parts(x, axis)
    order = _in_order(rows) if ordered else xp.arange(len(rows))
    begins = _begins(rows[order])
    places = xp.nonzero(begins)[0]
    inverse = xp.zeros(len(rows), INT)
    inverse[order] = xp.cumsum(begins) - 1
    counts = xp.diff(xp.concatenate([places, xp.full(1, len(rows), places.dtype)]))
    firsts = order[places]
    if axis is None:
        return x.reshape(-1)[firsts], inverse.reshape(x.shape), counts.astype(INT)
    return xp.take(x, firsts, axis), inverse, counts.astype(INT)


unique_p = Primitive("unique", _unique, lambda x, **_kw: (x, x, x), nout=3, dynamic=True)

# ---- functions -------------------------------------------------------------------------------------------------------


def _different(what: str, x: Any, dim: int | None, ordered: bool, wanted: tuple[bool, bool]) -> Any:
    refuse(x, what, COMPLEX)
    axis = None if dim is None else dim_of(dim, x.ndim)
    if axis is not None and not x.ndim:
        x = reshape(x, 1)
    if axis is not None and 0 in (*x.shape[:axis], *x.shape[axis + 1 :]):
        raise ShapeError(f"{what}(): shape {tuple(x.shape)} has a dimension of size 0 beside dim {dim}")
    values, inverse, counts = apply(unique_p, x, axis=axis, ordered=ordered)
    extra = [part for part, asked in zip((inverse, counts), wanted, strict=True) if asked]
    return (values, *extra) if extra else values


def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The different elements (or parts along `dim`), always in order; with the place of each one there, and counts."""
    return _different("unique", input, dim, True, (return_inverse, return_counts))


def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """As unique, where only neighbours are compared: the first of each run of equal elements."""
    return _different("unique_consecutive", input, dim, False, (return_inverse, return_counts))


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Which elements are among the test elements (one of both may be a number); NaN is in nothing."""
    x, tests = promote(elements, test_elements)
    refuse(x, "isin", COMPLEX)
    among = sort(flatten(tests)).values
    if not among.numel():
        found = eq(x, x) & False
    else:
        place = apply(searchsorted_p, among, x, right=False).clamp(max=among.numel() - 1)
        found = eq(reshape(index_select(among, 0, reshape(place, -1)), *x.shape), x)
    return logical_not(found) if invert else found
