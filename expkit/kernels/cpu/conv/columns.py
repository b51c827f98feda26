"""The gradient of a convolution by an input of few channels: products for all taps at once, then added up in place.

    columns[place, (tap, channel)] = y[place, :] @ w[:, (tap, channel)];   x[place of the tap] += columns[place, tap]

A direct pass would leave most lanes empty, as its lines are the input's channels; here taps and channels fill them. A
task owns some lines of one image and takes all places that reach them, so nothing is added by two tasks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.builder import Pointer, least
from expkit.kernels.cpu.conv.gather import PART, PITCH
from expkit.kernels.cpu.conv.geometry import Shape
from expkit.kernels.cpu.gemm.microkernel import blocking, microkernel
from expkit.kernels.cpu.ir import SIZES, Value
from expkit.kernels.cpu.routine import Routine, Task

MOST = 8  # channels
PARALLEL = 1 << 19  # multiplications from which several threads are worth waking
TASKS = 16
_WORDS = (
    "parts", "share", "height", "line", "channels", "out_height", "out_width", "outs", "columns",
    "before_height", "before_width", "step_height", "step_width", "space_height", "space_width", "taps", "runs", "run",
)  # fmt: skip


def applies(s: Shape, channels: int, outs: int) -> bool:
    """Whether the gradient is one for this module: one or two axes, few channels, and all columns at hand at once."""
    columns = s.kernel[1] * s.kernel[2] * channels
    flat = s.size[0] == s.kernel[0] == s.out[0] == 1 and s.before[0] == 0
    return flat and channels <= MOST and 2 * channels <= columns <= PART and outs <= PART


@cache
def routine(kind: str) -> Routine:
    """Operands: y, panels of the weights, x."""
    return Routine("columns", (kind,) * 3, _WORDS, lambda f: _Writer(f, kind).write(), explicit=True)


class _Writer:
    def __init__(self, f: Task, kind: str) -> None:
        self.f, self.kind, self.block, self.size = f, kind, blocking(kind), SIZES[kind]
        self.rows, self.lanes = self.block.heights[0], self.block.lanes
        self.y, self.panels, self.x = f.arrays
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
        reach = (f["taps"] - 1) * f["space_height"]
        low = (_positive(first + f["before_height"] - reach) + (f["step_height"] - 1)) / f["step_height"]
        high = least(f["out_height"], (stop - 1 + f["before_height"]) / f["step_height"] + 1)
        for p in f.range(high, start=low):
            for q in f.range(f["out_width"], step=self.rows):
                count = least(f["out_width"] - q, self.rows)
                self._multiply(((n * f["out_height"] + p) * f["out_width"] + q) * f["outs"], count)
                for r in f.range(count):
                    self._add(image, p, q + r, self.tile.at(r * PITCH), (first, stop))

    def _multiply(self, at: Value, count: Value) -> None:
        """The columns of some places of y, into the tile."""
        f, width = self.f, self.block.width
        for r in f.range(count):
            for i in f.range(f["outs"], step=self.lanes):
                mask = f.first(f["outs"] - i, self.lanes)
                self.scratch.store_some(mask, self.y.at(at + r * f["outs"]).load_some(mask, i), r * PITCH + i)
        step, whole, no = (f.constant("i8", n) for n in (PITCH * self.size, width, 0))
        for column in f.range(f["columns"], step=width):
            panel = self.panels.at(column * f["outs"])
            f.run(self.kernel, self.scratch, panel, self.tile.at(column), step, f["outs"], whole, no)

    def _add(self, image: Pointer, p: Value, q: Value, row: Pointer, lines: tuple[Value, Value]) -> None:
        """The columns of one place to where its window lies, as far as that is in the task's lines."""
        f = self.f
        left = q * f["step_width"] - f["before_width"]
        for t in f.range(f["taps"]):
            h = p * f["step_height"] - f["before_height"] + t * f["space_height"]
            with f.when(h.compare("ge", lines[0]) & h.compare("lt", lines[1])):
                line = image.at(h * f["line"])
                for run in f.range(f["runs"]):
                    at = (left + run * f["space_width"]) * f["channels"]
                    self._run(line, at, row.at((t * f["runs"] + run) * f["run"]))

    def _run(self, line: Pointer, at: Value, columns: Pointer) -> None:
        """Adds a run of neighbours to the elements from `at` on that lie in the line."""
        f, lanes = self.f, self.lanes
        inside = at.compare("ge", 0) & (at + f["run"]).compare("le", f["line"])
        for whole in f.either(inside):
            low, high = (None, f["run"]) if whole else (_positive(0 - at), least(f["run"], f["line"] - at))
            for i in f.range(high, step=lanes):
                mask = f.first(high - i, lanes)
                if low is not None:
                    mask = mask & (f.first(low - i, lanes) ^ f.splat(1, lanes, "b1"))
                line.store_some(mask, line.load_some(mask, at + i) + columns.load_some(mask, i), at + i)


def _positive(x: Value) -> Value:
    return x.compare("lt", 0).select(0, x)


class Columns:
    """The gradient for given sizes.   y (N, 1, P, Q, outs), panels -> x (N, 1, H, W, channels), all dense"""

    __slots__ = ("_bound", "_shape", "_width")

    def __init__(self, kind: str, s: Shape, batch: int, channels: int, outs: int) -> None:
        _, taps, wide = s.kernel
        joined = s.dilation[2] == 1
        self._shape, self._width = (outs, channels, taps * wide), blocking(kind).width
        reach = s.dilation[1] * (taps - 1) + 1
        parts = max(1, min(-(-TASKS // batch), s.size[1] // (4 * reach)))
        share = -(-s.size[1] // parts)
        parts = -(-s.size[1] // share)
        words = {
            "parts": parts, "share": share, "height": s.size[1], "line": s.size[2] * channels, "channels": channels,
            "out_height": s.out[1], "out_width": s.out[2], "outs": outs, "columns": taps * wide * channels,
            "before_height": s.before[1], "before_width": s.before[2], "step_height": s.stride[1],
            "step_width": s.stride[2], "space_height": s.dilation[1], "space_width": s.dilation[2], "taps": taps,
            "runs": 1 if joined else wide, "run": wide * channels if joined else channels,
        }  # fmt: skip
        work = batch * s.out[1] * s.out[2] * outs * taps * wide * channels
        self._bound = routine(kind).bind(batch * parts, parallel=work >= PARALLEL, **words)

    def panels(self, w: Any) -> Any:
        """Dense weights as (panel, out, (tap, channel) of the panel): they are few."""
        outs, channels, taps = self._shape
        count = -(-taps * channels // self._width)
        padded = np.zeros((outs, count * self._width), w.dtype)
        padded[:, : taps * channels] = w.reshape(self._shape).transpose(0, 2, 1).reshape(outs, -1)
        return np.ascontiguousarray(padded.reshape(outs, count, self._width).transpose(1, 0, 2))

    def __call__(self, y: Any, panels: Any, _bias: None, x: Any) -> None:
        """Writes x."""
        self._bound(y, panels, x)
