"""Normalisation of channels where these lie together (NHWC): the passes of image_norm.py through columns.

Up to some registers of channels are gone through tile by tile, wider images row by row (`wide`), so that what is read
stays one stream. Columns are summed in blocks, which are put together in float64 (means as Chan, Golub and LeVeque,
"Updating formulae and a pairwise algorithm for computing variances", 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import LANES, UNROLL, Place, along, tiles
from expkit.kernels.cpu.loops.program import Program
from expkit.kernels.cpu.nets.image_norm import MAPS, WORDS, Pass, kinds_of, parted, squared, sums

LINE = 1024  # channels whose sums are kept in memory at a time


class Block(NamedTuple):
    """A task's places: their sample, the offset of their first element, how many they are."""

    sample: Value
    at: Value
    size: Value

    @classmethod
    def of(cls, f: Task, backwards: bool = False) -> Block:
        index = f["runs"] / f["channels"] * f["blocks"] - 1 - f.index if backwards else f.index
        sample, first = index / f["blocks"], (index % f["blocks"]) * f["block"]
        return cls(sample, (sample * f["places"] + first) * f["channels"], least(f["block"], f["places"] - first))

    def steps(self, f: Task) -> Iterator[tuple[Value, Value, Value]]:
        """(first place, places, offset of the first element) of the parts that are gone through tile by tile."""
        for start in f.range(self.size, step=f["step"]):
            yield start, least(f["step"], self.size - start), self.at + start * f["channels"]


def _rows(f: Task, count: Value, places: Sequence[Place], body: Callable[[Value, int], None]) -> None:
    """body(row, number of several) for `count` rows of columns: as many at once as fill UNROLL vectors."""
    several = UNROLL // len(places)
    whole = count - count % several
    for m in f.range(whole, step=several):
        for r in range(several):
            body(m + r, r)
    if several > 1:
        for m in f.range(count, whole):
            body(m, 0)


def _column_sums(
    f: Task, kind: str, count: Value, places: Sequence[Place], number: int,
    terms: Callable[[Value, int], Sequence[Value]],
) -> list[list[Value]]:  # fmt: skip
    """For each of `places`: the sums of `number` terms(row, which of the places) over `count` rows."""
    zero = f.splat(0.0, places[0].lanes, kind)
    cells = [[[f.cell(zero) for _ in range(UNROLL // len(places))] for _ in range(number)] for _ in places]

    def add(m: Value, r: int) -> None:
        for k, mine in enumerate(cells):
            for each, value in zip(mine, terms(m, k), strict=True):
                each[r].value = each[r].value + value

    _rows(f, count, places, add)
    return [[_added([cell.value for cell in each]) for each in mine] for mine in cells]


def _added(values: list[Value]) -> Value:
    return values[0] if len(values) == 1 else _added(values[::2]) + _added(values[1::2])


class Lines:
    """Sums of wide columns, row by row: what is read is one stream, and the sums lie in the nearest cache."""

    def __init__(self, f: Task, kind: str, number: int) -> None:
        self.f, self.kind = f, kind
        self.sums = [f.scratch(kind, LINE) for _ in range(number)]

    def parts(self) -> Iterator[tuple[Value, Value]]:
        """The channels (first, end) that are summed at a time."""
        for first in self.f.range(self.f["channels"], step=LINE):
            yield first, least(first + LINE, self.f["channels"])

    def at(self, first: Value) -> list[Pointer]:
        """Where the sums of channel 0 would be."""
        return [pointer.at(0 - first) for pointer in self.sums]

    def add(self, first: Value, end: Value, count: Value, terms: Callable[[Value, Place], Sequence[Value]]) -> None:
        """The sums of terms(row, channels) over `count` rows."""
        f, sums, lanes = self.f, self.at(first), LANES[self.kind]
        zero = f.splat(0.0, lanes, self.kind)

        def clear(place: Place) -> None:
            for pointer in sums:
                place.store(pointer, zero)

        along(f, first, end, lanes, clear)
        for m in f.range(count):  # two at once would be two streams from memory, which is slower

            def add(place: Place, m: Value = m) -> None:
                for pointer, value in zip(sums, terms(m, place), strict=True):
                    place.store(pointer, place.load(pointer) + value)

            along(f, first, end, lanes, add)


@cache
def column_moments(kind: str, wide: bool) -> Routine:
    """(x, parts (S, blocks, 2, C) in float64). wide: row by row."""

    def write(f: Task) -> None:
        x, parts = f.arrays
        held = [parts.at((f.index * 2 + k) * f["channels"]) for k in range(2)]
        means, squares = (Lines(f, kind, 1) for _ in range(2)) if wide else (None, None)
        for start, count, at in Block.of(f).steps(f):
            if means is None or squares is None:
                tile = partial(_tile_moments, f, kind, x.at(at), held, start, count)
                tiles(f, 0, f["channels"], LANES[kind], tile)
            else:
                _line_moments(f, kind, x.at(at), held, start, count, means, squares)

    return Routine("column_moments", (kind, "f8"), WORDS, write, explicit=True)


def _tile_moments(
    f: Task, kind: str, x: Pointer, held: Sequence[Pointer], before: Value, count: Value, places: Sequence[Place]
) -> None:
    size, channels = f.splat(count.to(kind), LANES[kind]), f["channels"]
    found = _column_sums(f, kind, count, places, 1, lambda m, k: [places[k].load(x.at(m * channels))])
    means = [total / size for (total,) in found]
    about = _column_sums(
        f, kind, count, places, 1, lambda m, k: [squared(places[k].load(x.at(m * channels)) - means[k])]
    )
    for place, mean, (square,) in zip(places, means, about, strict=True):
        _merge(f, held, before, count, place, mean, square)


def _line_moments(
    f: Task, kind: str, x: Pointer, held: Sequence[Pointer], before: Value, count: Value, means: Lines, squares: Lines
) -> None:
    size, channels = f.splat(count.to(kind), LANES[kind]), f["channels"]
    for first, end in means.parts():
        (mean,), (square,) = means.at(first), squares.at(first)

        def finish(place: Place, mean: Pointer = mean, square: Pointer = square) -> None:
            _merge(f, held, before, count, place, place.load(mean), place.load(square))

        def centred(m: Value, place: Place, mean: Pointer = mean) -> list[Value]:
            return [squared(place.load(x.at(m * channels)) - place.load(mean))]

        def divide(place: Place, mean: Pointer = mean) -> None:
            place.store(mean, place.load(mean) / size)

        means.add(first, end, count, lambda m, place: [place.load(x.at(m * channels))])
        along(f, first, end, LANES[kind], divide)
        squares.add(first, end, count, centred)
        along(f, first, end, LANES[kind], finish)


def _merge(
    f: Task, held: Sequence[Pointer], before: Value, count: Value, place: Place, mean: Value, square: Value
) -> None:
    """The moments of `count` places beside those of the places before, which are held (Chan et al.)."""
    share = count.to("f8") / (before + count).to("f8")
    old_mean, old_square = (_held(pointer, place, before) for pointer in held)
    d = mean.to("f8") - old_mean
    place.store(held[0], old_mean + d * f.splat(share, place.lanes))
    between = d * d * f.splat(before.to("f8") * share, place.lanes)
    place.store(held[1], old_square + square.to("f8") + between)


def _held(pointer: Pointer, place: Place, before: Value) -> Value:
    """What is held there; zeros where nothing came before."""
    x = place.load(pointer)
    return before.compare("eq", 0).select(x.like(0.0), x)


def _column_body(
    f: Task, p: Pass, at: Value, sample: Value, places: Sequence[Place]
) -> Callable[[Value, int], list[Value]]:
    """What the pass does at (row, which of the places), rows from `at` on; see `_run_body`."""
    read, rows, outs = parted(f, p)
    first = sample * f["channels"] % f["numbers"]
    c = [[place.load(row.at(first)) for row in rows] for place in places]
    xs, ys = [x.at(at) for x in read], [y.at(at) for y in outs]

    def body(m: Value, k: int) -> list[Value]:
        row, place = m * f["channels"], places[k]
        found = p.terms([place.load(x.at(row)) for x in xs], c[k])
        for y, value in zip(ys, found, strict=False):
            place.store(y.at(row), value)
        return found[p.outs :]

    return body


@cache
def column_sums(kind: str, program: Program | None, wide: bool) -> Routine:
    """(sources..., x, numbers, written..., parts (S, blocks, 2, C) in float64)."""
    p = sums(kind, program)

    def write(f: Task) -> None:
        block = Block.of(f)
        held = [f.arrays[-1].at((f.index * 2 + k) * f["channels"]) for k in range(2)]
        lines = Lines(f, kind, 2) if wide else None
        for start, count, at in block.steps(f):

            def put(place: Place, found: Sequence[Value], start: Value = start) -> None:
                for pointer, value in zip(held, found, strict=True):
                    place.store(pointer, _held(pointer, place, start) + value.to("f8"))

            def tile(
                places: Sequence[Place], count: Value = count, at: Value = at, put: Callable[..., None] = put
            ) -> None:
                body = _column_body(f, p, at, block.sample, places)
                for place, found in zip(places, _column_sums(f, kind, count, places, 2, body), strict=True):
                    put(place, found)

            if lines is None:
                tiles(f, 0, f["channels"], LANES[kind], tile)
                continue
            for first, end in lines.parts():
                lines.add(first, end, count, partial(_line_body, f, p, at, block.sample))
                along(f, first, end, LANES[kind], partial(_line_put, lines.at(first), put))

    return Routine("column_sums", (*kinds_of(kind, p), "f8"), WORDS, write, explicit=True)


def _line_put(found: Sequence[Pointer], put: Callable[..., None], place: Place) -> None:
    put(place, [place.load(pointer) for pointer in found])


def _line_body(f: Task, p: Pass, at: Value, sample: Value, m: Value, place: Place) -> list[Value]:
    """What the pass does at some channels of a row; the coefficients are read there as well."""
    return _column_body(f, p, at, sample, [place])(m, 0)


def _line_map(f: Task, p: Pass, block: Block, m: Value, place: Place) -> None:
    _line_body(f, p, block.at, block.sample, m, place)


@cache
def column_map(name: str, kind: str, program: Program | None, wide: bool) -> Routine:
    """As `run_map`."""
    p = MAPS[name](kind, program)

    def write(f: Task) -> None:
        block = Block.of(f, backwards=True)
        if wide:
            for m in f.range(block.size):
                along(f, 0, f["channels"], LANES[kind], partial(_line_map, f, p, block, m))
            return
        for _, count, at in block.steps(f):

            def tile(places: Sequence[Place], count: Value = count, at: Value = at) -> None:
                body = _column_body(f, p, at, block.sample, places)

                def each(m: Value, _: int) -> None:
                    for k in range(len(places)):
                        body(m, k)

                _rows(f, count, places, each)

            tiles(f, 0, f["channels"], LANES[kind], tile)

    return Routine(f"column_{name}", kinds_of(kind, p), WORDS, write, explicit=True)
