"""Winograd's convolution of images with filters: a block of tiles is a task, or several for parts of the results.

For a block, V = Bᵀ d B of its tiles for all channels; then, for each panel of result channels, the 36 products
M = V U with the packed weights U, and Y = Aᵀ M A. V and one panel's M stay in the second-level cache.
"""

from __future__ import annotations

from functools import cache

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.conv.winograd_memory import claimed
from expkit.kernels.cpu.conv.winograd_tiles import Image, Planes, Tile, tail_mask
from expkit.kernels.cpu.conv.winograd_transforms import IN, OUT, POINTS, both_ways, image_in, image_out
from expkit.kernels.cpu.gemm.microkernel import blocking, microkernel

DEPTH = 64  # channels that are added up in registers: sums of such sums have smaller errors
_WORDS = (
    *Image.words("x"), *Image.words("y"), "down", "across", "tiles", "top", "left",
    "channels", "chunks", "results", "vectors", "parts", "share", "piece", "slots",
)  # fmt: skip


def height(rows: int) -> int:
    """The rows of a product's kernel: they divide the number of rows."""
    return next(n for n in blocking("f4").heights if rows % n == 0)


class _Block:
    """The code of a block's task."""

    def __init__(self, f: Task, lanes: int, tiles: int, ragged: tuple[bool, bool], biased: bool) -> None:
        self.f, self.lanes, self.tiles, self.ragged = f, lanes, tiles, ragged
        x, self.u, self.offsets, zeros, *bias, self.y, self.scratch, self.slots = f.arrays
        self.bias = bias[0] if biased else None
        self.x = Image(f, x, "x", tiles, IN, zeros)
        self.v, self.m = Planes(tiles, lanes), Planes(tiles, 2 * lanes)
        self.rows = height(tiles)
        self.kernels = [
            microkernel(f.helpers, f"product{n}", self.rows, n, "f4", lanes=lanes, strides=(4 * lanes, 4))
            for n in (1, 2)
        ]

    def write(self) -> None:
        f = self.f
        with claimed(f, self.slots, self.scratch, f["piece"]) as piece:
            m, spare = piece, piece.at(self.m.size)
            v = spare.at(f["vectors"] * self.lanes)
            y = Image(f, self.y, "y", self.tiles, OUT, spare)
            first = f.index / f["parts"] * self.tiles
            count = (least(f["tiles"] - first, self.tiles) + (self.rows - 1)) & -self.rows
            for t in f.range(count):
                tile = Tile.number(f, first + t)
                self.x.locate(t, tile, f["top"], f["left"])
                y.locate(t, tile)
            for t in f.range(count):
                self._transform_in(t, count, v.at(t * self.lanes))
            start = f.index % f["parts"] * f["share"]
            for vector in f.range(least(start + f["share"], f["vectors"]), start, 2):
                self._panel(vector, m, v, y, count)

    def _transform_in(self, t: Value, count: Value, v: Pointer) -> None:
        f, lanes = self.f, self.lanes
        for chunk in f.range(f["chunks"]):
            mask = tail_mask(f, f["channels"], chunk * lanes, lanes, self.ragged[0])
            self.v.store(self.x.gather(t, count, image_in, chunk * lanes, mask, lanes), v.at(chunk * self.v.size))

    def _panel(self, vector: Value, m: Pointer, v: Pointer, y: Image, count: Value) -> None:
        """The result channels from `vector` on: two vectors of them, or the last one."""
        f, lanes = self.f, self.lanes
        vectors = least(f["vectors"] - vector, 2)
        depth = f["chunks"] * lanes
        u = self.u.at(vector * depth * (lanes * POINTS))
        for p in f.range(POINTS):
            for first in f.range(f["chunks"], step=DEPTH // lanes):
                for two in f.either(vectors.compare("eq", 2)):
                    width = (2 if two else 1) * lanes
                    for t in f.range(count, step=self.rows):
                        f.run(
                            self.kernels[two], v.at(p * self.v.plane + t * lanes + first * self.v.size),
                            u.at((p * depth + first * lanes) * width), m.at(p * self.m.plane + t * (2 * lanes)),
                            f.constant("i8", 8 * lanes), f.constant("i8", lanes),
                            least(f["chunks"] - first, DEPTH // lanes), self.offsets, f.constant("i8", width), first,
                        )  # fmt: skip
        for t in f.range(count):
            for n in f.range(vectors):
                self._transform_out(m.at(t * (2 * lanes) + n * lanes), y, t, (vector + n) * lanes)

    def _transform_out(self, m: Pointer, y: Image, t: Value, channel: Value) -> None:
        f, lanes = self.f, self.lanes
        mask = tail_mask(f, f["results"], channel, lanes, self.ragged[1])
        bias = _vector(self.bias.at(channel), mask, lanes) if self.bias else None
        for k, x in enumerate(both_ways(image_out, self.m.load(m, lanes))):
            x = x + bias if bias else x
            at = y.pixel(t, k).at(channel)
            if mask:
                at.store_some(mask, x)
            else:
                at.store(x)


def _vector(at: Pointer, mask: Value | None, lanes: int) -> Value:
    return at.load_some(mask) if mask else at.load(lanes=lanes)


@cache
def block_routine(lanes: int, tiles: int, ragged: tuple[bool, bool], biased: bool) -> Routine:
    """x, packed weights, offsets of V's chunks, zeros (a pixel), [bias,] y, scratch, slots. Tasks: blocks x parts.

    ragged: whether the channels of x, and of y, leave a part of a vector over.
    """
    kinds = ("f4", "f4", "i8", "f4", *(("f4",) if biased else ()), "f4", "f4", "i8")
    return Routine("winograd", kinds, _WORDS, lambda f: _Block(f, lanes, tiles, ragged, biased).write(), explicit=True)


def piece(tiles: int, lanes: int, chunks: int, vectors: int) -> int:
    """Elements of scratch for a task."""
    return Planes(tiles, 2 * lanes).size + vectors * lanes + chunks * Planes(tiles, lanes).size
