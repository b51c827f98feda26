"""Kernels over many arrays at once: a table of segments, whose concatenation is cut into pieces and these into tasks.

A segment is one array for each operand (a parameter, its gradient, its moments: all of one size and dense) and some
numbers of its own. The table holds the addresses of the array objects, not of their data: the generated code reads the
data pointers. Each element goes through memory once. Nothing is contracted, so that the results are to the bit those of
the same steps one after the other in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.code.builder import Number, Pointer
from expkit.kernels.cpu.code.elementwise import DTYPES, emit, kind_of
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, TILE
from expkit.kernels.cpu.loops.program import Ref, Step
from expkit.kernels.cpu.machine.call import OBJECT, Bound
from expkit.kernels.cpu.record.recording import objects

VECTOR = 64  # bytes of a vector
EIGHT = np.dtype(np.float64)
Piece = Callable[["Part"], None]


class Update(NamedTuple):
    """Steps on each element. Values: the elements of the arrays, then the segment's numbers, then one for each step."""

    kind: str  # f4 or f8
    arrays: int
    numbers: int
    steps: tuple[Step, ...]
    writes: tuple[tuple[int, int], ...]  # (array, the value that overwrites it)


class Part(NamedTuple):
    """A piece as a task sees it: where it begins in each operand's array, its number, its segment and its size."""

    task: Task
    arrays: list[Pointer]
    number: Value
    segment: Value
    size: Value


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
    return Cut(_fixed(pieces).reshape(-1, 3), _fixed(first), sum(sizes))


def _fixed(numbers: Sequence[Any]) -> Any:
    found = np.array(numbers, np.int64)
    found.flags.writeable = False  # a constant, to what is recorded
    return found


class Sweep:
    """A kernel that goes over segments: `sweep.over(sizes)` is its table for segments of these sizes.

    extra: for an update, its first number says whether everything is left as it is; otherwise a number of each piece,
    which the kernel makes.
    """

    def __init__(self, name: str, kind: str, arrays: int, numbers: int, piece: Piece, *, updates: bool) -> None:
        self.kind, self.arrays, self.numbers, self.dtype = kind, arrays, numbers, DTYPES[kind]
        self._piece, self._updates = piece, updates
        self._routine = Routine(name, ("i8", "i8", "i8", "f8", "f8"), ("segments",), self._write)
        self._bound: dict[tuple[int, ...], Bound] = {}

    def _write(self, f: Task) -> None:
        """A task: its pieces one after the other."""
        f.exact = True
        found, pieces, first, _, extra = f.arrays
        start, stop = first.load(f.index), first.load(f.index + 1)
        if self._updates:
            stop = extra.load().compare("eq", 0.0).select(stop, start)
        for k in f.range(stop, start):
            segment, begin, size = (pieces.at(k * 3).load(j) for j in range(3))
            rows = [found.at(f["segments"] * j).follow("u1", segment) for j in range(self.arrays)]
            arrays = [x.move(OBJECT).follow(self.kind).at(begin) for x in rows]
            self._piece(Part(f, arrays, k, segment, size))

    def bound(self, sizes: tuple[int, ...]) -> tuple[Bound, Cut]:
        """The kernel for segments of these sizes, and how it goes through them."""
        found, pieces = self._bound.get(sizes), cut(sizes)
        if found is None:
            if len(self._bound) >= 256:
                self._bound.clear()
            wide = pieces.total >= PARALLEL
            found = self._bound[sizes] = self._routine.bind(pieces.tasks, parallel=wide, segments=len(sizes))
        return found, pieces

    def over(self, sizes: Sequence[int]) -> Table:
        """A table for arrays to be named."""
        return Table(self, *self.bound(tuple(sizes)), len(sizes))

    def call(self, arrays: Sequence[Sequence[Any]], numbers: Any, extra: Any) -> None:
        """Goes over the arrays of each operand, by a kernel call alone, which can be recorded."""
        bound, pieces = self.bound(tuple(x.size for x in arrays[0]))
        if pieces.tasks:
            bound(objects([x for column in arrays for x in column]), pieces.pieces, pieces.first, numbers, extra)


class Table:
    """The segments of one call: `objects` (operand, segment) are ids of arrays, `numbers` (segment, number)."""

    __slots__ = ("_bound", "_cut", "extra", "numbers", "objects")

    def __init__(self, sweep: Sweep, bound: Bound, pieces: Cut, segments: int) -> None:
        self._bound, self._cut = bound, pieces
        self.objects = np.empty((sweep.arrays, segments), np.int64)
        self.numbers = np.empty((segments, sweep.numbers), np.float64)
        self.extra = np.zeros(1)

    def run(self) -> None:
        """Goes over the arrays, which the caller keeps alive."""
        if self._cut.tasks:
            self._bound(self.objects, self._cut.pieces, self._cut.first, self.numbers, self.extra)


@lru_cache(maxsize=256)
def sweep_of(update: Update) -> Sweep:
    """The kernel of an update."""

    def piece(part: Part) -> None:
        f, arrays, lanes = part.task, part.arrays, VECTOR // SIZES[update.kind]
        mine = f.arrays[3].at(part.segment * update.numbers)
        numbers = [f.splat(mine.load(k).to(update.kind), lanes) for k in range(update.numbers)]

        def elements(i: Number, mask: Value | None) -> None:
            values = [_load(x, i, lanes, mask) for x in arrays] + numbers
            for step in update.steps:
                args = [values[a.number] if isinstance(a, Ref) else a for a in step.args]
                values.append(emit(step.name, args, dict(step.kw)))
            for array, value in update.writes:
                _store(arrays[array], values[value], i, mask)

        _vectors(f, part.size, lanes, elements)

    return Sweep(f"update {update.kind}", update.kind, update.arrays, update.numbers, piece, updates=True)


# ---- sums ------------------------------------------------------------------------------------------------------------

SUMS: dict[str, Callable[[Value, Value], Value]] = {  # name: (x, the sum so far) -> the sum with x, in float64
    "squares": lambda x, total: x.fma(x, total),
    "nothing": lambda x, total: x.fma(0.0, total),  # NaN where something is not finite, else 0
}


@lru_cache(maxsize=8)
def summing(name: str, kind: str) -> Sweep:
    """Sums of each piece, in double precision."""

    def piece(part: Part) -> None:
        f, lanes = part.task, 16
        total = f.cell(f.constant(f"f8x{lanes}", 0.0))

        def elements(i: Number, mask: Value | None) -> None:
            total.value = SUMS[name](_load(part.arrays[0], i, lanes, mask).to("f8"), total.value)

        _vectors(f, part.size, lanes, elements)
        f.arrays[4].store(f.total(total.value), part.number)

    return Sweep(f"{name} {kind}", kind, 1, 0, piece, updates=False)


def total(name: str, arrays: Sequence[Any]) -> Any:
    """One of SUMS over all elements of arrays of one dtype, each dense: a 0-d float64 array; by kernel calls alone."""
    sweep = summing(name, kind_of(arrays[0].dtype))
    count = len(cut(tuple(x.size for x in arrays)).pieces)
    parts, out = plan.empty((count,), EIGHT), plan.empty((), EIGHT)
    sweep.call([arrays], parts[:0], parts)
    _adding(count)(parts, out)
    return out


@lru_cache(maxsize=256)
def _adding(count: int) -> Bound:
    return _adder().bind(1, parallel=False, count=count)


@cache
def _adder() -> Routine:
    """The sum of some numbers, in their order."""

    def write(f: Task) -> None:
        parts, out = f.arrays
        total = f.cell(f.constant("f8", 0.0))
        for k in f.range(f["count"]):
            total.value = total.value + parts.load(k)
        out.store(total.value)

    return Routine("sum of parts", ("f8", "f8"), ("count",), write)


# ---- elements --------------------------------------------------------------------------------------------------------


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
