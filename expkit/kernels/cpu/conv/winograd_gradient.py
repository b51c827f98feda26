"""Winograd's gradient of the weights: dU = sum over tiles of Vᵀ (A dY Aᵀ), dW = Gᵀ dU G.

A task has a range of channels and of results, so small that its dU stays in the second-level cache, and a group of
blocks of tiles. It writes its part of dW; the groups' parts, which do not depend on the number of threads, are added
in order afterwards (`sum_routine`).
"""

from __future__ import annotations

from functools import cache

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.conv.winograd_blocks import height
from expkit.kernels.cpu.conv.winograd_memory import claimed
from expkit.kernels.cpu.conv.winograd_tiles import Image, Planes, Tile, tail_mask
from expkit.kernels.cpu.conv.winograd_transforms import (
    IN,
    OUT,
    POINTS,
    TAPS,
    both_ways,
    filter_out,
    gradient_in,
    image_in,
)
from expkit.kernels.cpu.conv.winograd_weights import transpose
from expkit.kernels.cpu.gemm.microkernel import microkernel

RANGE = 64  # channels, and results, of a task
_TAPS = TAPS * TAPS
_WORDS = (
    *Image.words("x"), *Image.words("g"), "down", "across", "tiles", "top", "left", "channels", "results",
    "channel_parts", "result_parts", "group", "padded", "piece", "slots",
)  # fmt: skip


class _Group:
    """The code of a task."""

    def __init__(self, f: Task, lanes: int, tiles: int, ragged: tuple[bool, bool]) -> None:
        self.f, self.lanes, self.tiles, self.ragged = f, lanes, tiles, ragged
        x, g, zeros, self.parts, self.scratch, self.slots = f.arrays
        self.x, self.g = Image(f, x, "x", tiles, IN, zeros), Image(f, g, "g", tiles, OUT, zeros)
        self.v, self.z, self.u = Planes(tiles, lanes), Planes(tiles, 2 * lanes), Planes(RANGE, 2 * lanes)
        self.rows = height(lanes)
        self.kernels = [
            microkernel(
                f.helpers, f"product{n}", self.rows, n, "f4", lanes=lanes, strides=(4, 4 * lanes), segmented=False
            )
            for n in (1, 2)
        ]
        part, rest = f.index % f["result_parts"], f.index / f["result_parts"]
        self.first_result, self.first_channel = part * RANGE, rest % f["channel_parts"] * RANGE
        self.group = rest / f["channel_parts"]
        self.channels = least(f["channels"] - self.first_channel, RANGE)
        self.results = least(f["results"] - self.first_result, RANGE)
        self.chunks, self.vectors = (self.channels + (lanes - 1)) / lanes, (self.results + (lanes - 1)) / lanes

    def write(self) -> None:
        f, panels = self.f, RANGE // (2 * self.lanes)
        with claimed(f, self.slots, self.scratch, f["piece"]) as u:
            z = u.at(self.u.size * panels)
            v = z.at(self.z.size * panels)
            start = self.group * f["group"]
            for first in f.range(least(start + f["group"], f["tiles"]), start, self.tiles):
                self._transform_in(first, v, z)
                self._multiply(v, z, u, first.compare("ne", start).select(f.constant("i8", 1), 0))
            self._transform_out(u, self.parts.at(self.group * f["channels"] * f["padded"] * _TAPS))

    def _transform_in(self, first: Value, v: Pointer, z: Pointer) -> None:
        f, lanes = self.f, self.lanes
        for t in f.range(self.tiles):
            tile = Tile.number(f, first + t)
            self.x.locate(t, tile, f["top"], f["left"])
            self.g.locate(t, tile)
        for t in f.range(self.tiles):
            for chunk in f.range(self.chunks):
                mask = tail_mask(f, self.channels, chunk * lanes, lanes, self.ragged[0])
                channel = self.first_channel + chunk * lanes
                points = self.x.gather(t, self.tiles, image_in, channel, mask, lanes)
                self.v.store(points, v.at(chunk * self.v.size + t * lanes))
            for n in f.range(self.vectors):
                mask = tail_mask(f, self.results, n * lanes, lanes, self.ragged[1])
                points = self.g.gather(t, self.tiles, gradient_in, self.first_result + n * lanes, mask, lanes)
                panel = n & -2
                width = least(self.vectors - panel, 2) * lanes
                self.z.store(points, z.at((n / 2) * self.z.size + t * width + (n - panel) * lanes))

    def _multiply(self, v: Pointer, z: Pointer, u: Pointer, accumulate: Value) -> None:
        f = self.f
        for p in f.range(POINTS):
            for n in f.range(self.vectors, step=2):
                wide = (self.vectors - n).compare("ge", 2)
                at = z.at((n / 2) * self.z.size + p * self.z.plane)
                to = u.at((n / 2) * self.u.size + p * self.u.plane)
                for two in f.either(wide):
                    self._product(v.at(p * self.v.plane), at, to, 2 if two else 1, accumulate)

    def _product(self, v: Pointer, z: Pointer, u: Pointer, vectors: int, accumulate: Value) -> None:
        f, lanes = self.f, self.lanes
        for chunk in f.range(self.chunks):
            for c in f.range(lanes, step=self.rows):
                f.run(
                    self.kernels[vectors - 1], v.at(chunk * self.v.size + c), z,
                    u.at((chunk * lanes + c) * (2 * lanes)), f.constant("i8", 8 * lanes), f.constant("i8", self.tiles),
                    f.constant("i8", vectors * lanes), accumulate,
                )  # fmt: skip

    def _transform_out(self, u: Pointer, part: Pointer) -> None:
        f, lanes = self.f, self.lanes
        for c in f.range(self.channels):
            for n in f.range(self.vectors):
                at = u.at((n / 2) * self.u.size + c * (2 * lanes) + n % 2 * lanes)
                to = part.at((self.first_channel + c) * (f["padded"] * _TAPS) + self.first_result + n * lanes)
                for k, x in enumerate(both_ways(filter_out, self.u.load(at, lanes))):
                    to.at(f["padded"] * k).store(x)


@cache
def group_routine(lanes: int, tiles: int, ragged: tuple[bool, bool]) -> Routine:
    """x, gradient g, zeros (a pixel), parts [group][channel][tap][result, padded], scratch, slots.

    Tasks: groups of `group` tiles x channel_parts x result_parts. ragged: whether x's and g's channels leave a part of
    a vector over.
    """
    kinds = ("f4", "f4", "f4", "f4", "f4", "i8")
    return Routine("winograd_gradient", kinds, _WORDS, lambda f: _Group(f, lanes, tiles, ragged).write(), explicit=True)


def piece(tiles: int, lanes: int) -> int:
    """Elements of scratch for a task."""
    panels = RANGE // (2 * lanes)
    return panels * (Planes(RANGE, 2 * lanes).size + Planes(tiles, 2 * lanes).size + 2 * Planes(tiles, lanes).size)


@cache
def sum_routine(lanes: int) -> Routine:
    """parts [group][channel][tap][result, padded] -> gw (results, channels, nine taps). A task: some channels."""

    def write(f: Task) -> None:
        parts, gw = f.arrays
        row = f["padded"]
        first = f.index * f["block"]
        for c in f.range(least(first + f["block"], f["channels"]), first):
            for lane in f.range(f["results"], step=lanes):
                at = parts.at(c * (row * _TAPS) + lane)
                sums = [f.cell(f.splat(0.0, lanes)) for _ in range(_TAPS)]
                for group in f.range(f["groups"]):
                    for k, total in enumerate(sums):
                        total.value = total.value + at.at(group * f["size"] + row * k).load(lanes=lanes)
                _spread(f, [total.value for total in sums], gw.at((lane * f["channels"] + c) * _TAPS), lane, lanes)

    words = ("channels", "results", "padded", "groups", "size", "block")
    return Routine("winograd_sum", ("f4", "f4"), words, write, explicit=True)


def _spread(f: Task, taps: list[Value], gw: Pointer, lane: Value, lanes: int) -> None:
    """Nine vectors over results -> nine taps in a row for each result, those from the last on left out."""
    for first in range(0, _TAPS, lanes):
        some = taps[first : first + lanes]
        rows = transpose(f, some + [f.splat(0.0, lanes)] * (lanes - len(some)))
        for n, x in enumerate(rows):
            length = (lane + n).compare("lt", f["results"]).select(len(some), f.constant("i8", 0))
            gw.at(f["channels"] * (_TAPS * n)).store_some(f.first(length, lanes), x, first)
