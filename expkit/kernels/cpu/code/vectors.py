"""What kernels of contiguous stretches share: loops by whole vectors and a masked rest; sums in several parts."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from expkit.kernels.cpu.code.builder import Cell, Function, Pointer, least
from expkit.kernels.cpu.code.ir import Value, lanes_of

LANES = {"f4": 16, "f8": 8}  # a register of 512 bits; LLVM splits it where they are shorter
UNROLL = 4  # vectors at once: a sum waits for the one before
CHUNK = 1 << 12  # elements that are summed in their own precision, before float64 takes over


class Place(NamedTuple):
    """Where a vector of a loop stands: at element `i`, the lanes of `mask` (None: all), as number `slot` of several."""

    i: Value
    mask: Value | None
    slot: int
    lanes: int

    def load(self, pointer: Pointer) -> Value:
        return pointer.load(self.i, self.lanes) if self.mask is None else pointer.load_some(self.mask, self.i)

    def store(self, pointer: Pointer, x: Value) -> None:
        if self.mask is None:
            pointer.store(x, self.i)
        else:
            pointer.store_some(self.mask, x, self.i)

    def kept(self, x: Value) -> Value:
        """x, with zeros in the lanes that are none of the loop's."""
        return x if self.mask is None else self.mask.select(x, x.like(0.0))


def tiles(f: Function, start: Value | int, stop: Value, lanes: int, body: Callable[[Sequence[Place]], None]) -> None:
    """The elements start ... stop - 1: UNROLL vectors at once, then single ones, then the rest under a mask."""
    count = stop - start
    many, single = count - count % (UNROLL * lanes), count - count % lanes
    for i in f.range(many + start, start, UNROLL * lanes):
        body([Place(i + k * lanes, None, k, lanes) for k in range(UNROLL)])
    for i in f.range(single + start, many + start, lanes):
        body([Place(i, None, 0, lanes)])
    with f.when(single.compare("lt", count)):
        body([Place(single + start, f.first(count - single, lanes), 0, lanes)])


def along(f: Function, start: Value | int, stop: Value, lanes: int, body: Callable[[Place], None]) -> None:
    """The same, vector by vector."""

    def each(places: Sequence[Place]) -> None:
        for place in places:
            body(place)

    tiles(f, start, stop, lanes, each)


class Sum:
    """A sum of vectors in UNROLL accumulators."""

    def __init__(self, f: Function, kind: str) -> None:
        self.f = f
        self.zero = f.splat(0.0, LANES[kind], kind)
        self.cells: list[Cell] = [f.cell(self.zero) for _ in range(UNROLL)]

    def clear(self) -> None:
        for cell in self.cells:
            cell.value = self.zero

    def add(self, place: Place, x: Value) -> None:
        cell = self.cells[place.slot]
        cell.value = cell.value + place.kept(x)

    def total(self) -> Value:
        """The sum, as a float64."""
        a, b, c, d = (cell.value for cell in self.cells)
        return self.f.total((a + b) + (c + d)).to("f8")


def totals(f: Function, n: Value, kind: str, count: int, terms: Callable[[Place], Sequence[Value]]) -> list[Value]:
    """The sums of `count` terms over n elements, in float64 between chunks."""
    whole = [f.cell(f.constant("f8", 0.0)) for _ in range(count)]
    sums = [Sum(f, kind) for _ in range(count)]

    def add(place: Place) -> None:
        for s, x in zip(sums, terms(place), strict=True):
            s.add(place, x)

    for start in f.range(n, step=CHUNK):
        for s in sums:
            s.clear()
        along(f, start, least(start + CHUNK, n), LANES[kind], add)
        for cell, s in zip(whole, sums, strict=True):
            cell.value = cell.value + s.total()
    return [cell.value for cell in whole]


def larger(a: Value, b: Value) -> Value:
    return a.compare("gt", b).select(a, b)


def largest(f: Function, x: Value) -> Value:
    """The largest element of a vector, by halves."""
    while (lanes := lanes_of(x.kind)) > 2:
        half = lanes // 2
        x = larger(f.shuffle(x, x, range(half)), f.shuffle(x, x, range(half, lanes)))
    return larger(f.lane(x, 0), f.lane(x, 1))


def spread(f: Function, x: Value, kind: str) -> Value:
    """A number as a vector of the kind."""
    return f.splat(x.to(kind), LANES[kind])


def bits(number: float) -> int:
    """A float as a word of a routine: the bits of its float64. `f[name].as_float()` is the number."""
    return int(struct.unpack("<q", struct.pack("<d", number))[0])
