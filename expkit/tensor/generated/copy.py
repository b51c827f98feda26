"""What copies memory in another order, by generated kernels: contiguous, clone, reshape, flip, cat, pad, writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import KINDS, contiguous, copy, dense, like
from expkit.kernels.cpu.arrays.parts import seen_as_one
from expkit.kernels.cpu.arrays.triangle import triangle as cut
from expkit.kernels.cpu.arrays.write import converted, number, reshaped
from expkit.kernels.cpu.loops import plan
from expkit.tensor.generated.base import enabled
from expkit.tensor.generated.inplace import fill

LEAST = 1 << 15  # bytes from which a kernel is faster than NumPy
Plain = Callable[..., Any]


def large(x: Any) -> bool:
    """Whether a kernel copies it."""
    return x.__class__ is np.ndarray and x.nbytes >= LEAST and enabled()


def lies_in(x: Any, order: tuple[int, ...]) -> bool:
    """Whether an array lies in memory without gaps in this order of its axes. (Axes of size one lie anywhere.)"""
    expected = x.itemsize
    for axis in reversed(order):
        if x.shape[axis] != 1 and x.strides[axis] != expected:
            return False
        expected *= x.shape[axis]
    return True


def is_channels_last(x: Any) -> bool:
    """Whether an array of images is in channels_last and not in its shape's own order as well."""
    if x.ndim not in (4, 5) or x.flags.c_contiguous:
        return False
    return lies_in(x, (0, *range(2, x.ndim), 1))


def is_image_batch(x: Any) -> bool:
    """Whether an array is in channels_last, its first axis too: not where that was put in front of one image's view."""
    return is_channels_last(x) and x.strides[0] * x.shape[0] >= x.nbytes


def contiguously(plain: Plain) -> Plain:
    """A copy in the order of the shape."""

    @wraps(plain)
    def impl(x: Any) -> Any:
        return contiguous(x) if large(x) and not x.flags.c_contiguous else plain(x)

    return impl


def clone(plain: Plain) -> Plain:
    """A copy in the order of the memory."""

    @wraps(plain)
    def impl(x: Any) -> Any:
        return _filled(like(x), x) if large(x) else plain(x)

    return impl


def _filled(out: Any, x: Any) -> Any:
    copy(out, x)
    return out


def ordered(plain: Plain) -> Plain:
    """A copy whose axes lie in memory, from slow to fast, in the given order."""

    @wraps(plain)
    def impl(x: Any, *, order: tuple[int, ...]) -> Any:
        if not large(x):
            return plain(x, order=order)
        return contiguous(x.transpose(order)).transpose(np.argsort(order))

    return impl


def reshape(plain: Plain) -> Plain:
    """A view, or a copy where no strides give that shape."""

    @wraps(plain)
    def impl(x: Any, *, shape: tuple[int, ...]) -> Any:
        if not large(x) or x.flags.c_contiguous:
            return plain(x, shape=shape)
        try:
            return x.reshape(shape, copy=False)
        except ValueError:
            return contiguous(x).reshape(shape)

    return impl


def flip(plain: Plain) -> Plain:
    """A copy with the order along axes turned round."""

    @wraps(plain)
    def impl(x: Any, *, axes: tuple[int, ...]) -> Any:
        return _filled(like(x), np.flip(x, axes)) if large(x) else plain(x, axes=axes)

    return impl


def cat(plain: Plain) -> Plain:
    """Arrays of one dtype joined along an axis: in the order of the shape, or of channels_last where all are in it."""

    @wraps(plain)
    def impl(*xs: Any, axis: int) -> Any:
        top = xs[0]
        for x in xs:
            top = x if x.size > top.size else top
        if not large(top) or any(x.__class__ is not np.ndarray or x.dtype != top.dtype for x in xs):
            return plain(*xs, axis=axis)
        total = sum(x.shape[axis] for x in xs)
        shape = (*top.shape[:axis], total, *top.shape[axis + 1 :])
        out, start = like(top, shape) if all(map(is_image_batch, xs)) else np.empty(shape, top.dtype), 0
        before = (slice(None),) * axis
        for x in xs:
            stop = start + x.shape[axis]
            write(out[(*before, slice(start, stop))], x)
            start = stop
        return out

    return impl


def pad(plain: Plain) -> Plain:
    """One value around an array."""

    @wraps(plain)
    def impl(x: Any, *, widths: tuple[tuple[int, int], ...], value: float) -> Any:
        if not large(x):
            return plain(x, widths=widths, value=value)
        out = like(x, tuple(n + lo + hi for n, (lo, hi) in zip(x.shape, widths, strict=True)))
        edge = np.array(value, x.dtype)
        inner = [slice(lo, lo + n) for n, (lo, _) in zip(x.shape, widths, strict=True)]
        for axis, (lo, hi) in enumerate(widths):
            for rim, wide in ((slice(0, lo), lo), (slice(lo + x.shape[axis], None), hi)):
                if wide:
                    write(out[(*inner[:axis], rim)], edge)
        copy(out[tuple(inner)], x)
        return out

    return impl


def triangle(plain: Plain) -> Plain:
    """The lower or upper triangle of the last two axes."""

    @wraps(plain)
    def impl(x: Any, *, diagonal: int, lower: bool) -> Any:
        if large(x) and x.itemsize in KINDS:
            return cut(x if x.flags.c_contiguous else contiguous(x), diagonal, lower)
        return plain(x, diagonal=diagonal, lower=lower)

    return impl


def write(target: Any, value: Any) -> None:
    """target[...] = value: converted and broadcast."""
    if (
        target.__class__ is np.ndarray
        and target.nbytes >= LEAST
        and value.__class__ is np.ndarray
        and value.dtype == target.dtype
        and enabled()
        and not np.may_share_memory(target, value)
    ):
        if any(value.strides) or not fill(target, value):
            copy(target, value)
    else:
        target[...] = value


# ---- kernels alone, for arrays of any size ---------------------------------------------------------------------------


def _layout(x: Any, *, order: tuple[int, ...]) -> Any:
    return contiguous(x.transpose(order)).transpose(np.argsort(order))


def _joined(*xs: Any, axis: int) -> Any:
    if any(x.dtype != xs[0].dtype for x in xs):
        return None
    whole = seen_as_one(xs, axis)
    if whole is not None:
        return whole
    shape = (*xs[0].shape[:axis], sum(x.shape[axis] for x in xs), *xs[0].shape[axis + 1 :])
    out, start = like(xs[0], shape) if all(map(is_image_batch, xs)) else plan.empty(shape, xs[0].dtype), 0
    for x in xs:
        stop = start + x.shape[axis]
        copy(out[(*(slice(None),) * axis, slice(start, stop))], x)
        start = stop
    return out


def _padded(x: Any, *, widths: tuple[tuple[int, int], ...], value: float) -> Any:
    out = like(x, tuple(n + lo + hi for n, (lo, hi) in zip(x.shape, widths, strict=True)))
    edge, inner = number(value, x.dtype), [slice(lo, lo + n) for n, (lo, _) in zip(x.shape, widths, strict=True)]
    for axis, (lo, hi) in enumerate(widths):
        for rim, wide in ((slice(0, lo), lo), (slice(lo + x.shape[axis], None), hi)):
            if wide:
                copy(out[(*inner[:axis], rim)], edge)
    copy(out[tuple(inner)], x)
    return out


def _cut(x: Any, *, diagonal: int, lower: bool) -> Any:
    return cut(dense(x), diagonal, lower) if x.itemsize in KINDS and x.size else None


def _cast(x: Any, *, dtype: Any) -> Any:
    return converted(x, np.dtype(dtype))


def _overwritten(base: Any, value: Any) -> Any:
    return _filled(like(value), value) if value.shape == base.shape else None


def _putting(view: Plain) -> Plain:
    """A copy of base whose view is overwritten with the value."""

    def put(base: Any, value: Any, **kw: Any) -> Any:
        if base.dtype != value.dtype:
            return None
        out = contiguous(base)
        copy(view(out, **kw), value)
        return out

    return put


def _diagonal(x: Any, *, offset: int, axes: tuple[int, int]) -> Any:
    found = x.diagonal(offset, *axes)
    found.flags.writeable = True  # NumPy's is read-only for historical reasons
    return found


_VIEWS: dict[str, Plain] = {
    "alias": lambda x: x,
    "diagonal": _diagonal,
    "permute": lambda x, *, axes: x.transpose(axes),
    "reshape": lambda x, *, shape: x.reshape(shape, copy=False),
    "slice": lambda x, *, spans: x[tuple(slice(*span) for span in spans)],
}
ROWS: dict[str, Plain] = {  # of the table in pure.py
    "cast": _cast,
    "cat": _joined,
    "contiguous": dense,
    "convert": _cast,
    "copy": lambda x: _filled(like(x), x),
    "flip": lambda x, *, axes: _filled(like(x), np.flip(x, axes)),
    "layout": _layout,
    "overwrite": _overwritten,
    "pad": _padded,
    "reshape": lambda x, *, shape: reshaped(x, shape),
    "trimmed": _cut,
    **{f"put_{name}": _putting(view) for name, view in _VIEWS.items()},
}
