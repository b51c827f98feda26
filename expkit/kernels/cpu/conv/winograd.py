"""Winograd's convolution F(4x4, 3x3): two dimensions, 3x3 filters, stride 1, float32; all three passes.

It takes a quarter of a direct convolution's multiplications. Errors (RMS, of random numbers): 5e-7 of the results with
16 channels, 9e-7 with 256; forward and for the input that is 2.4 to 1.1 times, for the weights 0.8 to 2.5 times the
error of PyTorch's direct convolution of NHWC images. An infinity or a NaN makes NaN of all 4x4 results of each tile
that reads it, where a direct convolution spoils the 3x3 that depend on it, and sums above 1e35 or so may overflow
inside. Where that matters, use a direct convolution.

Arrays are NCHW by shape and NHWC in memory: the channels lie side by side, other strides are free. Results are
(N, C, H, W) views of such memory. padding: (top, bottom, left, right), each from 0 on.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.conv import winograd_blocks, winograd_gradient
from expkit.kernels.cpu.conv.geometry import table
from expkit.kernels.cpu.conv.layout import aligned
from expkit.kernels.cpu.conv.winograd_memory import Slotted, new_slots
from expkit.kernels.cpu.conv.winograd_tiles import Planes
from expkit.kernels.cpu.conv.winograd_transforms import OUT, POINTS, TAPS
from expkit.kernels.cpu.conv.winograd_weights import pack_routine
from expkit.kernels.cpu.gemm.microkernel import blocking
from expkit.kernels.cpu.loops import plan

FEWEST = 16  # channels on either side from which the transforms pay
LEAST = 128  # pixels of all results, from which Winograd's convolution is faster than a direct one
FULL = 6  # of them in a tile, on average
TILES = 32  # tiles of a block
TASKS = 8  # at least, where there are few tiles and many results
PART = 64  # results of a task, at least: each transforms the tiles' inputs again
GROUPS = 16  # tasks, at least, that a weight gradient is cut into where it has the tiles
Shape = tuple[int, ...]
Padding = tuple[int, int, int, int]


def applies(x: Shape, w: Shape, stride: Shape, dilation: Shape, groups: int) -> bool:
    """Whether this module has the convolution of arrays of these shapes (float32 is understood)."""
    return (
        len(x) == 4 and w[2:] == (TAPS, TAPS) and groups == 1 and set(stride) == {1} and set(dilation) == {1}
        and min(w[0], w[1]) >= FEWEST and min(x) > 0
    )  # fmt: skip


def pays(batch: int, out: tuple[int, ...]) -> bool:
    """Whether results (batch, _, *out) make up for transforming the weights, and for tiles that are partly outside."""
    return batch * out[0] * out[1] >= max(LEAST, FULL * _tiling((batch, 0, *out))["tiles"])


def forward(x: Any, w: Any, padding: Padding, bias: Any = None) -> Any:
    """x (N, C, H, W) * w (O, C, 3, 3), plus bias (O,) -> (N, O, H', W')."""
    return _convolve(x, w, padding, bias, turned=False)


def input_gradient(g: Any, w: Any, size: tuple[int, int], padding: Padding) -> Any:
    """g (N, O, H', W'), the gradient of the results, and the input's size (H, W) -> the input's (N, C, H, W)."""
    top, bottom, left, right = padding
    turned = (TAPS - 1 - top, TAPS - 1 - bottom, TAPS - 1 - left, TAPS - 1 - right)
    found = _convolve(g, w, turned, None, turned=True)
    if found.shape[2:] != tuple(size):
        raise ValueError(f"an input of {tuple(size)} does not give a result of {g.shape[2:]} with padding {padding}")
    return found


def weight_gradient(x: Any, g: Any, padding: Padding) -> Any:
    """x (N, C, H, W), the gradient g (N, O, H', W') of the results -> the weights' gradient (O, C, 3, 3)."""
    run = _gradient_plan(x.shape, x.strides, g.shape, g.strides, padding, _lanes())
    gw = plan.empty((g.shape[1], x.shape[1], TAPS, TAPS), np.dtype(np.float32))
    run(x, g, gw)
    return gw


def _convolve(x: Any, w: Any, padding: Padding, bias: Any, *, turned: bool) -> Any:
    if w.strides[2:] != (4 * TAPS, 4) or (w.strides[0] | w.strides[1]) % 4:
        w = dense(w)
    count, _, height, width = x.shape
    top, bottom, left, right = padding
    shape = (count, height + top + bottom - 2, width + left + right - 2, w.shape[1 if turned else 0])
    y = plan.empty(shape, np.dtype(np.float32)).transpose(0, 3, 1, 2)
    run = _plan(x.shape, x.strides, w.shape, w.strides, y.shape, y.strides, padding, turned, bias is not None, _lanes())
    run(x, w, *(() if bias is None else (dense(bias),)), y)
    return y


@cache
def _lanes() -> int:
    return blocking("f4").lanes


def _vectors(channels: int, lanes: int) -> int:
    return -(-channels // lanes)


def _zeros(count: int) -> Any:
    """A pixel outside of an image."""
    made = np.zeros(count, np.float32)
    made.flags.writeable = False
    return made


def _image(name: str, shape: Shape, strides: Shape) -> dict[str, int]:
    """The words of an Image."""
    if strides[1] != 4 or any(s % 4 for s in strides):
        raise ValueError(f"an image's channels must lie side by side in memory; strides {strides} of {shape}")
    n, _, h, w = (s // 4 for s in strides)
    return {f"{name}_n": n, f"{name}_h": h, f"{name}_w": w, f"{name}_height": shape[2], f"{name}_width": shape[3]}


def _tiling(shape: Shape) -> dict[str, int]:
    """The tiles of results."""
    down, across = -(-shape[2] // OUT), -(-shape[3] // OUT)
    return {"down": down, "across": across, "tiles": shape[0] * down * across}


class _Plan:
    """A convolution of given shapes and strides."""

    def __init__(
        self, x: Shape, xs: Shape, w: Shape, ws: Shape, y: Shape, ys: Shape, padding: Padding, turned: bool,
        biased: bool, lanes: int,
    ) -> None:  # fmt: skip
        chunks, vectors = _vectors(x[1], lanes), _vectors(y[1], lanes)
        self.packed = chunks * vectors * lanes * lanes * POINTS
        self.piece = winograd_blocks.piece(TILES, lanes, chunks, vectors)
        self.offsets = table(np.arange(chunks) * (4 * Planes(TILES, lanes).size))
        self.zeros = _zeros(chunks * lanes)
        steps = (ws[0] // 4, ws[1] // 4)
        self.pack = pack_routine(lanes, turned).bind(
            -(-vectors // 2) * chunks, count=x[1], padded=chunks * lanes, step=steps[not turned], lane_count=y[1],
            lane_step=steps[turned], vectors=vectors, block=lanes, blocks=chunks,
        )  # fmt: skip
        tiling = _tiling(y)
        blocks = -(-tiling["tiles"] // TILES)
        parts = max(1, min(vectors * lanes // PART, -(-TASKS // blocks)))
        self.blocks = Slotted(
            winograd_blocks.block_routine(lanes, TILES, (x[1] % lanes > 0, y[1] % lanes > 0), biased), blocks * parts,
            **_image("x", x, xs), **_image("y", y, ys), **tiling, top=padding[0], left=padding[2], channels=x[1],
            chunks=chunks, results=y[1], vectors=vectors, parts=parts, share=-(-vectors // (2 * parts)) * 2,
            piece=self.piece,
        )  # fmt: skip

    def __call__(self, x: Any, w: Any, *rest: Any) -> None:
        """x, w, [bias,] y"""
        run, slots = self.blocks.run()
        packed, scratch = (aligned((size,), x.dtype) for size in (self.packed, slots * self.piece))
        self.pack(w, packed)
        run(x, packed, self.offsets, self.zeros, *rest, scratch, new_slots(slots))


class _GradientPlan:
    """A weight gradient of given shapes and strides."""

    def __init__(self, x: Shape, xs: Shape, g: Shape, gs: Shape, padding: Padding, lanes: int) -> None:
        tiling = _tiling(g)
        channel_parts = -(-x[1] // winograd_gradient.RANGE)
        result_parts = -(-g[1] // winograd_gradient.RANGE)
        blocks = -(-tiling["tiles"] // TILES)
        group = -(-blocks // max(1, GROUPS // (channel_parts * result_parts)))
        groups = -(-blocks // group)
        padded = _vectors(g[1], lanes) * lanes
        size = x[1] * padded * TAPS * TAPS
        self.parts, self.piece = groups * size, winograd_gradient.piece(TILES, lanes)
        self.zeros = _zeros(max(_vectors(x[1], lanes) * lanes, padded))
        self.groups = Slotted(
            winograd_gradient.group_routine(lanes, TILES, (x[1] % lanes > 0, g[1] % lanes > 0)),
            groups * channel_parts * result_parts, **_image("x", x, xs), **_image("g", g, gs), **tiling,
            top=padding[0], left=padding[2], channels=x[1], results=g[1], channel_parts=channel_parts,
            result_parts=result_parts, group=group * TILES, padded=padded, piece=self.piece,
        )  # fmt: skip
        block = max(1, 256 // (padded // lanes))
        self.sum = winograd_gradient.sum_routine(lanes).bind(
            -(-x[1] // block), channels=x[1], results=g[1], padded=padded, groups=groups, size=size, block=block
        )

    def __call__(self, x: Any, g: Any, gw: Any) -> None:
        run, slots = self.groups.run()
        parts, scratch = (aligned((size,), x.dtype) for size in (self.parts, slots * self.piece))
        run(x, g, self.zeros, parts, scratch, new_slots(slots))
        self.sum(parts, gw)


_plan = lru_cache(maxsize=512)(_Plan)
_gradient_plan = lru_cache(maxsize=512)(_GradientPlan)
