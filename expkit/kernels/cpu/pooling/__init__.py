"""Pooling of images: `forward` and `backward` on raw arrays (..., *S), the last axes being spatial.

Both orders in memory are kept: channels last gives channels last. Compiled per dtype, order, stride and (up to WRITTEN)
width of the window; bound once per shapes.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu import images
from expkit.kernels.cpu.pooling import kernels
from expkit.kernels.cpu.pooling.lanes import BYTES, Channels, Columns
from expkit.kernels.cpu.routine import Bound, Routine, Task

TASK = 1 << 15  # elements of one task
PARALLEL = 1 << 15  # elements from which several threads are worth waking
WRITTEN = 7  # taps of a row that are written out
SHUFFLED = 4  # strides up to which neighbouring outputs are shuffled apart
BLOCK = 4  # vectors of channels
UNIT = 512  # channels of one task
WINDOW = ("in_", "out_", "kernel_", "stride_", "pad_", "step_")  # words of a Window's sizes, per axis
WORDS = (  # unit: planes, or channels, of a task; scale: the bits of a float64
    "channels", "units", "unit", "bands", "band", "clear", "scale",
    *(what + axis for what in WINDOW for axis in "dhw"),
    *(f"{array}_{axis}" for array in "xyz" for axis in "ncdhw"),  # strides of input, output, the input's gradient
)  # fmt: skip
Sizes = tuple[int, ...]


class Window(NamedTuple):
    """The geometry of a pooling over one to three axes: sizes of input and output; pad: in front; step: dilation."""

    size: Sizes
    out: Sizes
    kernel: Sizes
    stride: Sizes
    pad: Sizes
    step: Sizes
    scale: float = 1.0

    def fits(self) -> bool:
        """Whether there is a kernel for it."""
        return self.stride[-1] <= SHUFFLED

    def plain(self) -> Window:
        """The same, with stride 1 where it does not matter."""
        return self._replace(stride=tuple(1 if m == 1 else s for m, s in zip(self.out, self.stride, strict=True)))


def forward(what: str, x: Any, window: Window) -> Any:
    """The "max", "sum" or "place" (int64, in the plane) of each window: (..., *size) -> (..., *out)."""
    x, last = images.arranged(x, len(window.size))
    y = images.empty(x.shape, window.out, np.dtype(np.int64) if what == "place" else x.dtype, last)
    _bound(what, "forward", window, x.shape, x.dtype, last)(x, y)
    return y


def backward(what: str, g: Any, window: Window, top: Any = None, x: Any = None) -> Any:
    """The input's gradient of "sum" (from g), or of "max" (from the maxima and the input too): of the input's shape."""
    spatial = len(window.size)
    like, last = images.arranged(g if x is None else x, spatial)
    if what == "sum" and set(window.stride) == {1} and _overlap(_whole(window))[0]:
        return forward("sum", like, _flipped(window))
    z = images.empty(g.shape, window.size, g.dtype, last)
    run = _bound(what, "backward", window, z.shape, z.dtype, last)
    g = like if x is None else images.dense(g, spatial, last)
    run(*((g, z) if x is None else (g, like, images.dense(top, spatial, last), z)))
    return z


def _flipped(window: Window) -> Window:
    """Sums of windows at stride 1, transposed: sums again."""
    pad = tuple(k - 1 - p for k, p in zip(window.kernel, window.pad, strict=True))
    return window._replace(size=window.out, out=window.size, pad=pad)


# ---- kernels ---------------------------------------------------------------------------------------------------------


def _strides(channels: int, size: Sizes, last: bool) -> Sizes:
    """Of (n, c, d, h, w), in elements."""
    d, h, w = size
    inner = channels if last else 1
    step = (h * w * inner, w * inner, inner)
    return (channels * d * h * w, 1 if last else d * h * w, *step)


@lru_cache(maxsize=256)
def _routine(what: str, way: str, kind: str, last: bool, width: int, stride: int, add: bool) -> Routine:
    """width: the vectors of channels, or the taps of a row that are written out."""

    def write(f: Task) -> None:
        lanes = Channels(f, kind, width) if last else Columns(f, kind, width, stride)
        if way == "forward":
            kernels.forward(lanes, what)
        else:
            kernels.backward(lanes, what, add)

    if way == "forward":
        return Routine(f"{what} of windows", (kind, "i8" if what == "place" else kind), WORDS, write)
    return Routine(f"{what} of windows, gradient", (kind,) * (2 if what == "sum" else 4), WORDS, write)


def _whole(window: Window) -> list[Sizes]:
    """The window's sizes over three axes."""
    missing = 3 - len(window.size)
    return [(*((0,) if field == "pad" else (1,)) * missing, *getattr(window, field)) for field in Window._fields[:6]]


def _tasks(way: str, lead: Sizes, window: list[Sizes], last: bool) -> dict[str, int]:
    """How images are cut into tasks: `unit` planes, or channels of one image; bands of rows."""
    size, out, _, stride, _, _ = window
    channels = lead[-1] if lead else 1
    unit = min(channels, UNIT) if last else max(1, TASK // prod(size))
    row = size[0] * size[2] * (unit if last else 1)
    rows, step = (size[1], 1) if way == "backward" else (out[1], stride[1])
    band = max(1, TASK // (row * step))
    bands = -(-rows // band)
    groups = prod(lead[:-1]) * -(-channels // unit) if last else -(-prod(lead) // unit)
    return {
        "tasks": groups * bands, "channels": channels, "units": prod(lead), "unit": unit, "bands": bands, "band": band,
    }  # fmt: skip


def _overlap(window: list[Sizes]) -> tuple[bool, bool]:
    """(do windows overlap?, is some element in none of them?)"""
    apart, covers = True, True
    for n, m, k, s, p, e in zip(*window, strict=True):
        apart = apart and (m == 1 or e * (k - 1) + 1 <= s)
        covers = covers and e == 1 and (m == 1 or k >= s) and (m - 1) * s + k - p >= n
    return not apart, not covers


@lru_cache(maxsize=4096)
def _bound(what: str, way: str, window: Window, shape: Sizes, dtype: Any, last: bool) -> Bound:
    """The kernel for an input of this shape."""
    lead, lanes, whole = shape[: len(shape) - len(window.size)], BYTES // dtype.itemsize, _whole(window)
    channels = lead[-1] if lead else 1
    vectors = min(BLOCK, 1 << (-(-channels // lanes) - 1).bit_length())
    tasks = _tasks(way, lead, whole, last)
    values = {word + a: n for word, sizes in zip(WINDOW, whole, strict=True) for a, n in zip("dhw", sizes, strict=True)}
    for array, sizes in zip("xyz", (whole[0], whole[1], whole[0]), strict=True):
        values |= {f"{array}_{a}": n for a, n in zip("ncdhw", _strides(channels, sizes, last), strict=True)}
    add, gaps = _overlap(whole)
    width = vectors if last else window.kernel[-1] if window.kernel[-1] <= WRITTEN and window.step[-1] == 1 else 0
    add = add or (not last and not width)  # taps that are not adjacent write zeros between them
    values |= {"clear": add or gaps, "scale": struct.unpack("<q", struct.pack("<d", window.scale))[0]}
    stride = 1 if last else window.stride[-1]
    routine = _routine(what, way, f"f{dtype.itemsize}", last, width, stride, add)
    return routine.bind(tasks.pop("tasks"), parallel=prod(shape) >= PARALLEL, **tasks, **values)
