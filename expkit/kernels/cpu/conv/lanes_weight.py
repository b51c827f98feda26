"""The weight gradient of depthwise and narrow grouped convolutions: sums over places, a lane for each output channel.

    partial[group of lines, vector of channels, tap, in, lane] = sum of x[place of the tap, in] * y[place, lane]

The sums of the taps along the innermost axis stay in registers for a line of places; groups of lines are tasks, and
their partial results are added in order when the result is turned to (outs, ins, *kernel).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.write import filled
from expkit.kernels.cpu.code.builder import Pointer
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.conv import lanes
from expkit.kernels.cpu.conv.geometry import Pass, table
from expkit.kernels.cpu.conv.lanes import PARALLEL, TARGET, Narrow, Source
from expkit.kernels.cpu.conv.layout import bind, transposer

CHAINS = 8  # sums under way at once that hide an addition's latency
TASKS = 32


@cache
def product(code: Narrow) -> Routine:
    """Operands: source, y, partial results (zeros)."""
    words = (*lanes.WORDS, "outs", "taps", "partial")
    return Routine("narrow weight gradient", (code.kind,) * 3, words, _Writer(code).write, explicit=True)


class _Writer:
    def __init__(self, code: Narrow) -> None:
        self.code = code
        self.sets = max(1, min(code.block, -(-CHAINS // (code.taps * code.ins))))

    def write(self, f: Task) -> None:
        source, y, partial = f.arrays
        code, width = self.code, self.code.lanes
        mine = partial.at(f.index * f["partial"])

        def lines(n: Value, d: Value, first: Value, stop: Value) -> None:
            image, grad = source.at(n * f["s_batch"]), y.at(n * f["t_batch"] + d * f["t_depth"])
            for column in f.range(f["outs"], step=width):
                mask = f.first(f["outs"] - column, width)
                read = Source(f, code, image, column)
                into = mine.at(column * f["taps"])
                for h in f.range(stop, start=first):
                    line = grad.at(h * f["t_height"] + column)
                    for td, th, start in read.lines(d, h):
                        place = into.at((td * f["taps_height"] + th) * (code.taps * code.ins * width))
                        self._taps(f, read, start, (line, mask), place)

        lanes.each_line(f, lines)

    def _taps(self, f: Task, read: Source, line: Pointer, grad: tuple[Pointer, Value], place: Pointer) -> None:
        """Adds the sums of one line of places for the taps of one line of the kernel."""
        code, count = self.code, self.code.taps * self.code.ins
        zero = f.splat(0.0, code.lanes, code.kind)
        cells = [f.cell(zero) for _ in range(self.sets * count)]
        for w in f.range(f["out_width"], step=code.block):
            for inside in f.either(read.inside(w) & (w + code.block).compare("le", f["out_width"])):
                grads = self._grads(f, grad, w, inside=inside)
                for j in range(code.reach):
                    with read.there(w, j, inside=inside):
                        for c, x in enumerate(read.vectors(line, w, j)):
                            for t, p in code.readers(j):
                                cell = cells[p % self.sets * count + t * code.ins + c]
                                cell.value = x.fma(grads[p], cell.value)
        for k in range(count):
            total = place.load(k * code.lanes, code.lanes)
            for cell in cells[k::count]:
                total = total + cell.value
            place.store(total, k * code.lanes)

    def _grads(self, f: Task, grad: tuple[Pointer, Value], w: Value, *, inside: bool) -> list[Value]:
        """The gradients at a block's places, zero behind the line's end."""
        y, mask = grad
        if inside:
            return [y.at((w + p) * f["t_width"]).load_some(mask) for p in range(self.code.block)]
        zero, found = f.splat(0.0, self.code.lanes, self.code.kind), []
        for p in range(self.code.block):
            there = (w + p).compare("lt", f["out_width"])
            found.append(there.select(y.at(there.select(w + p, 0) * f["t_width"]).load_some(mask), zero))
        return found


class NarrowWeightGradient:
    """The gradient for given sizes.   source (N, D, H, W, groups ins), y (N, D, H, W, groups outs), both dense
    -> (groups outs, ins, *kernel)"""

    __slots__ = ("_bound", "_finish", "_rows", "_size")

    def __init__(
        self, kind: str, p: Pass, batch: int, groups: int, ins: int, outs: int, steps: tuple[int, int, int, int]
    ) -> None:
        code = lanes.narrow(kind, p, ins, outs)
        words, work = lanes.line_numbers(p, batch, groups, ins, steps)
        channels, width = groups * outs, code.lanes
        _, height, breadth = p.out
        targets = (p.out[0] * height * breadth, height * breadth, breadth, 1)
        words |= {name: t * channels for name, t in zip(TARGET, targets, strict=True)}
        tasks = lanes.split(words, p, batch, TASKS)
        vector = p.taps * ins * width
        partial = -(-channels // width) * vector
        words |= {"outs": channels, "taps": p.taps * ins, "partial": partial}
        self._bound = product(code).bind(tasks, parallel=work * outs >= PARALLEL, **words)
        self._size = tasks * partial
        taps = np.arange(p.taps) * ins + np.arange(ins)[:, None]
        self._rows = table(taps.ravel() * width)
        self._finish = []
        routine = transposer(kind, by_row=True, summed=True)
        whole = channels // width
        for first, batches, columns in ((0, whole, width), (whole, 1, channels % width)):
            if batches and columns:
                bound = bind(
                    routine, batches, p.taps * ins, columns, source_batch=vector, target_batch=p.taps * ins * width,
                    parts=tasks, part_step=partial,
                )  # fmt: skip
                self._finish.append((bound, first * vector, first * width))

    def __call__(self, source: Any, y: Any, w: Any) -> None:
        """Writes w, dense."""
        partial = filled((self._size,), w.dtype)
        self._bound(source, y, partial)
        for bound, at, channel in self._finish:
            bound(partial[at:], w[channel:], self._rows)
