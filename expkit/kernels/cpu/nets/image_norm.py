"""Normalisation of channels: batch, group and instance norm, of images in either order of memory.

x is (S, C, M): samples, channels, places of an image. In *runs* the M places of a channel lie together (NCHW), in
*columns* the C channels of a place (NHWC: strides M C, 1, C). What the norms differ in, which (s, c) share a mean, is
settled on arrays of shape (S, C). Four kernels go through images:

    moments  x -> the mean of each (s, c), and the sum of squares about it
    sums     g, x, mean -> sum(g) and sum(g (x - mean)) of each (s, c)
    apply    (x - mean) * scale + shift             with numbers for each (s, c)
    slope    g * a + (x - mean) * b + c

The latter two begin where the former two end: there the images are still in a cache.

Columns are cut into blocks of places; what the blocks found is put together in float64, in order, by a kernel of its
own (means as Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing variances", 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import LANES, Place, along, tiles, totals

# samples times channels, channels, places; block: runs of a task, or places of one; blocks of a sample's places
WORDS = ("runs", "channels", "places", "block", "blocks")
Terms = Callable[[Sequence[Value], Sequence[Value]], Sequence[Value]]  # (elements, coefficients) -> results
MAPS: dict[str, Terms] = {
    "apply": lambda x, c: [(x[0] - c[0]) * c[1] + c[2]],  # x; mean, scale, shift
    "slope": lambda x, c: [x[0] * c[1] + ((x[1] - c[0]) * c[2] + c[3])],  # g, x; mean, a, b, c
}
COUNTS = {"apply": (1, 3), "slope": (2, 4)}  # images that are read, coefficients


def _moment(x: Sequence[Value], _: Sequence[Value]) -> list[Value]:
    return [x[0]]


def _square(x: Sequence[Value], c: Sequence[Value]) -> list[Value]:
    d = x[0] - c[0]
    return [d * d]


def _gradients(x: Sequence[Value], c: Sequence[Value]) -> list[Value]:
    return [x[0], x[0] * (x[1] - c[0])]


# ---- runs ------------------------------------------------------------------------------------------------------------


def _each_run(
    f: Task, kind: str, coefficients: Sequence[Pointer], body: Callable[[Value, list[Value]], None],
    backwards: bool = False,
) -> None:  # fmt: skip
    """body(run, its coefficients as vectors)"""
    first = f.index * f["block"]
    if backwards:
        first = (f["runs"] - 1) / f["block"] * f["block"] - first
    for run in f.range(least(first + f["block"], f["runs"]), first):
        body(run, [f.splat(c.load(run), LANES[kind]) for c in coefficients])


def _run_sums(
    f: Task, kind: str, run: Value, images: Sequence[Pointer], c: list[Value], terms: Terms, count: int
) -> list[Value]:
    at = run * f["places"]
    return totals(f, f["places"], kind, count, lambda p: terms([p.load(x.at(at)) for x in images], c))


@cache
def run_moments(kind: str) -> Routine:
    """(x, means (S, C), squares (S, C)), these in float64."""

    def write(f: Task) -> None:
        x, means, squares = f.arrays

        def body(run: Value, _: list[Value]) -> None:
            (total,) = _run_sums(f, kind, run, [x], [], _moment, 1)
            mean = total / f["places"].to("f8")
            about = f.splat(mean.to(kind), LANES[kind])
            (square,) = _run_sums(f, kind, run, [x], [about], _square, 1)
            means.store(mean, run)
            squares.store(square, run)

        _each_run(f, kind, [], body)

    return Routine("run_moments", (kind, "f8", "f8"), WORDS, write, explicit=True)


@cache
def run_sums(kind: str) -> Routine:
    """(g, x, mean, sums (2, S, C) in float64)."""

    def write(f: Task) -> None:
        g, x, mean, sums = f.arrays

        def body(run: Value, c: list[Value]) -> None:
            for k, total in enumerate(_run_sums(f, kind, run, [g, x], c, _gradients, 2)):
                sums.store(total, run + f["runs"] * k)

        _each_run(f, kind, [mean], body)

    return Routine("run_sums", (kind, kind, kind, "f8"), WORDS, write, explicit=True)


@cache
def run_map(name: str, kind: str) -> Routine:
    """(images..., coefficients..., out): see MAPS."""
    images, coefficients = COUNTS[name]

    def write(f: Task) -> None:
        xs, cs, out = f.arrays[:images], f.arrays[images:-1], f.arrays[-1]

        def body(run: Value, c: list[Value]) -> None:
            at = run * f["places"]

            def put(p: Place) -> None:
                p.store(out.at(at), MAPS[name]([p.load(x.at(at)) for x in xs], c)[0])

            along(f, 0, f["places"], LANES[kind], put)

        _each_run(f, kind, cs, body, backwards=True)

    return Routine(f"run_{name}", (kind,) * (images + coefficients + 1), WORDS, write, explicit=True)


# ---- columns ---------------------------------------------------------------------------------------------------------


def _block(f: Task, backwards: bool = False) -> tuple[Value, Value, Value]:
    """(sample, offset of the first element, places) of the task."""
    index = f["runs"] / f["channels"] * f["blocks"] - 1 - f.index if backwards else f.index
    sample, first = index / f["blocks"], (index % f["blocks"]) * f["block"]
    return sample, (sample * f["places"] + first) * f["channels"], least(f["block"], f["places"] - first)


def _column_sums(
    f: Task, images: Sequence[Pointer], count: Value, places: Sequence[Place], coefficients: Sequence[list[Value]],
    terms: Terms, number: int,
) -> list[list[Value]]:  # fmt: skip
    """For each of `places`, columns with their coefficients: the sums of `number` terms over `count` rows."""
    zero = f.splat(0.0, places[0].lanes, images[0].kind)
    cells = [[f.cell(zero) for _ in range(number)] for _ in places]
    for m in f.range(count):
        rows = [x.at(m * f["channels"]) for x in images]
        for place, c, mine in zip(places, coefficients, cells, strict=True):
            for cell, value in zip(mine, terms([place.load(x) for x in rows], c), strict=True):
                cell.value = cell.value + value
    return [[cell.value for cell in mine] for mine in cells]


@cache
def column_moments(kind: str) -> Routine:
    """(x, parts (S, blocks, 2, C)): means and squares of each block."""

    def write(f: Task) -> None:
        x, parts = f.arrays
        _, at, count = _block(f)
        images, rows = [x.at(at)], f.splat(count.to(kind), LANES[kind])
        means, squares = (parts.at((f.index * 2 + k) * f["channels"]) for k in range(2))

        def tile(places: Sequence[Place]) -> None:
            found = [s / rows for (s,) in _column_sums(f, images, count, places, [[]] * len(places), _moment, 1)]
            about = _column_sums(f, images, count, places, [[mean] for mean in found], _square, 1)
            for place, mean, (square,) in zip(places, found, about, strict=True):
                place.store(means, mean)
                place.store(squares, square)

        tiles(f, 0, f["channels"], LANES[kind], tile)

    return Routine("column_moments", (kind, kind), WORDS, write, explicit=True)


@cache
def column_sums(kind: str) -> Routine:
    """(g, x, mean, parts (S, blocks, 2, C))."""

    def write(f: Task) -> None:
        g, x, mean, parts = f.arrays
        sample, at, count = _block(f)
        centre = mean.at(sample * f["channels"])

        def tile(places: Sequence[Place]) -> None:
            means = [[place.load(centre)] for place in places]
            sums = _column_sums(f, [g.at(at), x.at(at)], count, places, means, _gradients, 2)
            for place, values in zip(places, sums, strict=True):
                for k, value in enumerate(values):
                    place.store(parts.at((f.index * 2 + k) * f["channels"]), value)

        tiles(f, 0, f["channels"], LANES[kind], tile)

    return Routine("column_sums", (kind, kind, kind, kind), WORDS, write, explicit=True)


@cache
def column_merge(kind: str, moments: bool) -> Routine:
    """(parts (S, blocks, 2, C), result (2, S, C) in float64): sums, or the moments of all blocks; a task a sample."""

    def write(f: Task) -> None:
        parts, out = f.arrays
        lanes, channels = LANES[kind], f["channels"]

        def column(p: Place) -> None:
            zero = f.splat(0.0, lanes, "f8")
            first, second = f.cell(zero), f.cell(zero)
            for b in f.range(f["blocks"]):
                at = (f.index * f["blocks"] + b) * 2
                a, c = (p.load(parts.at((at + k) * channels)).to("f8") for k in range(2))
                if moments:  # b * block places before, `here` places in this block
                    before, here = (b * f["block"]).to("f8"), least(f["block"], f["places"] - b * f["block"]).to("f8")
                    share = here / (before + here)
                    d = a - first.value
                    c = c + d * d * f.splat(before * share, lanes)
                    a = d * f.splat(share, lanes)
                first.value, second.value = first.value + a, second.value + c
            p.store(out.at(f.index * channels), first.value)
            p.store(out.at(f["runs"] + f.index * channels), second.value)

        along(f, 0, channels, lanes, column)

    return Routine("column_merge", (kind, "f8"), WORDS, write, explicit=True)


@cache
def column_map(name: str, kind: str) -> Routine:
    """As `run_map`."""
    images, coefficients = COUNTS[name]

    def write(f: Task) -> None:
        sample, at, count = _block(f, backwards=True)
        xs, out = [x.at(at) for x in f.arrays[:images]], f.arrays[-1].at(at)
        cs = [c.at(sample * f["channels"]) for c in f.arrays[images:-1]]

        def tile(places: Sequence[Place]) -> None:
            c = [[place.load(pointer) for pointer in cs] for place in places]
            for m in f.range(count):
                row = m * f["channels"]
                for place, mine in zip(places, c, strict=True):
                    place.store(out.at(row), MAPS[name]([place.load(x.at(row)) for x in xs], mine)[0])

        tiles(f, 0, f["channels"], LANES[kind], tile)

    return Routine(f"column_{name}", (kind,) * (images + coefficients + 1), WORDS, write, explicit=True)
