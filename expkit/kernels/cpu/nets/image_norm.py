"""Normalisation of channels: batch, group and instance norm, of images in either order of memory.

x is (S, C, M): samples, channels, places of an image. In *runs* the M places of a channel lie together (NCHW), in
*columns* the C channels of a place (NHWC: strides M C, 1, C). Four kernels go through images; those of columns are in
image_columns.py, what happens between them, on numbers by channel, in image_statistics.py:

    moments  x -> the mean of each entry, and the sum of squares about it
    sums     g, x -> sum(g) and sum(g (x - mean)) of each entry
    apply    (x - mean) * scale + shift
    slope    g * a + (x - mean) * b + c

An entry is a channel of a run, or of a block of places. `numbers` hold mean, scale and shift, `slopes` a, b and c: one
row of channels, or one for each sample. The latter two begin where the former two end: there the images are still in
a cache.

Whatever is elementwise around a norm can run inside of these kernels, as a Program: behind `apply` one of the
normalised value and other images; before `sums` and `slope` one of images and the normalised value, which is worked
out once more, bit for bit as it was. Its first result is the g of above; others of `sums` are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import LANES, Place, along, totals
from expkit.kernels.cpu.loops.program import Program, written

# samples times channels, channels, places; block: runs of a task, or places of one; blocks of a sample's places;
# step: places of columns that are summed in their own precision; numbers: the size of a row of coefficients
WORDS = ("runs", "channels", "places", "block", "blocks", "step", "numbers")
NUMBERS, SLOPES = 3, 3  # rows of coefficients
Values = Sequence[Value]


class Pass(NamedTuple):
    """What is done with each element: `terms` of what is read there and of the coefficients."""

    images: tuple[str, ...]  # the kinds of what is read
    tables: tuple[int, ...]  # the rows of each table of coefficients
    outs: int  # images that are written: the first results of `terms`
    terms: Callable[[Values, Values], list[Value]]


def normalized(x: Value, c: Values) -> Value:
    """(x - mean) * scale + shift, rounded in one way wherever it is worked out."""
    return (x - c[0]).fma(c[1], c[2])


def apply(kind: str, program: Program | None = None) -> Pass:
    """x, other images -> the normalised value, or the program's results of it and the others."""
    if program is None:
        return Pass((kind,), (NUMBERS,), 1, lambda x, c: [normalized(x[0], c)])
    read = (kind, *program.inputs[1:])
    return Pass(read, (NUMBERS,), len(program.outputs), lambda x, c: written(program, [normalized(x[0], c), *x[1:]]))


def _sources(kind: str, program: Program | None) -> tuple[str, ...]:
    return (kind,) if program is None else program.inputs[:-1]


def _gradient(program: Program | None, x: Values, c: Values) -> list[Value]:
    """g and what is written beside it, from the sources and x, which is the last of what was read."""
    return [x[0]] if program is None else written(program, [*x[:-1], normalized(x[-1], c)])


def sums(kind: str, program: Program | None = None) -> Pass:
    """Sources of g, x -> what the program gives besides g; then the two sums' terms."""

    def terms(x: Values, c: Values) -> list[Value]:
        g, *beside = _gradient(program, x, c)
        return [*beside, g, g * (x[-1] - c[0])]

    beside = 0 if program is None else len(program.outputs) - 1
    return Pass((*_sources(kind, program), kind), (NUMBERS,), beside, terms)


def slope(kind: str, program: Program | None = None) -> Pass:
    """Sources of g, x -> the gradient of x."""

    def terms(x: Values, c: Values) -> list[Value]:
        g = _gradient(program, x, c)[0]
        return [g.fma(c[3], (x[-1] - c[0]).fma(c[4], c[5]))]

    return Pass((*_sources(kind, program), kind), (NUMBERS, SLOPES), 1, terms)


def squared(x: Value) -> Value:
    return x * x


def parted(f: Task, p: Pass) -> tuple[list[Pointer], list[Pointer], list[Pointer]]:
    """The task's arrays: images that are read, rows of coefficients, images that are written."""
    read, rest = f.arrays[: len(p.images)], f.arrays[len(p.images) :]
    tables, rest = rest[: len(p.tables)], rest[len(p.tables) :]
    rows = [table.at(f["numbers"] * k) for table, n in zip(tables, p.tables, strict=True) for k in range(n)]
    return read, rows, rest[: p.outs]


def kinds_of(kind: str, p: Pass) -> tuple[str, ...]:
    return (*p.images, *(kind for _ in p.tables), *(kind,) * p.outs)


MAPS: dict[str, Callable[[str, Program | None], Pass]] = {"apply": apply, "slope": slope}


# ---- runs ------------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """A run: its number among all, and its channel's."""

    number: Value
    channel: Value

    def entry(self, f: Task, parts: Pointer) -> list[Pointer]:
        """Where its two numbers go in parts (S, 1, 2, C)."""
        return [parts.at(self.number * 2 - self.channel), parts.at(self.number * 2 - self.channel + f["channels"])]

    def coefficient(self, f: Task) -> Value:
        """Its place in a row of coefficients: of channels, or of all runs."""
        return f["numbers"].compare("eq", f["channels"]).select(self.channel, self.number)


def _runs(f: Task, backwards: bool = False) -> Iterator[Run]:
    first = f.index * f["block"]
    if backwards:
        first = (f["runs"] - 1) / f["block"] * f["block"] - first
    channel = f.cell(first % f["channels"])
    for run in f.range(least(first + f["block"], f["runs"]), first):
        yield Run(run, channel.value)
        following = channel.value + 1
        channel.value = following.compare("eq", f["channels"]).select(0, following)


def _moments(f: Task, kind: str, x: Pointer, run: Run) -> tuple[Value, Value]:
    source = x.at(run.number * f["places"])
    (total,) = totals(f, f["places"], kind, 1, lambda p: [p.load(source)])
    mean = total / f["places"].to("f8")
    about = f.splat(mean.to(kind), LANES[kind])
    (square,) = totals(f, f["places"], kind, 1, lambda p: [squared(p.load(source) - about)])
    return mean, square


@cache
def run_moments(kind: str) -> Routine:
    """(x, parts (S, 1, 2, C) in float64)."""

    def write(f: Task) -> None:
        x, parts = f.arrays
        for run in _runs(f):
            for pointer, number in zip(run.entry(f, parts), _moments(f, kind, x, run), strict=True):
                pointer.store(number)

    return Routine("run_moments", (kind, "f8"), WORDS, write, explicit=True)


def _run_body(f: Task, p: Pass, run: Run, kind: str) -> Callable[[Place], list[Value]]:
    """What the pass does at a place of the run; it returns the results that are not written."""
    read, rows, outs = parted(f, p)
    at, number = run.number * f["places"], run.coefficient(f)
    c = [f.splat(row.load(number), LANES[kind]) for row in rows]
    xs, ys = [x.at(at) for x in read], [y.at(at) for y in outs]

    def body(place: Place) -> list[Value]:
        found = p.terms([place.load(x) for x in xs], c)
        for y, value in zip(ys, found, strict=False):
            place.store(y, value)
        return found[p.outs :]

    return body


@cache
def run_sums(kind: str, program: Program | None = None) -> Routine:
    """(sources..., x, numbers, written..., parts (S, 1, 2, C) in float64)."""
    p = sums(kind, program)

    def write(f: Task) -> None:
        for run in _runs(f):
            found = totals(f, f["places"], kind, 2, _run_body(f, p, run, kind))
            for pointer, number in zip(run.entry(f, f.arrays[-1]), found, strict=True):
                pointer.store(number)

    return Routine("run_sums", (*kinds_of(kind, p), "f8"), WORDS, write, explicit=True)


@cache
def run_map(name: str, kind: str, program: Program | None = None) -> Routine:
    """(images..., tables..., results...): see `apply` and `slope`."""
    p = MAPS[name](kind, program)

    def write(f: Task) -> None:
        for run in _runs(f, backwards=True):
            body = _run_body(f, p, run, kind)

            def put(place: Place, body: Callable[[Place], list[Value]] = body) -> None:
                body(place)

            along(f, 0, f["places"], LANES[kind], put)

    return Routine(f"run_{name}", kinds_of(kind, p), WORDS, write, explicit=True)
