"""Cross entropy of rows of logits with class indices: the loss in one pass over each row, its gradient in another.

x: (rows, n), contiguous; index: (rows,). Of each row the loss is log(sum(exp(x))) - x[index], which is 0 where the
index is `ignore`. The row's maximum and the logarithm of the sum of exp(x - maximum) are kept (two numbers: one would
lose digits to large logits) for the gradient, (exp(x - maximum - logarithm) - one_hot) * factor. An index that is
neither a class nor `ignore` is never used as an address, but gives garbage: the caller has looked.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from expkit.kernels.cpu import math
from expkit.kernels.cpu.builder import Pointer, least
from expkit.kernels.cpu.ir import Value
from expkit.kernels.cpu.routine import Routine, Task
from expkit.kernels.cpu.vectors import LANES, UNROLL, Place, along, larger, largest, spread, totals

WORDS = ("n", "rows", "block", "ignore")


def _rows(f: Task) -> Iterator[Value]:
    first = f.index * f["block"]
    return f.range(least(first + f["block"], f["rows"]), first)


def _largest(f: Task, kind: str, x: Pointer) -> Value:
    """The maximum of a row; any number where the row has a NaN (its sum of exponentials is one then)."""
    low = f.splat(float("-inf"), LANES[kind], kind)
    cells = [f.cell(low) for _ in range(UNROLL)]

    def look(p: Place) -> None:
        v = p.load(x)
        v = v if p.mask is None else p.mask.select(v, low)
        cells[p.slot].value = larger(v, cells[p.slot].value)

    along(f, 0, f["n"], LANES[kind], look)
    a, b, c, d = (cell.value for cell in cells)
    return largest(f, larger(larger(a, b), larger(c, d)))


@cache
def forward(kind: str) -> Routine:
    """(x, index, loss (rows,), logs (rows, 2))"""

    def write(f: Task) -> None:
        x, index, loss, logs = f.arrays
        for row in _rows(f):
            at = x.at(row * f["n"])
            top = _largest(f, kind, at)
            (total,) = totals(f, f["n"], kind, 1, lambda p: [math.exp(p.load(at) - spread(f, top, kind))])  # noqa: B023
            log = math.log(total.to(kind))
            logs.store(top, row * 2)
            logs.store(log, row * 2 + 1)
            target = index.load(row)
            inside = target.compare("ge", 0) & target.compare("lt", f["n"])
            own = log - (at.load(inside.select(target, 0)) - top)
            loss.store(target.compare("eq", f["ignore"]).select(0.0, own), row)

    return Routine("cross_entropy", (kind, "i8", kind, kind), WORDS, write)


@cache
def backward(kind: str) -> Routine:
    """(x, index, logs, factors (rows,), dx)"""

    def write(f: Task) -> None:
        x, index, logs, factors, dx = f.arrays
        for row in _rows(f):
            at, out = x.at(row * f["n"]), dx.at(row * f["n"])
            top, log = (spread(f, logs.load(row * 2 + k), kind) for k in range(2))
            _slopes(f, kind, at, out, top, log, factors.load(row))
            target = index.load(row)
            with f.when(target.compare("ge", 0) & target.compare("lt", f["n"])):
                out.store(out.load(target) - factors.load(row), target)

    return Routine("cross_entropy_back", (kind, "i8", kind, kind, kind), WORDS, write)


def _slopes(f: Task, kind: str, x: Pointer, out: Pointer, top: Value, log: Value, factor: Value) -> None:
    scale = f.splat(factor, LANES[kind])
    along(f, 0, f["n"], LANES[kind], lambda p: p.store(out, math.exp(p.load(x) - top - log) * scale))
