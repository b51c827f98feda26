"""Programs that reduce an axis which is not the innermost one, and go on with the result: softmax of columns.

Arrays are (outer, middle, inner), contiguous; the middle axis is reduced. A task takes a strip of columns through all
phases of the program: it goes down the rows of the strip, a few vectors at a time, with an accumulator for each column
on its stack. A costly value that the last phase needs again waits in the output's memory, as in rows.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.elementwise import DTYPES, emit
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import LANES, Place, along
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.accumulate import REDUCTIONS, identity
from expkit.kernels.cpu.loops.plan import PARALLEL
from expkit.kernels.cpu.loops.program import Program, Ref, Step, facts
from expkit.kernels.cpu.loops.rows import Layout, Rows
from expkit.kernels.cpu.machine.call import Bound

STRIP = 1 << 10  # the most columns of a task
PART = 1 << 8  # rows whose sum is taken apart, so that sums of many rows are accurate
STRIPS = 8  # strips that the columns are cut into
TALL = 1 << 21  # elements from which strips are as wide as can be: narrow ones of many rows crowd the same cache sets
WORDS = ("middle", "inner", "strip", "strips")


def _taken(name: str, old: Value, x: Value) -> Value:
    """An accumulator that has taken in x; NaN stays."""
    if name in ("sum", "prod"):
        return old + x if name == "sum" else old * x
    wins = x.compare("gt" if name == "amax" else "lt", old)
    return (wins | x.compare("ne", x) if x.is_float else wins).select(x, old)


class _Strip:
    """Writes the body of a task."""

    def __init__(self, program: Program, f: Task) -> None:
        self.program, self.f, self.facts = program, f, facts(program)
        self.first = len(program.inputs)
        operands = self.first + len(program.outputs)
        self.rows = Rows(program, Layout(operands, 0, 0), ())
        self.kinds = [self.rows._kind(v) for v in range(self.first + len(program.steps))]
        self.lanes = LANES["f8"] if "f8" in self.kinds else LANES["f4"]
        self.last = max(self.facts.depth)
        self.stash = self.rows._stash()
        outer, strip = f.index.binary("sdiv", f["strips"]), f.index % f["strips"]
        self.column = strip * f["strip"]
        self.count = least(f["strip"], f["inner"] - self.column)
        self.base = outer * f["middle"] * f["inner"] + self.column
        self.outer = outer
        self.held: dict[int, Pointer] = {}  # row values, by number

    def write(self) -> None:
        steps = range(self.first, self.first + len(self.program.steps))
        for phase in range(self.last + 1):
            reducing = [v for v in steps if self._reduces(v) and self.facts.depth[v] == phase + 1]
            writing = [] if phase < self.last else [v for v in self.program.outputs if not self.facts.row[v]]
            if reducing or writing:
                self._go_down(phase, reducing, writing)
            self._finish([v for v in steps if self.facts.row[v] and self.facts.depth[v] == phase + 1])
        for slot, value in enumerate(self.program.outputs):
            if self.facts.row[value]:
                self._copy(self.held[value], self.f.arrays[self.first + slot])

    def _copy(self, held: Pointer, out: Pointer) -> None:
        """A row value into its output (outer, inner)."""
        out = out.at(self.outer * self.f["inner"] + self.column)
        along(self.f, 0, self.count, self.lanes, lambda p: p.store(out, p.load(held)))

    def _step(self, value: int) -> Step:
        return self.program.steps[value - self.first]

    def _reduces(self, value: int) -> bool:
        step = self.program.step(value)
        return step is not None and step.name in REDUCTIONS

    def _go_down(self, phase: int, reducing: Sequence[int], writing: Sequence[int]) -> None:
        """One pass over the rows of the strip."""
        f = self.f
        parts = {value: f.scratch(self.kinds[value], STRIP) for value in reducing}
        for value in reducing:
            self.held[value] = f.scratch(self.kinds[value], STRIP)
            self._clear(value, self.held[value])
        for part in f.range(f["middle"], step=PART):
            for value in reducing:
                self._clear(value, parts[value])
            for m in f.range(least(part + PART, f["middle"]), part):
                self._row(self.base + m * f["inner"], phase, parts, writing)
            for value in reducing:
                self._join(value, parts[value])

    def _clear(self, value: int, held: Pointer) -> None:
        start = identity(self.f, self._step(value).name, self.kinds[value])
        start = self.f.splat(start, self.lanes)
        along(self.f, 0, self.count, self.lanes, lambda p: p.store(held, start))

    def _join(self, value: int, part: Pointer) -> None:
        held, name = self.held[value], self._step(value).name
        along(self.f, 0, self.count, self.lanes, lambda p: p.store(held, _taken(name, p.load(held), p.load(part))))

    def _row(self, row: Value, phase: int, parts: dict[int, Pointer], writing: Sequence[int]) -> None:
        along(self.f, 0, self.count, self.lanes, lambda p: self._element(p, row, phase, parts, writing))

    def _element(self, p: Place, row: Value, phase: int, parts: dict[int, Pointer], writing: Sequence[int]) -> None:
        cache: dict[int, Value] = {}
        stash = self.f.arrays[-1].at(row)
        if self.stash is not None and phase > self.facts.depth[self.stash]:
            cache[self.stash] = p.load(stash)
        for value, part in parts.items():
            step = self._step(value)
            p.store(part, _taken(step.name, p.load(part), self._value(step.refs[0], p, row, cache)))
        for value in writing:
            out = self.f.arrays[self.first + self.program.outputs.index(value)].at(row)
            p.store(out, self._value(value, p, row, cache))
        if self.stash in cache and phase == self.facts.depth[self.stash]:
            p.store(stash, cache[self.stash])

    def _value(self, value: int, p: Place, row: Value, cache: dict[int, Value]) -> Value:
        if value not in cache:
            if self.facts.row[value]:
                cache[value] = p.load(self.held[value])
            elif value < self.first:
                cache[value] = p.load(self.f.arrays[value].at(row))
            else:
                cache[value] = self._computed(value, lambda v: self._value(v, p, row, cache))
        return cache[value]

    def _computed(self, value: int, operand: Callable[[int], Value]) -> Value:
        step = self._step(value)
        return emit(step.name, [operand(a.number) if isinstance(a, Ref) else a for a in step.args], dict(step.kw))

    def _finish(self, values: Sequence[int]) -> None:
        """Row values that follow from reductions, each computed once for a column."""
        for value in values:
            if self._reduces(value):
                continue
            self.held[value] = self.f.scratch(self.kinds[value], STRIP)
            self._fill(value)

    def _fill(self, value: int) -> None:
        def put(p: Place) -> None:
            p.store(self.held[value], self._computed(value, lambda v: p.load(self.held[v])))

        along(self.f, 0, self.count, self.lanes, put)


class StripKernel:
    """kernel(*arrays) -> the program's outputs: full ones, and row ones with size 1 in the axis that is reduced."""

    def __init__(self, program: Program, axis: int) -> None:
        self.program, self.axis = program, axis
        writer = Rows(program, Layout(len(program.inputs) + len(program.outputs), 0, 0), ())
        self.inputs = [DTYPES[k] for k in program.inputs]
        self.kinds = [writer._kind(v) for v in program.outputs]
        self.row = [facts(program).row[v] for v in program.outputs]
        routine = Routine(
            "strips", (*program.inputs, *self.kinds), WORDS, lambda f: _Strip(program, f).write(), explicit=True
        )
        self._bound = lru_cache(maxsize=4096)(lambda *sizes: _bind(routine, *sizes))

    def __call__(self, *arrays: Any) -> list[Any]:
        full = np.broadcast_shapes(*(a.shape for a in arrays))
        outs = [
            plan.empty(tuple([1 if i == self.axis and row else n for i, n in enumerate(full)]), DTYPES[kind])
            for kind, row in zip(self.kinds, self.row, strict=True)
        ]
        if prod(full):
            run = self._bound(prod(full[: self.axis]), full[self.axis], prod(full[self.axis + 1 :]))
            run(*(dense(np.broadcast_to(a, full)) for a in arrays), *outs)
        return outs


def _bind(routine: Routine, outer: int, middle: int, inner: int) -> Bound:
    wanted = -(-inner // STRIPS) if outer < STRIPS and middle * inner < TALL else inner
    strip = min(STRIP, -(-wanted // 64) * 64)
    strips = -(-inner // strip)
    parallel = outer * middle * inner >= PARALLEL
    return routine.bind(outer * strips, parallel=parallel, middle=middle, inner=inner, strip=strip, strips=strips)
