"""Kernels over many arrays at once: a table of segments, whose concatenation is cut into pieces and these into tasks.

A segment is one array for each operand (a parameter, its gradient, its moments: all of one size and dense) and some
numbers of its own. The table holds the addresses of the array objects, not of their data: the generated code reads the
data pointers. Each element goes through memory once. Nothing is contracted, so that the results are to the bit those of
the same steps one after the other in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.code.builder import Number, Pointer
from expkit.kernels.cpu.code.elementwise import DTYPES, emit
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops.plan import PARALLEL, TILE
from expkit.kernels.cpu.loops.program import Ref, Step
from expkit.kernels.cpu.machine.call import OBJECT, Bound

VECTOR = 64  # bytes of a vector
Piece = Callable[[Task, list[Pointer], Value, Value], None]


class Update(NamedTuple):
    """Steps on each element. Values: the elements of the arrays, then the segment's numbers, then one for each step."""

    kind: str  # f4 or f8
    arrays: int
    numbers: int
    steps: tuple[Step, ...]
    writes: tuple[tuple[int, int], ...]  # (array, the value that overwrites it)


class Cut(NamedTuple):
    """How segments of given sizes are gone through."""

    pieces: Any  # (n, 3): segment, first element, number of elements
    first: Any  # of each task, and behind the last, its first piece
    total: int

    @property
    def tasks(self) -> int:
        return len(self.first) - 1


@lru_cache(maxsize=256)
def cut(sizes: tuple[int, ...]) -> Cut:
    """Tasks of about TILE elements: pieces of large segments, several small segments together."""
    pieces: list[tuple[int, int, int]] = []
    first, held = [0], 0
    for segment, size in enumerate(sizes):
        for start in range(0, size, TILE):
            count = min(TILE, size - start)
            if held and held + count > TILE:
                first.append(len(pieces))
                held = 0
            pieces.append((segment, start, count))
            held += count
    first += [len(pieces)] * bool(held)
    return Cut(np.array(pieces, np.int64).reshape(-1, 3), np.array(first, np.int64), sum(sizes))


class Sweep:
    """A kernel that goes over segments: `sweep.over(sizes)` is its table for segments of these sizes."""

    def __init__(self, name: str, kind: str, arrays: int, numbers: int, piece: Piece) -> None:
        self.kind, self.arrays, self.numbers, self.dtype = kind, arrays, numbers, DTYPES[kind]
        self._piece = piece
        self._routine = Routine(name, ("i8", "i8", "i8", "f8", "f8"), ("segments",), self._write)
        self._bound: dict[tuple[int, ...], Bound] = {}

    def _write(self, f: Task) -> None:
        """A task: its pieces one after the other."""
        f.exact = True
        objects, pieces, first, *_ = f.arrays
        for k in f.range(first.load(f.index + 1), first.load(f.index)):
            segment, start, count = (pieces.at(k * 3).load(j) for j in range(3))
            found = [objects.at(f["segments"] * j).follow("u1", segment) for j in range(self.arrays)]
            self._piece(f, [x.move(OBJECT).follow(self.kind).at(start) for x in found], segment, count)

    def over(self, sizes: Sequence[int]) -> Table:
        """A table for arrays to be named."""
        key = tuple(sizes)
        found, pieces = self._bound.get(key), cut(key)
        if found is None:
            if len(self._bound) >= 256:
                self._bound.clear()
            wide = pieces.total >= PARALLEL
            found = self._bound[key] = self._routine.bind(pieces.tasks, parallel=wide, segments=len(key))
        return Table(self, found, pieces, len(key))


class Table:
    """The segments of one call: `objects` (operand, segment) are ids of arrays, `numbers` (segment, number)."""

    __slots__ = ("_bound", "_cut", "numbers", "objects", "partial")

    def __init__(self, sweep: Sweep, bound: Bound, pieces: Cut, segments: int) -> None:
        self._bound, self._cut = bound, pieces
        self.objects = np.empty((sweep.arrays, segments), np.int64)
        self.numbers = np.empty((segments, sweep.numbers), np.float64)
        self.partial = np.zeros(pieces.tasks)  # one number of each task, where the kernel makes one

    def run(self) -> None:
        """Goes over the arrays, which the caller keeps alive."""
        if self._cut.tasks:
            self._bound(self.objects, self._cut.pieces, self._cut.first, self.numbers, self.partial)


@lru_cache(maxsize=256)
def sweep_of(update: Update) -> Sweep:
    """The kernel of an update."""

    def piece(f: Task, arrays: list[Pointer], segment: Value, count: Value) -> None:
        lanes = VECTOR // SIZES[update.kind]
        mine = f.arrays[3].at(segment * update.numbers)
        numbers = [f.splat(mine.load(k).to(update.kind), lanes) for k in range(update.numbers)]

        def elements(i: Number, mask: Value | None) -> None:
            values = [_load(x, i, lanes, mask) for x in arrays] + numbers
            for step in update.steps:
                args = [values[a.number] if isinstance(a, Ref) else a for a in step.args]
                values.append(emit(step.name, args, dict(step.kw)))
            for array, value in update.writes:
                _store(arrays[array], values[value], i, mask)

        _vectors(f, count, lanes, elements)

    return Sweep(f"update {update.kind}", update.kind, update.arrays, update.numbers, piece)


@lru_cache(maxsize=2)
def squares(kind: str) -> Sweep:
    """Each task's sum of squares, in double precision."""

    def piece(f: Task, arrays: list[Pointer], segment: Value, count: Value) -> None:
        lanes = 16
        total = f.cell(f.constant(f"f8x{lanes}", 0.0))

        def elements(i: Number, mask: Value | None) -> None:
            x = _load(arrays[0], i, lanes, mask).to("f8")
            total.value = x.fma(x, total.value)

        _vectors(f, count, lanes, elements)
        partial = f.arrays[4]
        partial.store(partial.load(f.index) + f.total(total.value), f.index)

    return Sweep(f"squares {kind}", kind, 1, 0, piece)


def _vectors(f: Task, count: Value, lanes: int, elements: Callable[[Number, Value | None], None]) -> None:
    whole = count & -lanes
    for i in f.range(whole, step=lanes):
        elements(i, None)
    with f.when(whole.compare("lt", count)):
        elements(whole, f.first(count - whole, lanes))


def _load(x: Pointer, i: Number, lanes: int, mask: Value | None) -> Value:
    return x.load(i, lanes) if mask is None else x.load_some(mask, i)


def _store(x: Pointer, value: Value, i: Number, mask: Value | None) -> None:
    if mask is None:
        x.store(value, i)
    else:
        x.store_some(mask, value, i)
