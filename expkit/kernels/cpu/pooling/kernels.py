"""The pooling kernels themselves: the maximum (and its place) or the sum of each window, and their gradients.

The gradient of a maximum goes to its place, in one of two ways: `backward` goes through the windows and writes, or
adds, g or zero to each element; `scatter` adds one value after the other. A task owns what it writes: rows of the
gradient (and goes through all windows that touch them), or whole planes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from expkit.kernels.cpu.code.builder import Number, Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Task
from expkit.kernels.cpu.pooling.lanes import Lanes, Vectors

# ---- what is done with the elements of a window ----------------------------------------------------------------------


class Largest:
    """The maximum; NaN where there is one."""

    outside = -inf

    def __init__(self, lanes: Lanes, _first: Value) -> None:
        self._best = [lanes.f.cell(lanes.splat(-inf)) for _ in lanes.masks]

    def visit(self, values: Vectors, place: Value) -> None:
        for best, v in zip(self._best, values, strict=True):
            best.value = (v.compare("gt", best.value) | v.compare("ne", v)).select(v, best.value)

    def results(self) -> list[Vectors]:
        return [[best.value for best in self._best]]


class Place:
    """The maximum and its flat place in the plane: the first of equal ones, or the last NaN."""

    outside = -inf

    def __init__(self, lanes: Lanes, first: Value) -> None:
        self._best = [lanes.f.cell(lanes.splat(-inf)) for _ in lanes.masks]
        self._place = [lanes.f.cell(first) for _ in lanes.masks]  # where all elements are -inf

    def visit(self, values: Vectors, place: Value) -> None:
        for best, found, v in zip(self._best, self._place, values, strict=True):
            better = v.compare("gt", best.value) | v.compare("ne", v)
            best.value, found.value = better.select(v, best.value), better.select(place, found.value)

    def results(self) -> list[Vectors]:
        return [[cell.value for cell in self._best], [cell.value for cell in self._place]]


class Total:
    """The sum, times `scale`."""

    outside = 0.0

    def __init__(self, lanes: Lanes, _first: Value) -> None:
        self._lanes = lanes
        self._sum = [lanes.f.cell(lanes.splat(0.0)) for _ in lanes.masks]

    def visit(self, values: Vectors, place: Value) -> None:
        for total, v in zip(self._sum, values, strict=True):
            total.value = total.value + v

    def results(self) -> list[Vectors]:
        return [[total.value * scale_of(self._lanes) for total in self._sum]]


def scale_of(lanes: Lanes) -> Value:
    return lanes.splat(lanes.f["scale"].as_float().to(lanes.kind))


# ---- kernels ---------------------------------------------------------------------------------------------------------

REDUCERS: dict[str, Any] = {"max": Largest, "place": Place, "sum": Total}


def forward(lanes: Lanes, what: str) -> None:
    """y = the maximum (then its place) or the sum of each window of x. A task: a band of output rows."""
    f, reducer = lanes.f, REDUCERS[what]
    for (x, *results), band in lanes.units("xyy" if what == "place" else "xy"):
        low = band * f["band"]
        for d, h, w in _windows(lanes, low, least(low + f["band"], f["out_h"])):
            corner = (lanes.first(d, "d") * f["in_h"] + lanes.first(h, "h")) * f["in_w"]
            state = reducer(lanes, lanes.columns_first() + f.splat(corner.to("i4"), lanes.count))
            for at_d, at_h in _rows(lanes, d, h):
                row, start = x.at(lanes.at("x", d=at_d, h=at_h)), _start(lanes, at_d, at_h)
                for group in lanes.groups():
                    for values, place in zip(group.read(row, reducer.outside), group.places, strict=True):
                        state.visit(values, place + start)
            for y, values in zip(results, state.results(), strict=True):
                lanes.store(y.at(lanes.at("y", d=d, h=h, w=w)), values)


def backward(lanes: Lanes, what: str, add: bool) -> None:
    """z = the gradient of the input from g, and from the places of maxima. A task: a band of rows of z.

    add: windows overlap. What they do not cover (word `clear`) or add to is zeroed first.
    """
    f = lanes.f
    for (g, *places, z), band in lanes.units("yyz" if what == "place" else "yz"):
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
            found = [lanes.load(p.at(at)) for p in places]
            for at_d, at_h in _rows(lanes, d, h):
                start = _start(lanes, at_d, at_h)
                for group in lanes.groups():
                    shares = [_share(gradient, found, place + start) for place in group.places]
                    with f.when(at_h.compare("ge", low) & at_h.compare("lt", high)):
                        group.write(z.at(lanes.at("z", d=at_d, h=at_h)), shares, add=add)


def _share(g: Vectors, found: list[Vectors], place: Value) -> Vectors:
    """What the elements at a place get of the gradient."""
    if not found:
        return g
    return [p.compare("eq", place).select(v, 0.0) for v, p in zip(g, found[0], strict=True)]


def scatter(f: Task, last: bool) -> None:
    """z = 0; z[place] += g for each output of some planes (or of some channels of an image), in their order.

    Words: planes (channels) that a task has, and of how many; outputs and elements of a plane.
    """
    g, places, z = f.arrays
    if not last:
        first = f.index * f["unit"]
        for i in f.range(least(first + f["unit"], f["channels"]), first):
            _scatter(f, [p.at(i * f["outputs"]) for p in (g, places)], z.at(i * f["size"]), None)
        return
    parts = (f["channels"] + (f["unit"] - 1)) / f["unit"]
    image, first = f.index / parts * f["channels"], f.index % parts * f["unit"]
    sources = [p.at(image * f["outputs"] + first) for p in (g, places)]
    _scatter(f, sources, z.at(image * f["size"] + first), least(f["channels"] - first, f["unit"]))


def _scatter(f: Task, sources: list[Pointer], z: Pointer, count: Value | None) -> None:
    """For `count` channels that lie side by side, or (None) for a plane."""
    (g, places), stride = sources, f.constant("i8", 1) if count is None else f["channels"]
    for i in f.range(f["size"]):
        for c in _each(f, count):
            z.at(i * stride).store(0.0, c)
    for i in f.range(f["outputs"]):
        for c in _each(f, count):
            place = places.at(i * stride).load(c).to("i8")
            with f.when(f.put("b1", f"icmp ult {place!r}, {f['size'].name}")):
                target = z.at(place * stride + c)
                target.store(target.load() + g.at(i * stride).load(c))


def _each(f: Task, count: Value | None) -> Iterator[Number]:
    yield from [0] if count is None else f.range(count)


def _start(lanes: Lanes, d: Value, h: Value) -> Value:
    """Where a row begins in its plane, for all lanes."""
    f = lanes.f
    return f.splat(((d * f["in_h"] + h) * f["in_w"]).to("i4"), lanes.count)


def _windows(lanes: Lanes, low: Value, high: Value) -> Iterator[tuple[Value, Value, Value]]:
    """The outputs in the rows low to high."""
    for d in lanes.f.range(lanes.f["out_d"]):
        for h in lanes.f.range(high, low):
            for w in lanes.columns():
                yield d, h, w


def _rows(lanes: Lanes, d: Value, h: Value) -> Iterator[tuple[Value, Value]]:
    """The rows (depth, height) of the input that a window covers."""
    f, first_d, first_h = lanes.f, lanes.start(d, "d"), lanes.start(h, "h")
    for i in f.range(lanes.taps(d, "d")):
        at_d = i * f["step_d"] + first_d
        with f.when(lanes.inside(at_d, "d")):
            for j in f.range(lanes.taps(h, "h")):
                at_h = j * f["step_h"] + first_h
                with f.when(lanes.inside(at_h, "h")):
                    yield at_d, at_h


def _touching(lanes: Lanes, low: Value, high: Value) -> tuple[Value, Value]:
    """The output rows whose windows may cover the input's rows low to high."""
    f = lanes.f
    first = low + f["pad_h"] - (f["kernel_h"] - 1) * f["step_h"] + f["stride_h"] - 1
    first = first.compare("gt", 0).select(first, 0) / f["stride_h"]
    return least(first, f["out_h"]), least((high - 1 + f["pad_h"]) / f["stride_h"] + 1, f["out_h"])
