"""Sorting and selection along an axis by generated kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import ml_dtypes
import numpy as np

from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.arrays.gather import PUT, along_axis, kind_of
from expkit.kernels.cpu.arrays.sort import KINDS, ordered
from expkit.kernels.cpu.arrays.write import converted, filled
from expkit.kernels.cpu.loops import plan
from expkit.tensor.generated.base import enabled

LEAST = 1 << 6  # elements from which a kernel is faster than NumPy
MOST = 1 << 31  # places fit into 32 bits
_WIDER = {
    np.dtype(name): np.dtype(wide)
    for wide, names in {"f4": ("f2", ml_dtypes.bfloat16), "i4": ("?", "i1", "u1", "i2", "u2"), "i8": ("u4",)}.items()
    for name in names
}  # dtypes whose values a kernel sorts in another one


def _ordered(x: Any, *, axis: int, descending: bool, start: int, stop: int) -> tuple[Any, Any] | None:
    """By kernels alone; None where there are none."""
    if x.__class__ is not np.ndarray or not x.size or not _fits(x, axis, start, stop) or not enabled():
        return None
    if axis == x.ndim - 1 and x.dtype in KINDS and x.flags.c_contiguous:
        return _rows(x, start, stop, descending)
    return _along(x, axis, start, stop, descending)


def ordering(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of (values, places) of the elements start to stop in the order along an axis."""

    @wraps(plain)
    def impl(x: Any, **kw: Any) -> Any:
        found = _ordered(x, **kw) if x.size >= LEAST else None
        return plain(x, **kw) if found is None else found

    return impl


def _fits(x: Any, axis: int, start: int, stop: int) -> bool:
    known = x.dtype in KINDS or x.dtype in _WIDER
    return known and x.shape[axis] < MOST and start < stop and (start == 0 or stop - start == 1)


def _rows(x: Any, start: int, stop: int, descending: bool) -> tuple[Any, Any]:
    shape = (*x.shape[:-1], stop - start)
    values, places = ordered(x.reshape(-1, x.shape[-1]), start, stop, descending=descending)
    return values.reshape(shape), places.reshape(shape)


def _along(x: Any, axis: int, start: int, stop: int, descending: bool) -> tuple[Any, Any] | None:
    """The axis is moved behind the others, and back."""
    wide = _converted(x, _WIDER.get(x.dtype, x.dtype))
    if wide is None:
        return None
    found = _rows(dense(np.moveaxis(wide, axis, -1)), start, stop, descending)
    values, places = (dense(np.moveaxis(a, -1, axis)) for a in found)
    return _converted(values, x.dtype), places


def _converted(x: Any, dtype: Any) -> Any:
    return x if x.dtype == dtype else converted(x, dtype)


def returned(g: Any, places: Any, size: int, axis: int) -> Any:
    """Zeros, with g at the places along the axis, which are all different; None where no kernel does it."""
    if g.__class__ is not np.ndarray or places.__class__ is not np.ndarray or g.size < LEAST or not enabled():
        return None
    if kind_of(g.dtype, PUT) is None:
        return None
    shape = (*g.shape[:axis], size, *g.shape[axis + 1 :])
    new = plan.empty(shape, g.dtype) if g.shape[axis] == size else filled(shape, g.dtype)
    along_axis(PUT, new, dense(g), dense(places), axis, np.zeros(1, np.int64))
    return new


ROWS: dict[str, Callable[..., Any]] = {"order": _ordered}  # of the table in pure.py
