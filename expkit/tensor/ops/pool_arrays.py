"""The pooling primitives on arrays. All work on the last axes, as many as `kernel` has; what stands before is batch.

Sums and maxima are taken axis by axis: kh + kw passes over the data instead of kh * kw.
"""

from math import inf
from typing import Any

import numpy as np

from expkit.tensor.devices import xp_of
from expkit.tensor.ops.windows import Pads, Sizes, in_float32, numel, out_sizes, padded, taps


def _by_axis(x: Any, combine: Any, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes) -> Any:
    """combine(...) over the elements of each window of a padded x."""
    first = x.ndim - len(kernel)
    for axis, (k, s, d, m) in enumerate(zip(kernel, stride, dilation, out, strict=True), first):
        before = (slice(None),) * axis
        parts = [x[(*before, slice(i * d, i * d + (m - 1) * s + 1, s))] for i in range(k)]
        x = parts[0] if k == 1 else combine(parts[0], parts[1])
        for part in parts[2:]:
            combine(x, part, out=x)
    return x


# ---- sums ------------------------------------------------------------------------------------------------------------


@in_float32
def window_sum(x: Any, *, kernel: Sizes, stride: Sizes, padding: Pads, scale: float) -> Any:
    """`scale` times the sum of each window: (..., *S) -> (..., *P)."""
    out = out_sizes(x.shape[x.ndim - len(kernel) :], kernel, stride, padding, (1,) * len(kernel))
    total = _by_axis(padded(x, padding), np.add, kernel, stride, (1,) * len(kernel), out)
    return total * x.dtype.type(scale)


@in_float32
def window_spread(g: Any, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pads, scale: float) -> Any:
    """The transpose of window_sum: each g, times `scale`, to all elements of its window; (..., *P) -> (..., *size)."""
    xp, n = xp_of(g), len(kernel)
    g = g * g.dtype.type(scale)
    for i in range(n):
        axis, k, s, m = g.ndim - n + i, kernel[i], stride[i], g.shape[g.ndim - n + i]
        if (k, s, padding[i], size[i]) == (1, 1, (0, 0), m):
            continue
        before = (slice(None),) * axis
        wide = xp.zeros((*g.shape[:axis], size[i] + sum(padding[i]), *g.shape[axis + 1 :]), g.dtype)
        for j in range(k):
            target = (*before, slice(j, j + (m - 1) * s + 1, s))
            if k <= s:  # windows that do not overlap
                wide[target] = g
            else:
                wide[target] += g
        g = wide
    return padded(g, tuple((-lo, -hi) for lo, hi in padding))


# ---- maxima ----------------------------------------------------------------------------------------------------------


def lowest(dtype: Any) -> float:
    return int(np.iinfo(dtype).min) if dtype.kind in "iu" else -inf


def max_pool(x: Any, *, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Any:
    """The largest element of each window; NaN where it holds one."""
    out = out_sizes(x.shape[x.ndim - len(kernel) :], kernel, stride, padding, dilation)
    top = _by_axis(padded(x, padding, lowest(x.dtype)), np.maximum, kernel, stride, dilation, out)
    return top.copy() if numel(kernel) == 1 else top


def _inside(x: Any, padding: Pads) -> Any:
    """True for the elements of x, False for its padding; of the last axes only. None without padding."""
    if not any(lo or hi for lo, hi in padding):
        return None
    return padded(xp_of(x).ones(x.shape[x.ndim - len(padding) :], bool), padding)


def max_place(x: Any, *, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Any:
    """Where in its plane the largest element of each window is, as a flat index. The first at ties, the last NaN."""
    xp, sizes = xp_of(x), x.shape[x.ndim - len(kernel) :]
    out = out_sizes(sizes, kernel, stride, padding, dilation)
    wide, inside = padded(x, padding, lowest(x.dtype)), _inside(x, padding)
    best: Any = None
    place: Any = None
    seen: Any = None
    for number, (_, key) in enumerate(taps(kernel, stride, dilation, out)):
        v = wide[key]
        if best is None:
            best, place, seen = v, xp.zeros(v.shape, np.int64), None if inside is None else inside[key]
            continue
        better = (v > best) | (v != v)
        if inside is not None:  # an element of -inf goes before the padding
            here = inside[key]
            better = (better | ~seen) & here
            seen = seen | here
        best, place = xp.where(better, v, best), xp.where(better, number, place)
    return _flat_places(xp, place, sizes, kernel, stride, padding, dilation, out)


def _flat_places(
    xp: Any, place: Any, sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes, out: Sizes
) -> Any:
    """Numbers of taps as flat indices into a plane of `sizes`."""
    flat, rest = None, place
    for i in reversed(range(len(kernel))):
        tap, rest = rest % kernel[i], rest // kernel[i]
        start = xp.arange(0, out[i] * stride[i], stride[i]) - padding[i][0]
        at = tap * dilation[i] + start.reshape((-1,) + (1,) * (len(kernel) - 1 - i))
        flat = at if flat is None else at * numel(sizes[i + 1 :]) + flat
    return flat


def max_and_place(x: Any, **kw: Any) -> tuple[Any, Any]:
    """(the largest element of each window, its place)"""
    return _with_values(x, max_place(x, **kw), len(kw["kernel"]))


def adaptive_max_and_place(x: Any, *, pieces: Sizes) -> tuple[Any, Any]:
    """As max_and_place, for windows that cut the plane into pieces of nearly equal size."""
    return _with_values(x, _adaptive_place(x, pieces), len(pieces))


def _with_values(x: Any, places: Any, spatial: int) -> tuple[Any, Any]:
    return pick(x, places, spatial=spatial), places.astype(np.int32)


def _adaptive_place(x: Any, out: Sizes) -> Any:
    """As max_place, for adaptive windows."""
    xp, n = xp_of(x), len(out)
    sizes, lead = x.shape[x.ndim - n :], x.shape[: x.ndim - n]
    found = xp.empty((*lead, *out), np.int64)
    for place in np.ndindex(*out):
        spans = [bounds(i, size, m) for i, size, m in zip(place, sizes, out, strict=True)]
        window = x[(..., *(slice(a, b) for a, b in spans))]
        rest, flat = _largest(window.reshape(*lead, -1)), 0
        for i in reversed(range(n)):
            a, b = spans[i]
            flat = flat + (rest % (b - a) + a) * numel(sizes[i + 1 :])
            rest = rest // (b - a)
        found[(..., *place)] = flat
    return found


def _largest(row: Any) -> Any:
    """Where the largest element of the last axis is: the first at ties, the last NaN."""
    at, unknown = row.argmax(-1), row != row
    if row.dtype.kind in "iub":
        return at
    return xp_of(row).where(unknown.any(-1), row.shape[-1] - 1 - unknown[..., ::-1].argmax(-1), at)


def bounds(i: int, size: int, count: int) -> tuple[int, int]:
    """(start, end) of window i of an adaptive pooling of `size` elements into `count`."""
    return i * size // count, -(-(i + 1) * size // count)


# ---- picking by flat places ------------------------------------------------------------------------------------------


def _offset(index: Any, spatial: int, plane: int) -> Any:
    """Indices into each plane as indices into the whole flat array."""
    lead = index.shape[: index.ndim - spatial]
    start = xp_of(index).arange(0, numel(lead) * plane, plane) if plane else xp_of(index).zeros(numel(lead), np.int64)
    return index + start.reshape(*lead, *(1,) * spatial)


def pick(x: Any, index: Any, *, spatial: int) -> Any:
    """x (..., *S) at flat indices (..., *P) into its last axes."""
    return x.reshape(-1)[_offset(index, spatial, numel(x.shape[x.ndim - spatial :]))]


def drop(g: Any, index: Any, *, size: Sizes, window: tuple[Any, ...] = ()) -> Any:
    """The transpose of pick: g (..., *P) added up at the indices -> (..., *size).

    window: kernel, stride, padding and dilation of a pooling whose maxima lie there; kernels make use of it.
    """
    lead = g.shape[: g.ndim - len(size)]
    flat = _offset(index, len(size), numel(size)).reshape(-1)
    total = xp_of(g).bincount(flat, g.reshape(-1), numel(lead) * numel(size))
    return total.astype(g.dtype).reshape(*lead, *size)
