"""The convolution primitives on arrays: products over windows that are gathered into columns (im2col).

Columns are made for a cache-sized chunk of samples at a time. A 1x1 kernel's columns are the input itself: no copy.
"""

from typing import Any

import numpy as np

from expkit.tensor import blas
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.windows import Pads, Sizes, chunks, in_float32, numel, out_sizes, padded, reach, taps, windows

HOST_CHUNK = 1 << 20  # bytes of columns at a time: they are still in the second-level cache when they are multiplied
DEVICE_CHUNK = 1 << 28
FEW = 64  # places: below, the samples of a chunk are multiplied as one matrix where they are summed anyway


def _limit(x: Any) -> int:
    return HOST_CHUNK if x.__class__ is np.ndarray else DEVICE_CHUNK


class _Columns:
    """The windows of x as matrices (groups, C / groups * taps, places), part by part."""

    def __init__(self, x: Any, kernel: Sizes, out: Sizes, stride: Sizes, padding: Pads, dilation: Sizes, groups: int):
        count, channels = x.shape[:2]
        x = padded(x, padding)
        grouped = x.reshape(count, groups, channels // groups, *x.shape[2:])
        self.view = windows(grouped, kernel, stride, dilation, out)
        self.matrix = (groups, channels // groups * numel(kernel), numel(out))
        self.parts = chunks(count, numel(self.matrix) * x.itemsize, _limit(x))

    def __getitem__(self, part: slice) -> Any:
        """(samples, groups, C / groups * taps, places)"""
        return _gathered(self.view[part]).reshape(part.stop - part.start, *self.matrix)

    def side_by_side(self, part: slice) -> Any:
        """(groups, C / groups * taps, samples * places)"""
        view, n = self.view[part], (self.view.ndim - 3) // 2
        view = view.transpose(*range(1, 3 + n), 0, *range(3 + n, view.ndim))
        return _gathered(view).reshape(*self.matrix[:2], view.shape[2 + n] * self.matrix[2])


def _gathered(view: Any) -> Any:
    """The windows, copied where that is quicker than by reshape: what lies side by side in memory as one element."""
    if view.__class__ is not np.ndarray or view.shape[-1] < 2 or view.strides[-1] != view.itemsize or not view.size:
        return view
    if view.flags.c_contiguous:
        return view
    run = np.dtype((np.void, view.shape[-1] * view.itemsize))
    return view.view(run).copy().view(view.dtype)


@in_float32
def conv(x: Any, w: Any, b: Any = None, *, stride: Sizes, padding: Pads, dilation: Sizes, groups: int) -> Any:
    """The windows of x (N, C, *S) times w (O, C / groups, *K), plus b (O,) -> (N, O, *P)."""
    kernel, xp = w.shape[2:], xp_of(x)
    out = out_sizes(x.shape[2:], kernel, stride, padding, dilation)
    columns = _Columns(x, kernel, out, stride, padding, dilation, groups)
    rows = w.reshape(groups, w.shape[0] // groups, columns.matrix[1])
    y = xp.empty((x.shape[0], groups, rows.shape[1], columns.matrix[2]), x.dtype)
    for part in columns.parts:
        blas.matmul(rows, columns[part], out=y[part])
        if b is not None:
            y[part] += b.reshape(groups, -1, 1)
    return y.reshape(x.shape[0], w.shape[0], *out)


@in_float32
def conv_weight(x: Any, y: Any, *, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes, groups: int) -> Any:
    """The windows of x (N, C, *S) times y (N, O, *P), summed over samples and places -> (O, C / groups, *K)."""
    columns = _Columns(x, kernel, y.shape[2:], stride, padding, dilation, groups)
    xp, (_, rows, places), outs = xp_of(x), columns.matrix, y.shape[1]
    y = y.reshape(y.shape[0], groups, outs // groups, places)
    w = xp.zeros((groups, rows, outs // groups), x.dtype)
    joined = places <= FEW and numel(kernel) > 1
    for part in columns.parts:
        if joined:
            samples = y[part].transpose(1, 0, 3, 2)
            samples = samples.reshape(groups, samples.shape[1] * places, outs // groups)
            w += blas.matmul(columns.side_by_side(part), samples)
        else:
            w += blas.matmul(columns[part], y[part].swapaxes(2, 3)).sum(0)
    return xp.ascontiguousarray(w.swapaxes(1, 2)).reshape(outs, x.shape[1] // groups, *kernel)


@in_float32
def conv_input(y: Any, w: Any, *, size: Sizes, stride: Sizes, padding: Pads, dilation: Sizes, groups: int) -> Any:
    """y (N, O, *P) times w, added up where the windows lie -> (N, C, *size)."""
    if set(stride) <= {1} and y.shape[1] <= 2 * groups * w.shape[1]:  # else its columns would be too many
        spans = reach(w.shape[2:], dilation)
        around = tuple(
            (r - 1 - lo, n + lo - m) for n, m, r, (lo, _) in zip(size, y.shape[2:], spans, padding, strict=True)
        )
        return conv(y, _turned(w, groups), stride=stride, padding=around, dilation=dilation, groups=groups)
    return _add_columns(y, w, size, stride, padding, dilation, groups)


def _turned(w: Any, groups: int) -> Any:
    """The weights with in and out channels swapped within each group, and the taps reversed."""
    outs, ins, kernel = w.shape[0] // groups, w.shape[1], w.shape[2:]
    swapped = w.reshape(groups, outs, ins, *kernel).swapaxes(1, 2)
    backwards = (slice(None, None, -1),) * len(kernel)
    return swapped[(..., *backwards)].reshape(groups * ins, outs, *kernel)


def _add_columns(y: Any, w: Any, size: Sizes, stride: Sizes, padding: Pads, dilation: Sizes, groups: int) -> Any:
    """The columns that y and w give, tap by tap (col2im)."""
    kernel, out, xp = w.shape[2:], y.shape[2:], xp_of(y)
    count, channels, rows = y.shape[0], groups * w.shape[1], w.shape[1] * numel(kernel)
    x = xp.zeros((count, channels, *(n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True))), y.dtype)
    turned = xp.ascontiguousarray(w.reshape(groups, w.shape[0] // groups, rows).swapaxes(1, 2))
    y = y.reshape(count, groups, w.shape[0] // groups, numel(out))
    for part in chunks(count, groups * rows * numel(out) * y.itemsize, _limit(y)):
        columns = blas.matmul(turned, y[part]).reshape(part.stop - part.start, channels, *kernel, *out)
        target = x[part]
        for place, key in taps(kernel, stride, dilation, out):
            target[key] += columns[(slice(None), slice(None), *place)]
    return padded(x, tuple((-lo, -hi) for lo, hi in padding))
