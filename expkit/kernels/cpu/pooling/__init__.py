"""Pooling of images: `forward` and `backward` on raw arrays (..., *S), the last axes being spatial.

Both orders in memory are kept: channels last gives channels last. Compiled per dtype, order, stride and (up to WRITTEN)
width of the window; bound once per shapes.
"""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.arrays import images
from expkit.kernels.cpu.arrays.interpolate import resample
from expkit.kernels.cpu.arrays.taps import Taps
from expkit.kernels.cpu.arrays.write import converted
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.pooling import kernels
from expkit.kernels.cpu.pooling.lanes import BYTES, Channels, Columns

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
PLACE = np.dtype(np.int32)
Sizes = tuple[int, ...]


class Window(NamedTuple):
    """The geometry of a pooling over one to three axes: sizes of input and output; pad: in front; step: dilation.

    An empty kernel: the windows cut each axis into pieces of nearly equal size.
    """

    size: Sizes
    out: Sizes
    kernel: Sizes = ()
    stride: Sizes = ()
    pad: Sizes = ()
    step: Sizes = ()
    scale: float = 1.0

    @property
    def adaptive(self) -> bool:
        return not self.kernel

    @property
    def regular(self) -> bool:
        """Whether neighbouring outputs look at elements that a few shuffles bring together."""
        return not self.adaptive and self.stride[-1] <= SHUFFLED

    def plain(self) -> Window:
        """The same, with stride 1 where it does not matter."""
        return self._replace(stride=tuple(1 if m == 1 else s for m, s in zip(self.out, self.stride, strict=True)))


def forward(what: str, x: Any, window: Window) -> Any:
    """The "max" or "sum" of each window, or (maxima, their places in the plane): (..., *size) -> (..., *out)."""
    spatial = len(window.size)
    x, last = images.arranged(x, spatial)
    if last or window.regular:
        return _forward(what, x, window, last)
    if what == "sum":
        return resample(x, _matrices(window))
    batch = x if x.ndim > spatial else x[None]
    found = _forward(what, images.dense(batch, spatial, True), window, True)
    shape = (*x.shape[: x.ndim - spatial], *window.out)
    back = [images.dense(y, spatial, False).reshape(shape) for y in (found if what == "place" else (found,))]
    return tuple(back) if what == "place" else back[0]


def _forward(what: str, x: Any, window: Window, last: bool) -> Any:
    y = images.empty(x.shape, window.out, x.dtype, last)
    run = _bound(what, "forward", window, x.shape, x.dtype, last)
    if what != "place":
        run(x, y)
        return y
    places = images.empty(x.shape, window.out, PLACE, last)
    run(x, y, places)
    return y, places


def backward(g: Any, window: Window, places: Any = None) -> Any:
    """The input's gradient of a sum, or of a maximum with the places of maxima: (..., *out) -> (..., *size)."""
    spatial = len(window.size)
    g, last = images.arranged(g, spatial)
    way = _way(window, last, places is not None)
    if places is not None:
        places = images.dense(places, spatial, last)
    if way == "scatter":
        return scattered(g, places, window.size)
    if way == "flipped":
        return forward("sum", g, _flipped(window))
    if way == "matrices":
        return resample(g, tuple(t.T for t in _matrices(window)))
    z = images.empty(g.shape, window.size, g.dtype, last)
    run = _bound("sum" if places is None else "place", "backward", window, z.shape, z.dtype, last)
    run(*((g, z) if places is None else (g, places, z)))
    return z


@lru_cache(maxsize=4096)
def _way(window: Window, last: bool, maxima: bool) -> str:
    """How a gradient is taken."""
    overlap = window.adaptive or _overlap(_whole(window))[0]
    if maxima:
        by_windows = not window.adaptive and max(window.stride) > 1 if last else window.regular and not overlap
        return "windows" if by_windows else "scatter"
    if overlap and set(window.stride) == {1}:
        return "flipped"
    return "windows" if last or (window.regular and not overlap) else "matrices"


def _flipped(window: Window) -> Window:
    """Windows at stride 1, turned round: the outputs that look at an element."""
    pad = tuple(e * (k - 1) - p for k, p, e in zip(window.kernel, window.pad, window.step, strict=True))
    return window._replace(size=window.out, out=window.size, pad=pad)


@lru_cache(maxsize=256)
def _matrices(window: Window) -> tuple[Taps, ...]:
    """Sums of (undilated) windows as a banded matrix for each axis."""
    found, scale = [], window.scale
    for n, m, k, s, p, _ in zip(*window[:6], strict=True):
        at = np.arange(m) * s - p
        start, stop = np.clip(at, 0, n), np.clip(at + k, 0, n)
        found.append(Taps(n, start, stop - start, np.full((m, k), scale)))
        scale = 1.0
    return tuple(found)


def scattered(g: Any, places: Any, size: Sizes) -> Any:
    """Zeros (..., *size), with g added at its places in the plane."""
    spatial = len(size)
    g, last = images.arranged(g, spatial)
    z = images.empty(g.shape, size, g.dtype, last)
    places = images.dense(places, spatial, last)
    if places.dtype != PLACE:
        order, back = images.order_of(places.ndim, spatial)
        places = converted(places.transpose(order), PLACE).transpose(back) if last else converted(places, PLACE)
    _scatter(z.shape, g.shape, g.dtype, last, spatial)(g, places, z)
    return z


@lru_cache(maxsize=4096)
def _scatter(shape: Sizes, small: Sizes, dtype: Any, last: bool, spatial: int) -> Bound:
    lead, size, outputs = shape[:-spatial], prod(shape[-spatial:]), prod(small[-spatial:])
    channels = lead[-1] if last else prod(lead)
    unit = min(channels, max(BYTES // dtype.itemsize, 4 * TASK // size // 16 * 16) if last else max(1, TASK // size))
    tasks = prod(lead) // channels * -(-channels // unit)
    return _scattering(f"f{dtype.itemsize}", last).bind(
        tasks, parallel=prod(shape) >= PARALLEL, channels=channels, unit=unit, size=size, outputs=outputs
    )


@cache
def _scattering(kind: str, last: bool) -> Routine:
    words = ("channels", "unit", "size", "outputs")
    return Routine("gradient by place", (kind, "i4", kind), words, lambda f: kernels.scatter(f, last))


# ---- kernels ---------------------------------------------------------------------------------------------------------


def _strides(channels: int, size: Sizes, last: bool) -> Sizes:
    """Of (n, c, d, h, w), in elements."""
    d, h, w = size
    inner = channels if last else 1
    step = (h * w * inner, w * inner, inner)
    return (channels * d * h * w, 1 if last else d * h * w, *step)


@lru_cache(maxsize=256)
def _routine(what: str, way: str, kind: str, last: bool, width: int, stride: int, add: bool) -> Routine:
    """width: the vectors of channels, or the taps of a row that are written out; stride: 0 for adaptive windows."""

    def write(f: Task) -> None:
        lanes = Channels(f, kind, width, adaptive=not stride) if last else Columns(f, kind, width, stride)
        if way == "forward":
            kernels.forward(lanes, what)
        else:
            kernels.backward(lanes, what, add)

    if way == "forward":
        return Routine(f"{what} of windows", (kind, kind, "i4")[: 3 if what == "place" else 2], WORDS, write)
    return Routine(
        f"{what} of windows, gradient", (kind, "i4", kind) if what == "place" else (kind, kind), WORDS, write
    )


def _whole(window: Window) -> list[Sizes]:
    """The window's sizes over three axes."""
    missing, n = 3 - len(window.size), len(window.size)
    found = window._asdict()
    filled = {field: found[field] or ((0,) if field == "pad" else (1,)) * n for field in Window._fields[:6]}
    return [(*((0,) if field == "pad" else (1,)) * missing, *filled[field]) for field in filled]


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
    stride = 0 if last and window.adaptive else 1 if last else window.stride[-1]
    routine = _routine(what, way, f"f{dtype.itemsize}", last, width, stride, add)
    return routine.bind(tasks.pop("tasks"), parallel=prod(shape) >= PARALLEL, **tasks, **values)
