"""The windows of a block of places, side by side in scratch memory: what the products of `direct` multiply.

A place's window is a row of its (taps x channels) elements, in parts of at most PART. Where taps are neighbours in
memory they are one run that is copied at once; what lies outside of the image is zero. (The im2col of old, but of as
many places as the cache holds, by runs, straight from the image.)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.code.builder import Function, Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Task
from expkit.kernels.cpu.conv.geometry import Pass, round_up
from expkit.kernels.cpu.gemm.microkernel import blocking

PART = 576  # elements of windows gathered at a time: all of 3x3 places of 64 channels
PITCH = PART + 16  # from row to row in scratch: rows that are multiplied together fall into different cache sets
BLOCK = 112  # places gathered at a time, at most
RUN = 7  # numbers of a run in the table
SOURCE = ("s_batch", "s_depth", "s_height", "s_line", "depth", "height", "line")  # steps in elements, and sizes
PLACES = ("out_depth", "out_height", "out_width", "step_depth", "step_height", "step_line")


def height_of(kind: str) -> int:
    """Rows of the tallest micro-kernel."""
    return blocking(kind).heights[0]


def block_of(kind: str) -> int:
    """Places that are gathered at a time."""
    return BLOCK // height_of(kind) * height_of(kind)


class Runs(NamedTuple):
    """The table of a pass's runs, with the first run of each part, and the parts' sizes."""

    table: Any  # int64 (runs, RUN): depth, height, line offset, length, place in the row, first and end of inside
    first: tuple[int, ...]
    part: int

    @property
    def parts(self) -> int:
        return len(self.first) - 1


def runs_of(p: Pass, channels: int, pixel: int) -> Runs:
    """channels: of each tap; pixel: elements from place to place along the innermost axis of the source."""
    depth, height, width = p.axes
    total = p.taps * channels
    parts = max(1, -(-total // PART))
    part = min(PART, round_up(-(-total // parts), 16))
    joined = width.spacing == 1 and pixel == channels
    lines = [width.places] if joined else [(k,) for k in width.places]
    rows: list[tuple[int, ...]] = []
    first, done = [0], 0
    for d, h, (n, line) in itertools.product(range(depth.taps), range(height.taps), enumerate(lines)):
        start, left = (width.start + n * width.spacing) * pixel, len(line) * channels
        while left:
            size = min(left, _part_end(done, part) - done)
            inside = _inside(start, size, width.size * pixel, width.step * pixel, width.out)
            offsets = (depth.start + d * depth.spacing, height.start + h * height.spacing, start)
            rows.append((*offsets, size, done % part, *inside))
            done, start, left = done + size, start + size, left - size
            if done % part == 0 and done < total:
                first.append(len(rows))
    return Runs(np.array(rows, np.int64).reshape(-1, RUN), (*first, len(rows)), part)


def _part_end(done: int, part: int) -> int:
    """Where the part ends in which element `done` lies."""
    return (done // part + 1) * part


def _inside(start: int, size: int, line: int, step: int, out: int) -> tuple[int, int]:
    """The places [first, end) along the innermost axis at which the whole run lies inside of the line."""
    first = max(0, -(start // step)) if start < 0 else 0
    end = (line - size - start) // step + 1 if line - size >= start else 0
    return min(first, out), max(min(first, out), min(end, out))


def numbers(p: Pass, steps: tuple[int, int, int, int]) -> dict[str, int]:
    """SOURCE and PLACES for a source with the given steps (batch, depth, height, width), in elements."""
    depth, height, width = p.axes
    sizes = (depth.size, height.size, width.size * steps[3])
    walk = (depth.step, height.step, width.step * steps[3])
    source = (*steps[:3], 1, *sizes)
    return dict(zip(SOURCE + PLACES, (*source, *p.out, *walk), strict=True))


# ---- code ------------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line of the result within a block: where it is, the row of its place 0, places [low, high)."""

    n: Value
    d: Value
    h: Value
    row: Value
    low: Value
    high: Value


def lines(f: Task, begin: Value, count: Value) -> Iterator[Line]:
    """The lines that the places begin, begin + 1, ... lie in."""
    width = f["out_width"]
    skipped = begin % width
    for s in f.range((skipped + count + (width - 1)) / width):
        line = begin / width + s
        row = s * width - skipped
        rest = line / f["out_height"]
        low = row.compare("lt", 0).select(skipped, 0)
        place = (rest / f["out_depth"], rest % f["out_depth"], line % f["out_height"])
        yield Line(*place, row, low, least(width, count - row))


class Gather:
    """Writes the code that gathers windows into scratch memory, within a routine that has SOURCE and PLACES."""

    def __init__(self, f: Task, kind: str, source: Pointer, table: Pointer, scratch: Pointer) -> None:
        self.f, self.kind, self.source, self.table, self.scratch = f, kind, source, table, scratch
        self.lanes = blocking(kind).lanes
        self.copy = _copy(f, kind, self.lanes)

    def __call__(self, begin: Value, count: Value, first: Value, end: Value) -> None:
        """Rows 0 .. count - 1 of scratch: the runs first .. end - 1 of the windows of places begin, begin + 1, ..."""
        for line in lines(self.f, begin, count):
            self._line(line, (first, end))

    def _line(self, line: Line, runs: tuple[Value, Value]) -> None:
        """The runs of the places of one line of the result."""
        f, (n, d, h, row, low, high) = self.f, line
        d, h = d * f["step_depth"], h * f["step_height"]
        image = self.source.at(n * f["s_batch"])
        for r in f.range(runs[1], start=runs[0]):
            dd, dh, de, size, at, first, end = (self.table.load(r * RUN + k) for k in range(RUN))
            inside = _within(d + dd, f["depth"]) & _within(h + dh, f["height"])
            start = image.at((d + dd) * f["s_depth"] + (h + dh) * f["s_height"] + de)
            into = self.scratch.at(row * PITCH + at)
            limit = inside.select(f["line"], 0)
            first, end = inside.select(first, high), inside.select(end, high)
            first, end = _clamp(first, low, high), _clamp(end, low, high)
            for a, b in ((low, first), (end, high)):
                with f.when(a.compare("lt", b)):
                    f.run(self.copy, start, into, a, b, f["step_line"], size, de, limit)
            self._whole(start, into, first, end, size)

    def _whole(self, start: Pointer, into: Pointer, first: Value, end: Value, size: Value) -> None:
        """Whole runs: of one vector, of two, or four vectors at a time.

        Whole vectors are stored, which is faster than under a mask: what is too much is where the next run goes, or
        behind the part.
        """
        f, lanes = self.f, self.lanes
        masks = [f.first(size - k, lanes) for k in (0, lanes)]

        def few(count: int) -> None:
            for w in f.range(end, start=first):
                a, b = start.at(w * f["step_line"]), into.at(w * PITCH)
                for k in range(count):
                    b.store(a.load_some(masks[k], k * lanes), k * lanes)

        for one in f.either(size.compare("le", lanes)):
            if one:
                few(1)
                continue
            for two in f.either(size.compare("le", 2 * lanes)):
                if two:
                    few(2)
                else:
                    self._long(start, into, first, end, size)

    def _long(self, start: Pointer, into: Pointer, first: Value, end: Value, size: Value) -> None:
        f, lanes = self.f, self.lanes
        steps, many = range(0, 4 * lanes, lanes), size & (-4 * lanes)
        for w in f.range(end, start=first):
            a, b = start.at(w * f["step_line"]), into.at(w * PITCH)
            for i in f.range(many, step=4 * lanes):
                for k, x in zip(steps, [a.load(i + k, lanes) for k in steps], strict=True):
                    b.store(x, i + k)
            for i in f.range(size, start=many, step=lanes):
                b.store(a.load_some(f.first(size - i, lanes), i), i)


def _copy(f: Task, kind: str, lanes: int) -> Function:
    """Runs that lie partly outside: zeros, and the elements at [0, limit) of the line."""
    c = f.helper(
        "edges", a=f"*{kind}", b=f"*{kind}", low="i8", high="i8", step="i8", size="i8", offset="i8", limit="i8"
    )
    c.attributes = "noinline"
    for w in c.range(c["high"], start=c["low"]):
        at = w * c["step"]
        into, start = c.pointer("b").at(w * PITCH), c.pointer("a").at(at)
        skipped = _clamp(0 - at - c["offset"], c.constant("i8", 0), c["size"])
        end = _clamp(c["limit"] - at - c["offset"], skipped, c["size"])
        zeros = c.splat(0.0, lanes, kind)
        for first, stop, inside in ((0, skipped, False), (skipped, end, True), (end, c["size"], False)):
            for i in c.range(stop, start=first, step=lanes):
                mask = c.first(stop - i, lanes)
                into.store_some(mask, start.load_some(mask, i) if inside else zeros, i)
    return c


def _within(x: Value, size: Value) -> Value:
    return x.compare("ge", 0) & x.compare("lt", size)


def _clamp(x: Value, low: Value, high: Value) -> Value:
    x = x.compare("lt", low).select(low, x)
    return x.compare("gt", high).select(high, x)


def scratch(f: Task, kind: str, rows: int) -> Pointer:
    """Memory for so many gathered rows."""
    return f.scratch(kind, rows * PITCH + 64 // SIZES[kind])
