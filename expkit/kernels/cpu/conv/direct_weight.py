"""The gradient of a convolution by its weights: gathered windows, transposed, times the gradient of the result.

    partial[group, row of a window, :] = sum over the group's places of windows[place, row] * y[place, :]

A task takes a group of places and a part of the windows and adds up in memory of its own, a block of places at a time;
the groups are added in their order when the result is turned to (outs, ins, *kernel). Groups depend on sizes alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.conv import gather
from expkit.kernels.cpu.conv.direct import PARALLEL, WORK, widths_of
from expkit.kernels.cpu.conv.gather import PITCH, Gather, block_of, runs_of
from expkit.kernels.cpu.conv.geometry import Pass, round_up, table
from expkit.kernels.cpu.conv.layout import aligned, bind, transposer
from expkit.kernels.cpu.gemm.microkernel import blocking, microkernel

TASKS = 16  # at most so many where there is work for them
WASTE = 1.04  # lower blocks are taken where they save so much of the rows
_WORDS = (
    *gather.SOURCE, *gather.PLACES,
    "places", "share", "y_place", "lines", "pitch", "total", "part", "parts", "partial",
)  # fmt: skip


@cache
def product(kind: str, height: int, widths: tuple[int, ...]) -> Routine:
    """Operands: source, y, partial results, runs, the parts' first runs."""
    kinds = (kind,) * 3 + ("i8", "i8")
    return Routine("weight gradient", kinds, _WORDS, lambda f: _Writer(f, kind, height, widths).write(), explicit=True)


class _Writer:
    def __init__(self, f: Task, kind: str, height: int, widths: tuple[int, ...]) -> None:
        self.f, self.kind, self.height, self.block = f, kind, height, blocking(kind)
        self.rows, self.size = block_of(kind), SIZES[kind]
        source, self.y, self.partial, table, self.firsts = f.arrays
        self.scratch = gather.scratch(f, kind, self.rows)
        self.lines = f.scratch(kind, self.rows * self.block.width)
        self.gather = Gather(f, kind, source, table, self.scratch)
        strides = (self.size, PITCH * self.size)
        self.kernels = {
            v: microkernel(f.helpers, f"product{v}", height, v, kind, strides=strides, segmented=False) for v in widths
        }

    def write(self) -> None:
        f = self.f
        group, q = f.index / f["parts"], f.index % f["parts"]
        begin = group * f["share"]
        stop = least(f["places"], begin + f["share"])
        partial = self.partial.at(f.index * f["partial"])
        size = least(f["part"], f["total"] - q * f["part"])
        for start in f.range(stop, start=begin, step=self.rows):
            count = least(stop - start, self.rows)
            self.gather(start, count, self.firsts.load(q), self.firsts.load(q + 1))
            more = start.compare("ne", begin).select(f.constant("i8", 1), 0)
            for column in f.range(f["lines"], step=self.block.width):
                self._panel(partial.at(column), self.y.at(start * f["y_place"]).at(column), column, size, count, more)

    def _panel(self, c: Pointer, y: Pointer, column: Value, size: Value, count: Value, more: Value) -> None:
        """All rows of the windows times one panel of y."""
        f, left = self.f, self.f["lines"] - column
        lanes = self.block.lanes
        if len(self.kernels) == 1:
            (vectors,) = self.kernels
            self._multiply(vectors, c, y, left, size, count, more)
            return
        for narrow in f.either(left.compare("le", lanes)):
            self._multiply(1 if narrow else 2, c, y, left, size, count, more)

    def _multiply(
        self, vectors: int, c: Pointer, y: Pointer, left: Value, size: Value, count: Value, more: Value
    ) -> None:
        f, lanes = self.f, self.block.lanes
        width = vectors * lanes
        masks = [f.first(left - v * lanes, lanes) for v in range(vectors)]
        for i in f.range(count):
            row = y.at(i * f["y_place"])
            for v, mask in enumerate(masks):
                row.prefetch(f["y_place"] * self.rows + v * lanes)  # of the next block
                self.lines.store(row.load_some(mask, v * lanes), i * width + v * lanes)
        step, columns = f["pitch"] * self.size, f.constant("i8", width)
        for i in f.range(size, step=self.height):
            f.run(
                self.kernels[vectors], self.scratch.at(i), self.lines, c.at(i * f["pitch"]), step, count, columns, more
            )


class WeightGradient:
    """The gradient for given sizes.   source (N, D, H, W, channels), y (N, D, H, W, lines)
    -> (lines, channels, *kernel)

    steps: the source's, in elements; pixel: elements from place to place of y, which is otherwise dense.
    """

    __slots__ = ("_bound", "_finish", "_firsts", "_rows", "_size", "_table")

    def __init__(
        self, kind: str, p: Pass, batch: int, channels: int, steps: tuple[int, int, int, int], lines: int, pixel: int
    ) -> None:
        runs = runs_of(p, channels, steps[3])
        self._table, self._firsts = table(runs.table), table(runs.first)
        places, total = batch * p.out[0] * p.out[1] * p.out[2], p.taps * channels
        height, lanes = _height(kind, min(runs.part, total)), blocking(kind).lanes
        pitch, rows = round_up(lines, lanes), round_up(min(runs.part, total), height)
        share = _share(places, runs.parts, total * lines, block_of(kind))
        groups = -(-places // share)
        words = gather.numbers(p, steps) | {"places": places, "share": share, "y_place": pixel, "lines": lines}
        words |= {"pitch": pitch, "total": total, "part": runs.part, "parts": runs.parts, "partial": rows * pitch}
        self._size = groups * runs.parts * rows * pitch
        self._bound = product(kind, height, widths_of(lines, kind)).bind(
            groups * runs.parts, parallel=places * lines * total >= PARALLEL, **words
        )
        k = np.arange(p.taps) * channels + np.arange(channels)[:, None]
        self._rows = table((k // runs.part * rows + k % runs.part).ravel() * pitch)
        self._finish = bind(
            transposer(kind, by_row=True, summed=True), 1, total, lines, parts=groups,
            part_step=runs.parts * rows * pitch,
        )  # fmt: skip

    def __call__(self, source: Any, y: Any, w: Any) -> None:
        """Writes w (lines, channels, *kernel), dense."""
        partial = aligned((self._size,), w.dtype)
        self._bound(source, y, partial, self._table, self._firsts)
        self._finish(partial, w, self._rows)


def _height(kind: str, rows: int) -> int:
    """The tallest blocks, or the next lower ones where they waste less on so many rows."""
    tall, low = blocking(kind).heights[:2]
    return low if WASTE * round_up(rows, low) < round_up(rows, tall) else tall


def _share(places: int, parts: int, work: int, block: int) -> int:
    """The places of a group; `work`: multiplications a place."""
    tasks = min(TASKS, max(1, places * work // WORK))
    groups = max(1, min(-(-tasks // parts), places // (2 * block)))
    return round_up(-(-places // groups), block)
