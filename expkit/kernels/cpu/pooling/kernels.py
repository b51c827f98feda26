"""The pooling kernels themselves: the maximum, its place, or the sum of each window; gradients of maximum and sum.

The gradient of a maximum goes to the first element of its window that equals it (or is NaN): values are compared again
instead of places kept, which reads less. A task owns rows of the input's gradient and goes through all windows that
touch them, so that no two tasks write to one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from expkit.kernels.cpu.builder import least
from expkit.kernels.cpu.ir import Value
from expkit.kernels.cpu.pooling.lanes import Lanes, Vectors

# ---- what is done with the elements of a window ----------------------------------------------------------------------


class Largest:
    """The maximum; NaN where there is one."""

    outside = -inf

    def __init__(self, lanes: Lanes) -> None:
        self._best = [lanes.f.cell(lanes.splat(-inf)) for _ in lanes.masks]

    def visit(self, values: Vectors, inside: Value | None, place: Value) -> None:
        for best, v in zip(self._best, values, strict=True):
            best.value = (v.compare("gt", best.value) | v.compare("ne", v)).select(v, best.value)

    def result(self) -> Vectors:
        return [best.value for best in self._best]


class Place:
    """The flat place of the first maximum, or of the first NaN."""

    outside = 0.0

    def __init__(self, lanes: Lanes) -> None:
        self._best = [lanes.f.cell(lanes.splat(0.0)) for _ in lanes.masks]
        self._place = [lanes.f.cell(lanes.f.splat(-1, lanes.count, "i4")) for _ in lanes.masks]

    def visit(self, values: Vectors, inside: Value | None, place: Value) -> None:
        for best, found, v in zip(self._best, self._place, values, strict=True):
            nan = v.compare("ne", v) & best.value.compare("eq", best.value)
            better = v.compare("gt", best.value) | nan | found.value.compare("lt", 0)
            better = better if inside is None else better & inside
            best.value, found.value = better.select(v, best.value), better.select(place, found.value)

    def result(self) -> Vectors:
        return [found.value.to("i8") for found in self._place]


class Total:
    """The sum, times `scale`."""

    outside = 0.0

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._sum = [lanes.f.cell(lanes.splat(0.0)) for _ in lanes.masks]

    def visit(self, values: Vectors, inside: Value | None, place: Value) -> None:
        for total, v in zip(self._sum, values, strict=True):
            total.value = total.value + v

    def result(self) -> Vectors:
        return [total.value * scale_of(self._lanes) for total in self._sum]


def scale_of(lanes: Lanes) -> Value:
    return lanes.splat(lanes.f["scale"].as_float().to(lanes.kind))


class First:
    """The gradient's share of a tap: g at the first that equals the maximum, 0 at the others."""

    def __init__(self, lanes: Lanes, g: Vectors, top: Vectors) -> None:
        self._lanes, self._g, self._top = lanes, g, top
        self._left = [lanes.f.cell(mask) for mask in lanes.masks]

    def share(self, values: Vectors, inside: Value | None) -> Vectors:
        shares = []
        for left, g, top, v in zip(self._left, self._g, self._top, values, strict=True):
            hit = (v.compare("eq", top) | v.compare("ne", v)) & left.value
            hit = hit if inside is None else hit & inside
            left.value = left.value ^ hit
            shares.append(hit.select(g, 0.0))
        return shares


# ---- kernels ---------------------------------------------------------------------------------------------------------

REDUCERS: dict[str, Any] = {"max": Largest, "place": Place, "sum": Total}


def forward(lanes: Lanes, what: str) -> None:
    """y = the maximum, place or sum of each window of x. A task: a band of output rows."""
    f, reducer = lanes.f, REDUCERS[what]
    for (x, y), band in lanes.units("xy"):
        low = band * f["band"]
        for d, h, w in _windows(lanes, low, least(low + f["band"], f["out_h"])):
            state = reducer(lanes)
            for at_d, at_h in _rows(lanes, d, h):
                row, start = x.at(lanes.at("x", d=at_d, h=at_h)), (at_d * f["in_h"] + at_h) * f["in_w"]
                for group in lanes.groups():
                    taps = zip(group.read(row, reducer.outside), group.inside, group.places, strict=True)
                    for values, inside, place in taps:
                        state.visit(values, inside, place + f.splat(start.to("i4"), lanes.count))
            lanes.store(y.at(lanes.at("y", d=d, h=h, w=w)), state.result())


def backward(lanes: Lanes, what: str, add: bool) -> None:
    """z = the gradient of the input from g (and, for maxima, x and the result). A task: a band of rows of z.

    add: windows overlap. What they do not cover (words `clear`) or add to is zeroed first.
    """
    f = lanes.f
    for arrays, band in lanes.units("yz" if what == "sum" else "yxyz"):
        g, z = arrays[0], arrays[-1]
        low = band * f["band"]
        high = least(low + f["band"], f["in_h"])
        with f.when(f["clear"].to("b1")):
            for d in f.range(f["in_d"]):
                for h in f.range(high, low):
                    lanes.clear(z.at(lanes.at("z", d=d, h=h)))
        for d, h, w in _windows(lanes, *_touching(lanes, low, high)):
            at = lanes.at("y", d=d, h=h, w=w)
            gradient = lanes.load(g.at(at))
            if what == "sum":
                gradient = [v * scale_of(lanes) for v in gradient]
            first = None if what == "sum" else First(lanes, gradient, lanes.load(arrays[2].at(at)))
            for at_d, at_h in _rows(lanes, d, h):
                row = arrays[1].at(lanes.at("x", d=at_d, h=at_h))
                for group in lanes.groups():
                    if first is None:
                        shares = [gradient for _ in group.inside]
                    else:
                        taps = zip(group.read(row, 0.0), group.inside, strict=True)
                        shares = [first.share(*tap) for tap in taps]
                    with f.when(at_h.compare("ge", low) & at_h.compare("lt", high)):
                        group.write(z.at(lanes.at("z", d=at_d, h=at_h)), shares, add=add)


def _windows(lanes: Lanes, low: Value, high: Value) -> Iterator[tuple[Value, Value, Value]]:
    """The outputs in the rows low to high."""
    for d in lanes.f.range(lanes.f["out_d"]):
        for h in lanes.f.range(high, low):
            for w in lanes.columns():
                yield d, h, w


def _rows(lanes: Lanes, d: Value, h: Value) -> Iterator[tuple[Value, Value]]:
    """The rows (depth, height) of the input that a window covers."""
    f, first_d, first_h = lanes.f, lanes.start(d, "d"), lanes.start(h, "h")
    for i in f.range(f["kernel_d"]):
        at_d = i * f["step_d"] + first_d
        with f.when(lanes.inside(at_d, "d")):
            for j in f.range(f["kernel_h"]):
                at_h = j * f["step_h"] + first_h
                with f.when(lanes.inside(at_h, "h")):
                    yield at_d, at_h


def _touching(lanes: Lanes, low: Value, high: Value) -> tuple[Value, Value]:
    """The output rows whose windows may cover the input's rows low to high."""
    f = lanes.f
    first = low + f["pad_h"] - (f["kernel_h"] - 1) * f["step_h"] + f["stride_h"] - 1
    first = first.compare("gt", 0).select(first, 0) / f["stride_h"]
    return least(first, f["out_h"]), least((high - 1 + f["pad_h"]) / f["stride_h"] + 1, f["out_h"])
