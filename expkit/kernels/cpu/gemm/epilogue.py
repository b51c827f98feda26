"""What follows a product: an elementwise program over it and over operands, run on parts of C that are in the cache.

The kernels of products do not know programs. They call one through its address, a word of their table, whenever a band
of C is done: a new program compiles one loop, in a tenth of the time that a product's kernel takes, and costs one more
look at C in the nearest cache, less than a percent.

Operands and further results lie in slots. Where everything lies is said by a table of steps, a line for each axis: the
inner two of C, rows first, then those of the batch, the fastest first. A line has the axis' size and steps in bytes of
A, B, C and the slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.code.builder import Function, Pointer
from expkit.kernels.cpu.code.elementwise import Gap, emit
from expkit.kernels.cpu.code.ir import Block, Value, scalar_of
from expkit.kernels.cpu.code.routine import Task
from expkit.kernels.cpu.code.vectors import LANES
from expkit.kernels.cpu.loops.program import Program, Ref
from expkit.kernels.cpu.machine import llvm

SLOTS = 8  # operands and further results, at most
SIZE, A, B, C, SLOT = range(5)  # columns of the table of steps, then the other slots
LINE = SLOT + SLOTS
INNER = 2  # lines of the table that are C's own axes
BYTES = 64  # of a line of the cache
PART = ("row", "column", "rows", "columns")  # of C: where it begins, and its size


class Epilogue(NamedTuple):
    """A program whose first input is the product.

    repeated: for each operand, whether a row has one element of it, or as many as C has, densely.
    home: the number of the result that takes the product's place, if one does.
    """

    program: Program
    repeated: tuple[bool, ...]
    home: int | None


def kinds(program: Program) -> list[str]:
    """The kinds of a program's results. Gap where there is no code for it."""
    if program.reduces or program.into is not None:
        raise Gap("what follows a product is elementwise, and makes results of its own")
    known, block = list(program.inputs), Block()
    for step in program.steps:
        args = [Value(block, known[a.number], "%x") if isinstance(a, Ref) else a for a in step.args]
        known.append(emit(step.name, args, dict(step.kw)).kind)
    return [known[number] for number in program.outputs]


@lru_cache(maxsize=1024)
def address(epilogue: Epilogue) -> int:
    """Its code: finish(steps, C of one product, words), the words being the slots' places and a part of C."""
    f = Function("finish", steps="*i8", c="*u1", words="*i8")
    _Finish(f, epilogue).write()
    text = "\n".join([llvm.EXPLICIT + "; epilogue", *f.calls.values(), f.text(linkage="")])
    return llvm.compile_ir(text).address("finish")


def tail(kind: str) -> tuple[str, ...]:
    """The kinds of the last arrays of a routine that has an epilogue: steps, slots (of any kind), C."""
    return ("i8", *("u1",) * SLOTS, kind)


class Places:
    """Where one product of a batch lies. A routine's arrays are (A, B, ..., steps, slots, C)."""

    def __init__(self, f: Task, batch: Value | None = None) -> None:
        self.f, self._steps = f, f.arrays[-2 - SLOTS]
        self._words = f.scratch("i8", SLOTS + len(PART))
        self._near: Function | None = None
        places = [f.arrays[0], f.arrays[1], f.arrays[-1], *f.arrays[-1 - SLOTS : -1]]
        if batch is not None:
            places = self._of(places, batch)
        self.a, self.b, self.c, *slots = places
        for i, slot in enumerate(slots):
            self._words.store(f.put("i8", f"ptrtoint {slot!r} to i64"), i)

    def _of(self, places: list[Pointer], batch: Value) -> list[Pointer]:
        f = self.f
        offsets = [f.cell(f.constant("i8", 0)) for _ in places]
        left = f.cell(batch)
        for axis in f.range(f["axes"]):
            line, index = self._steps.at((axis + INNER) * LINE), left.value
            size = line.load(SIZE)
            left.value = index / size
            for column, offset in enumerate(offsets, A):
                offset.value = offset.value + index % size * line.load(column)
        return [place.move(offset.value) for place, offset in zip(places, offsets, strict=True)]

    def bring_near(self, row: Value, column: Value, rows: int, columns: Value) -> None:
        """Brings what the program is going to meet at a part of C into the second level of the cache."""
        if self._near is None:
            self._near = _bring_near(self.f)
        with self.f.when(self.f["finish"].compare("ne", 0)):
            self._say((row, column, rows, columns))
            self.f.run(self._near, self._steps, self._words)

    def _say(self, part: Sequence[Value | int]) -> None:
        for i, x in enumerate(part, SLOTS):
            self._words.store(x, i)

    def finish(self, row: Value | int, column: Value | int, rows: Value | int, columns: Value | int) -> None:
        """Runs what follows, if anything does, on a part of C."""
        f = self.f
        with f.when(f["finish"].compare("ne", 0)):
            self._say((row, column, rows, columns))
            code = f.put("i8", f"inttoptr {f['finish']!r} to ptr")
            f.write(f"  call void {code.name}({self._steps!r}, {self.c!r}, {self._words!r})")


def _bring_near(task: Task) -> Function:
    """near(steps, words): touches the slots' lines at a part of C; not where one row or column is repeated."""
    f = task.helper("near", steps="*i8", words="*i8")
    f.attributes = "noinline"
    steps, words = f.pointer("steps"), f.pointer("words")
    row, column, rows, columns = (words.load(SLOTS + i) for i in range(len(PART)))
    for i in f.range(SLOTS):
        down, along = steps.load(i + SLOT), steps.load(i + (LINE + SLOT))
        place = words.follow("u1", i).move(row * down + column * along)
        for r in f.range(down.compare("eq", 0).select(0, rows)):
            for at in f.range(columns * along, step=BYTES):
                place.move(r * down + at).prefetch(locality=2)
    return f


class _Finish:
    """The loop over a part of C, row by row, in vectors."""

    def __init__(self, f: Function, epilogue: Epilogue) -> None:
        self.f, self.program, self.home = f, epilogue.program, epilogue.home
        self.repeated = epilogue.repeated
        self.kind = self.program.inputs[0]
        self.lanes = LANES[self.kind]
        self.row, self.column, self.rows, self.columns = (f.pointer("words").load(SLOTS + i) for i in range(len(PART)))
        results = [kind for n, kind in enumerate(kinds(self.program)) if n != self.home]
        of = [*self.program.inputs[1:], *results]
        self.slots = [f.pointer("words").follow(kind, i) for i, kind in enumerate(of)]
        self.mask: Value | None = None

    def write(self) -> None:
        f = self.f
        for row in f.range(self.rows):
            line = self._line(f.pointer("c").cast(self.kind), C, row)
            slots = [self._line(place, SLOT + i, row) for i, place in enumerate(self.slots)]
            fixed = {i: f.splat(slots[i].load(), self.lanes) for i, same in enumerate(self.repeated) if same}
            whole = self.columns & -self.lanes
            for j in f.range(whole, step=self.lanes):
                self._vectors(line, slots, fixed, j, None)
            with f.when(whole.compare("lt", self.columns)):
                self._vectors(line, slots, fixed, whole, f.first(self.columns - whole, self.lanes))

    def _line(self, place: Pointer, column: int, row: Value) -> Pointer:
        """Where a row of the part begins."""
        steps = self.f.pointer("steps")
        return place.move((self.row + row) * steps.load(column) + self.column * steps.load(LINE + column))

    def _vectors(
        self, line: Pointer, slots: list[Pointer], fixed: dict[int, Value], j: Value, mask: Value | None
    ) -> None:  # fmt: skip
        program, count = self.program, len(self.program.inputs) - 1
        values = [_load(line.at(j), mask, self.lanes)]
        values += [fixed[i] if i in fixed else _load(slots[i].at(j), mask, self.lanes) for i in range(count)]
        for step in program.steps:
            args = [values[a.number] if isinstance(a, Ref) else a for a in step.args]
            values.append(emit(step.name, args, dict(step.kw)))
        results = iter(slots[count:])
        for n, number in enumerate(program.outputs):
            place = line if n == self.home else next(results)
            if n != self.home or number:
                _store(place.at(j), values[number], mask)


def _load(place: Pointer, mask: Value | None, lanes: int) -> Value:
    if mask is None:
        return place.load(lanes=lanes)
    if place.kind == "b1":
        return place.cast("u1").load_some(mask).to("b1")
    return place.load_some(mask)


def _store(place: Pointer, x: Value, mask: Value | None) -> None:
    if mask is None:
        place.store(x)
    else:
        place.store_some(mask, x.to("u1") if scalar_of(x.kind) == "b1" else x)


def table(sizes: Sequence[int], steps: Sequence[Sequence[int]]) -> Any:
    """The table of steps from the axes' sizes and what A, B, C and the slots that are used move by along each."""
    lines = np.zeros((len(sizes), LINE), np.int64)
    for line, size, moves in zip(lines, sizes, steps, strict=True):
        line[: A + len(moves)] = [size, *moves]
    lines.flags.writeable = False
    return lines
