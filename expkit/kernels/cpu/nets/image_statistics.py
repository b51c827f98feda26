"""Normalisation of channels, between the passes through images (image_norm.py): numbers by sample and channel.

Entries are (sample, block of places): a count of places and, by channel, two numbers in float64: mean and squares about
it, or the sums of g and of g (x - mean). Statistics belong to channels (batch norm: all entries of one share them), or
to samples and groups of `width` neighbouring channels. What is stored in an image's precision is what is used: so the
backward pass finds the coefficients that the forward pass had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value, lanes_of
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import LANES, Place, along, totals

WORDS = ("samples", "channels", "places", "block", "blocks", "width", "eps")  # width: of a group; eps: its `bits`
CHUNK = 64  # channels of a task where tasks are channels
Term = Callable[["Entry", Place], Value]


class Entry(NamedTuple):
    """How many places it has, in float64, and where its numbers are."""

    places: Value
    row: Pointer
    step: Value

    def load(self, p: Place, k: int) -> Value:
        """The first or the second number of channels."""
        return p.load(self.row.at(self.step * k))


def _entries(f: Task, parts: Pointer, sample: Value) -> Iterator[Entry]:
    """Those of a sample."""
    for b in f.range(f["blocks"]):
        row = parts.at((sample * f["blocks"] + b) * (f["channels"] * 2))
        yield Entry(least(f["block"], f["places"] - b * f["block"]).to("f8"), row, f["channels"])


def _root(f: Task, var: Value) -> Value:
    """1 / sqrt(var + eps) in float64."""
    eps, lanes = f["eps"].as_float(), lanes_of(var.kind)
    return 1 / f.call("sqrt", var.to("f8") + (eps if lanes == 1 else f.splat(eps, lanes)))


def _channels(f: Task, kind: str, body: Callable[[Place], None]) -> None:
    """body(channels), for the task's."""
    first = f.index * CHUNK
    along(f, first, least(first + CHUNK, f["channels"]), LANES[kind], body)


def _groups(f: Task) -> Iterator[tuple[Value, Value]]:
    """(its number among all, its first channel) of the groups of the task's sample."""
    count = f["channels"] / f["width"]
    for g in f.range(count):
        yield f.index * count + g, g * f["width"]


def _within(f: Task, kind: str, start: Value, body: Callable[[Place], None]) -> None:
    """body(channels), for those of a group."""
    along(f, start, start + f["width"], LANES[kind], body)


def _put(f: Task, table: Pointer, at: Value | int, size: Value, p: Place, kind: str, values: Sequence[Value]) -> None:
    """The coefficients of channels, row by row."""
    for k, value in enumerate(values):
        p.store(table.at(size * k).at(at), value.to(kind))


# ---- statistics ------------------------------------------------------------------------------------------------------


@cache
def batch_statistics(kind: str) -> Routine:
    """(parts, mean (C,), var (C,)) from moments."""

    def write(f: Task) -> None:
        parts, mean, var = f.arrays
        size = (f["samples"] * f["places"]).to("f8")

        def channel(p: Place) -> None:
            zero = f.splat(0.0, p.lanes, "f8")
            total, square = f.cell(zero), f.cell(zero)
            for s in f.range(f["samples"]):
                for e in _entries(f, parts, s):
                    total.value = total.value + e.load(p, 0) * f.splat(e.places, p.lanes)
            centre = total.value / f.splat(size, p.lanes)
            for s in f.range(f["samples"]):
                for e in _entries(f, parts, s):
                    square.value = square.value + _about(f, centre, e, p)
            p.store(mean, centre.to(kind))
            p.store(var, (square.value / f.splat(size, p.lanes)).to(kind))

        _channels(f, kind, channel)

    return Routine("batch_statistics", ("f8", kind, kind), WORDS, write, explicit=True)


@cache
def group_statistics(kind: str) -> Routine:
    """(parts, mean (S, G), var (S, G)) from moments; a task a sample."""

    def write(f: Task) -> None:
        parts, mean, var = f.arrays
        size = (f["width"] * f["places"]).to("f8")
        for n, first in _groups(f):
            here = parts.at(first)
            centre = _summed(f, here, lambda e, p: e.load(p, 0) * f.splat(e.places, p.lanes)) / size
            square = _summed(f, here, partial(_about, f, f.splat(centre, LANES["f8"])))
            mean.store(centre.to(kind), n)
            var.store((square / size).to(kind), n)

    return Routine("group_statistics", ("f8", kind, kind), WORDS, write, explicit=True)


def _about(f: Task, centre: Value, e: Entry, p: Place) -> Value:
    """An entry's squares about another mean than its own."""
    d = e.load(p, 0) - centre
    return e.load(p, 1) + d * d * f.splat(e.places, p.lanes)


def _summed(f: Task, here: Pointer, term: Term) -> Value:
    """The sum of the terms of a group's channels over the entries of the task's sample."""
    total = f.cell(f.constant("f8", 0.0))
    for e in _entries(f, here, f.index):
        (found,) = totals(f, f["width"], "f8", 1, partial(_listed, term, e))
        total.value = total.value + found
    return total.value


def _listed(term: Term, e: Entry, p: Place) -> list[Value]:
    return [term(e, p)]


# ---- coefficients of apply -------------------------------------------------------------------------------------------


@cache
def coefficients(kind: str, affine: int, batch: bool) -> Routine:
    """(mean, var, weight?, bias?, numbers): mean, scale and shift, (3, C) or (3, S, C)."""

    def write(f: Task) -> None:
        mean, var, *affines, numbers = f.arrays

        def put(centre: Value, rstd: Value, at: Value | int, size: Value, p: Place) -> None:
            scale = p.load(affines[0]).to("f8") * rstd if affines else rstd
            shift = p.load(affines[1]) if affine > 1 else f.splat(0.0, p.lanes, kind)
            _put(f, numbers, at, size, p, kind, [centre, scale, shift])

        if batch:
            _channels(f, kind, lambda p: put(p.load(mean), _root(f, p.load(var)), 0, f["channels"], p))
            return
        size = f["samples"] * f["channels"]
        for n, first in _groups(f):
            centre, rstd = (f.splat(x, LANES[kind]) for x in (mean.load(n), _root(f, var.load(n))))
            at = f.index * f["channels"]
            _within(f, kind, first, partial(put, centre, rstd, at, size))

    kinds = (kind,) * (3 + affine)
    return Routine(f"{'batch' if batch else 'group'}_coefficients", kinds, WORDS, write, explicit=True)


# ---- coefficients of slope -------------------------------------------------------------------------------------------


def _slopes(scale: Value, rstd: Value, total: Value, product: Value) -> list[Value]:
    """a, b, c from 1 / std, the means of w g and of w g (x - mean) / std, and w / std."""
    return [scale, -(product * rstd * rstd), -(total * rstd)]


@cache
def batch_slopes(kind: str, weighted: bool, grads: int) -> Routine:
    """(parts, var, weight?, slopes (3, C), gradients of weight? and bias?) from sums."""

    def write(f: Task) -> None:
        parts, var, *rest = f.arrays
        weight = rest.pop(0) if weighted else None
        slopes, *made = rest

        def channel(p: Place) -> None:
            cells = [f.cell(f.splat(0.0, p.lanes, "f8")) for _ in range(2)]
            for s in f.range(f["samples"]):
                for e in _entries(f, parts, s):
                    for k, cell in enumerate(cells):
                        cell.value = cell.value + e.load(p, k)
            rstd = _root(f, p.load(var))
            total, product = cells[0].value, cells[1].value * rstd
            for pointer, value in zip(made, (product, total), strict=False):
                p.store(pointer, value.to(kind))
            w = f.splat(1.0, p.lanes, "f8") if weight is None else p.load(weight).to("f8")
            share = w / f.splat((f["samples"] * f["places"]).to("f8"), p.lanes)
            _put(f, slopes, 0, f["channels"], p, kind, _slopes(w * rstd, rstd, total * share, product * share))

        _channels(f, kind, channel)

    return Routine("batch_slopes", ("f8", *(kind,) * (2 + weighted + grads)), WORDS, write, explicit=True)


@cache
def group_slopes(kind: str, weighted: bool) -> Routine:
    """(parts, var, weight?, slopes (3, S, C)) from sums; a task a sample."""

    def write(f: Task) -> None:
        parts, var, *weight, slopes = f.arrays
        size = (f["width"] * f["places"]).to("f8")

        def factor(p: Place, first: Value | int = 0) -> Value:
            return p.load(weight[0].at(first)).to("f8") if weight else f.splat(1.0, p.lanes, "f8")

        def term(k: int, first: Value, e: Entry, p: Place) -> Value:
            return e.load(p, k) * factor(p, first)

        for n, first in _groups(f):
            rstd, here = _root(f, var.load(n)), parts.at(first)
            total, product = (_summed(f, here, partial(term, k, first)) / size for k in range(2))
            means = [f.splat(x, LANES[kind]) for x in (rstd, total, product * rstd)]

            def put(p: Place, m: list[Value] = means) -> None:
                values = _slopes(factor(p) * m[0], *m)
                _put(f, slopes, f.index * f["channels"], f["samples"] * f["channels"], p, kind, values)

            _within(f, kind, first, put)

    return Routine("group_slopes", ("f8", *(kind,) * (2 + weighted)), WORDS, write, explicit=True)


@cache
def group_weights(kind: str, grads: int) -> Routine:
    """(parts, var, gradients of weight and bias?) from sums; a task a group."""

    def write(f: Task) -> None:
        parts, var, *made = f.arrays
        count = f["channels"] / f["width"]

        def channel(p: Place) -> None:
            cells = [f.cell(f.splat(0.0, p.lanes, "f8")) for _ in range(2)]
            for s in f.range(f["samples"]):
                rstd = f.splat(_root(f, var.load(s * count + f.index)), p.lanes)
                for e in _entries(f, parts, s):
                    cells[0].value = cells[0].value + e.load(p, 1) * rstd
                    cells[1].value = cells[1].value + e.load(p, 0)
            for pointer, cell in zip(made, cells, strict=False):
                p.store(pointer, cell.value.to(kind))

        _within(f, kind, f.index * f["width"], channel)

    return Routine("group_weights", ("f8", *(kind,) * (1 + grads)), WORDS, write, explicit=True)
