"""Normalisation of rows with a weight for each element: layer norm and RMS norm, forward and backward.

x: (rows, n), contiguous. Forward: y = (x - mean) / sqrt(var + eps) * weight + bias; RMS norm is the same without the
mean. A row is read two or three times, after the first from the nearest cache. Backward: with u = g * weight and
v = (x - mean) * rstd, dx = rstd (u - mean(u) - v mean(u v)). The sums over rows that are the gradients of weight and
bias are kept for each task's block of rows and added up by a second kernel: they do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import LANES, Place, along, spread, totals

WORDS = ("n", "rows", "block", "eps")  # block: rows of a task; eps: its `bits`


def _root(f: Task, square: Value) -> Value:
    """1 / sqrt(square + eps), in float64."""
    return 1 / f.call("sqrt", square.to("f8") + f["eps"].as_float())


def _rows(f: Task) -> Iterator[Value]:
    first = f.index * f["block"]
    return f.range(least(first + f["block"], f["rows"]), first)


@cache
def forward(kind: str, affine: int, centered: bool) -> Routine:
    """(x, weight?, bias?, y, mean?, var)."""

    def write(f: Task) -> None:
        x, *affines = f.arrays[: 1 + affine]
        y, *stats = f.arrays[1 + affine :]
        for row in _rows(f):
            _forward_row(f, kind, row, x.at(row * f["n"]), y.at(row * f["n"]), affines, stats)

    return Routine(
        "layer_norm" if centered else "rms_norm", (kind,) * (3 + affine + centered), WORDS, write, explicit=True
    )


def _forward_row(
    f: Task, kind: str, row: Value, x: Pointer, y: Pointer, affines: Sequence[Pointer], stats: Sequence[Pointer]
) -> None:
    n, mean = f["n"], None
    if len(stats) == 2:
        (total,) = totals(f, n, kind, 1, lambda p: [p.load(x)])
        mean = spread(f, total / n.to("f8"), kind)
        stats[0].store((total / n.to("f8")).to(kind), row)

    def centre(p: Place) -> Value:
        return p.load(x) if mean is None else p.load(x) - mean

    def square(p: Place) -> list[Value]:
        d = centre(p)
        return [d * d]

    (total,) = totals(f, n, kind, 1, square)
    stats[-1].store((total / n.to("f8")).to(kind), row)
    scale = spread(f, _root(f, total / n.to("f8")), kind)

    def put(p: Place) -> None:
        out = centre(p) * scale
        for k, pointer in enumerate(affines):
            out = out + p.load(pointer) if k else out * p.load(pointer)
        p.store(y, out)

    along(f, 0, n, LANES[kind], put)


@cache
def backward(kind: str, affine: int, centered: bool) -> Routine:
    """(g, x, dx, var, mean?, weight?, parts?). parts: (tasks, affine, n), the gradients of weight and bias by tasks."""

    def write(f: Task) -> None:
        rest = f.arrays[4:]
        centre = rest.pop(0) if centered else None
        weight, parts = rest or (None, None)
        sums = [] if parts is None else [parts.at((f.index * affine + k) * f["n"]) for k in range(affine)]
        for part in sums:
            _clear(f, kind, part)
        for row in _rows(f):
            _backward_row(f, kind, row, f.arrays[:4], centre, weight, sums)

    kinds = (kind,) * (4 + centered + 2 * bool(affine))
    return Routine("layer_norm_back" if centered else "rms_norm_back", kinds, WORDS, write, explicit=True)


def _clear(f: Task, kind: str, part: Pointer) -> None:
    along(f, 0, f["n"], LANES[kind], lambda p: p.store(part, f.splat(0.0, LANES[kind], kind)))


def _backward_row(
    f: Task, kind: str, row: Value, arrays: Sequence[Pointer], centre: Pointer | None, weight: Pointer | None,
    sums: Sequence[Pointer],
) -> None:  # fmt: skip
    n, size, at = f["n"], f["n"].to("f8"), row * f["n"]
    g, x, dx = (p.at(at) for p in arrays[:3])
    rstd = _root(f, arrays[3].load(row))
    scale = spread(f, rstd, kind)
    mean = f.splat(centre.load(row), LANES[kind]) if centre else None

    def operands(p: Place) -> tuple[Value, Value, Value]:
        """g, u, v"""
        y, v = p.load(g), p.load(x)
        return y, y if weight is None else y * p.load(weight), (v if mean is None else v - mean) * scale

    def terms(p: Place) -> list[Value]:
        y, u, v = operands(p)
        for k, part in enumerate(sums):
            p.store(part, p.load(part) + (y if k else y * v))
        return [u * v, u] if centre else [u * v]

    product, *total = totals(f, n, kind, 1 + bool(centre), terms)
    tilt = spread(f, product * rstd / size, kind)
    shift = [spread(f, s * rstd / size, kind) for s in total]

    def put(p: Place) -> None:
        _, u, v = operands(p)
        out = u * scale - v * tilt
        p.store(dx, out - shift[0] if shift else out)

    along(f, 0, n, LANES[kind], put)


@cache
def fold(kind: str) -> Routine:
    """(parts (count, n), sums (n,)): the sum over parts, in float64; a task for each `tile` of columns."""

    def write(f: Task) -> None:
        parts, out = f.arrays
        n, first, lanes = f["n"], f.index * f["tile"], LANES[kind]

        def column(p: Place) -> None:
            total = f.cell(f.splat(0.0, lanes, "f8"))
            for k in f.range(f["count"]):
                total.value = total.value + p.load(parts.at(k * n)).to("f8")
            p.store(out, total.value.to(kind))

        along(f, first, least(first + f["tile"], n), lanes, column)

    return Routine("fold", (kind, kind), ("count", "n", "tile"), write, explicit=True)
