"""The gradient of a convolution by its input as products for all taps, added up where the windows lie (col2im).

    columns[place, (tap, channel)] = y[place, :] @ w[:, (tap, channel)];   x[place of the tap] += columns[place, tap]

For an input of few channels: a direct pass, whose lines they are, would leave most lanes empty; here taps and channels
fill them. And for strides: a direct pass gathers y for each class of places, this one reads it once. A task owns some
lines of one image and takes all places that reach them, so nothing is added by two tasks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.write import filled
from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.conv.gather import PART, PITCH
from expkit.kernels.cpu.conv.geometry import Shape, round_up, table
from expkit.kernels.cpu.conv.layout import bind, transposer
from expkit.kernels.cpu.gemm.microkernel import blocking, microkernel

FEW = 8  # channels
PARALLEL = 1 << 19  # multiplications from which several threads are worth waking
TASKS = 16  # at least, where images have the lines
LINES = 8  # of a task, in windows' heights: what two tasks compute both is less
RUN, GROUP = 4, 4  # numbers of a run and of a group in their tables
_WORDS = (
    "parts", "share", "height", "line", "out_height", "out_width", "outs", "groups",
    "before", "reach", "step_height", "step_line",
)  # fmt: skip


def applies(kind: str, s: Shape, channels: int, outs: int) -> bool:
    """Whether the gradient is one for this module: one or two axes; few channels, or strides and as many outputs."""
    flat = s.size[0] == s.kernel[0] == s.out[0] == 1 and s.before[0] == 0
    if not flat or outs > PART:
        return False
    if channels <= FEW:
        return s.kernel[1] * s.kernel[2] > 1 and s.kernel[2] * channels <= PART
    return max(s.stride) > 1 and channels <= min(outs, PART) and channels % blocking(kind).width == 0


@cache
def routine(kind: str) -> Routine:
    """Operands: y, panels of the weights, x, runs, groups of runs."""
    kinds = (kind,) * 3 + ("i8", "i8")
    return Routine("columns", kinds, _WORDS, lambda f: _Writer(f, kind).write(), explicit=True)


class _Writer:
    def __init__(self, f: Task, kind: str) -> None:
        self.f, self.kind, self.block, self.size = f, kind, blocking(kind), SIZES[kind]
        self.rows, self.lanes = self.block.heights[0], self.block.lanes
        self.y, self.panels, self.x, self.runs, self.groups = f.arrays
        self.scratch, self.tile = f.scratch(kind, self.rows * PITCH), f.scratch(kind, self.rows * PITCH)
        strides = (PITCH * self.size, self.size)
        self.kernel = microkernel(
            f.helpers, "product", self.rows, self.block.vectors, kind, strides=strides, segmented=False
        )

    def write(self) -> None:
        f = self.f
        n, part = f.index / f["parts"], f.index % f["parts"]
        first = part * f["share"]
        stop = least(f["height"], first + f["share"])
        image = self.x.at(n * f["height"] * f["line"])
        for i in f.range(stop * f["line"], start=first * f["line"], step=self.lanes):
            image.store_some(f.first(stop * f["line"] - i, self.lanes), f.splat(0.0, self.lanes, self.kind), i)
        low = (_positive(first + f["before"] - f["reach"]) + (f["step_height"] - 1)) / f["step_height"]
        high = least(f["out_height"], (stop - 1 + f["before"]) / f["step_height"] + 1)
        width = f["out_width"]
        for place in f.range(high * width, start=low * width, step=self.rows):
            count = least(high * width - place, self.rows)
            self._read((n * f["out_height"] * width + place) * f["outs"], count)
            for g in f.range(f["groups"]):
                begin, end, columns, panels = (self.groups.load(g * GROUP + k) for k in range(GROUP))
                self._multiply(panels, columns)
                for r in f.range(count):
                    p, q = (place + r) / width, (place + r) % width
                    for run in f.range(end, start=begin):
                        self._add(image, p, q, run, self.tile.at(r * PITCH), (first, stop))

    def _read(self, at: Value, count: Value) -> None:
        """Some places of y, into scratch; those that come next are brought near."""
        f = self.f
        for r in f.range(count):
            row = self.y.at(at + r * f["outs"])
            for i in f.range(f["outs"], step=self.lanes):
                mask = f.first(f["outs"] - i, self.lanes)
                row.prefetch(f["outs"] * self.rows + i)
                self.scratch.store_some(mask, row.load_some(mask, i), r * PITCH + i)

    def _multiply(self, panels: Value, columns: Value) -> None:
        """A group's columns of these places, into the tile."""
        f, width = self.f, self.block.width
        step, whole, no = (f.constant("i8", n) for n in (PITCH * self.size, width, 0))
        for column in f.range(columns, step=width):
            panel = self.panels.at((panels + column) * f["outs"])
            f.run(self.kernel, self.scratch, panel, self.tile.at(column), step, f["outs"], whole, no)

    def _add(self, image: Pointer, p: Value, q: Value, run: Value, row: Pointer, lines: tuple[Value, Value]) -> None:
        """A run of the columns of one place, as far as it lies in the task's lines, to where its window lies."""
        f, lanes = self.f, self.lanes
        down, along, size, column = (self.runs.load(run * RUN + k) for k in range(RUN))
        h, at = p * f["step_height"] + down, q * f["step_line"] + along
        with f.when(h.compare("ge", lines[0]) & h.compare("lt", lines[1])):
            line, columns = image.at(h * f["line"]), row.at(column)
            inside = at.compare("ge", 0) & (at + size).compare("le", f["line"])
            whole = inside.select(size & -lanes, 0)
            for i in f.range(whole, step=lanes):
                line.store(line.load(at + i, lanes) + columns.load(i, lanes), at + i)
            low, high = _positive(0 - at), least(size, f["line"] - at)
            for i in f.range(high, start=whole, step=lanes):
                mask = f.first(high - i, lanes) & (f.first(low - i, lanes) ^ f.splat(1, lanes, "b1"))
                line.store_some(mask, line.load_some(mask, at + i) + columns.load_some(mask, i), at + i)


def _positive(x: Value) -> Value:
    return x.compare("lt", 0).select(0, x)


class Columns:
    """The gradient for given sizes.   y (N, 1, P, Q, outs), panels -> x (N, 1, H, W, channels), all dense"""

    __slots__ = ("_bound", "_columns", "_groups", "_pack", "_places", "_runs", "_width")

    def __init__(self, kind: str, s: Shape, batch: int, channels: int, outs: int) -> None:
        _, down, along = s.kernel
        self._width = blocking(kind).width
        starts = self._table(s, channels)
        reach = s.dilation[1] * (down - 1)
        parts = max(1, min(-(-TASKS // batch), s.size[1] // (LINES * (reach + 1))))
        share = -(-s.size[1] // parts)
        parts = -(-s.size[1] // share)
        words = {
            "parts": parts, "share": share, "height": s.size[1], "line": s.size[2] * channels, "out_height": s.out[1],
            "out_width": s.out[2], "outs": outs, "groups": len(self._groups), "before": s.before[1], "reach": reach,
            "step_height": s.stride[1], "step_line": s.stride[2] * channels,
        }  # fmt: skip
        work = batch * s.out[1] * s.out[2] * outs * down * along * channels
        self._bound = routine(kind).bind(batch * parts, parallel=work >= PARALLEL, **words)
        taps = down * along
        steps = {"source_batch": channels * taps, "target_batch": self._width}
        if channels % self._width == 0:
            panels = {"panel": self._width, "panel_step": self._width * outs}
            self._pack = bind(transposer(kind, by_column=True), outs, channels, taps, **steps, **panels)
            self._places = table(starts * outs)
        else:
            columns = (np.arange(channels)[:, None] + starts).ravel()
            self._pack = bind(transposer(kind, by_column=True), outs, 1, channels * taps, **steps)
            self._places = table(columns // self._width * (self._width * outs) + columns % self._width)

    def _table(self, s: Shape, channels: int) -> Any:
        """Runs (down, along, size, column of the group) and groups (first run, end, columns, columns before it).

        Returns the column of each tap.
        """
        _, down, along = s.kernel
        joined = s.dilation[2] == 1 and along * channels <= PART
        wide, count = (along * channels, 1) if joined else (channels, along)
        runs: list[tuple[int, ...]] = []
        groups: list[list[int]] = []
        starts: list[int] = []
        for tap in range(down * count):
            h, w = divmod(tap, count)
            if not groups or groups[-1][2] + wide > PART:
                before = sum(round_up(group[2], self._width) for group in groups)
                groups.append([tap, tap, 0, before])
            group = groups[-1]
            offsets = h * s.dilation[1] - s.before[1], (w * s.dilation[2] - s.before[2]) * channels
            runs.append((*offsets, wide, group[2]))
            starts += range(group[3] + group[2], group[3] + group[2] + wide, channels)
            group[1], group[2] = tap + 1, group[2] + wide
        self._runs, self._groups = table(runs), table(groups)
        self._columns = sum(round_up(group[2], self._width) for group in groups)
        return np.array(starts)

    def panels(self, w: Any) -> Any:
        """Dense weights as (panel, out, column of the panel); zeros in columns that no tap has."""
        out = filled((self._columns * w.shape[0],), w.dtype)
        self._pack(w, out, self._places)
        return out

    def __call__(self, y: Any, panels: Any, _bias: None, x: Any) -> None:
        """Writes x."""
        self._bound(y, panels, x, self._runs, self._groups)
