"""Cross entropy of rows with class indices: the loss in one pass over each row, its gradient in another.

x: (rows, n), contiguous; index: (rows,). Of each row the loss is log(sum(exp(x))) - x[index], which is 0 where the
index is `ignore`. The row's maximum and the logarithm of the sum of exp(x - maximum) are kept (two numbers: one would
lose digits to large logits) for the gradient, (exp(x - maximum - logarithm) - one_hot) * factor. An index that is
neither a class nor `ignore` is never used as an address, but gives garbage: the caller has looked. `pick` and `unpick`
are the same for rows that are log-probabilities: -x[index], and -one_hot * factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from expkit.kernels.cpu.code import math
from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import LANES, UNROLL, Place, along, larger, largest, spread, totals

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


def _own(f: Task, x: Pointer, target: Value) -> Value:
    """The row's element at the target, if there is one."""
    inside = target.compare("ge", 0) & target.compare("lt", f["n"])
    return x.load(inside.select(target, 0))


def _store(f: Task, index: Pointer, loss: Pointer, row: Value, x: Value) -> None:
    loss.store(index.load(row).compare("eq", f["ignore"]).select(0.0, x), row)


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
            _store(f, index, loss, row, log - (_own(f, at, index.load(row)) - top))

    return Routine("cross_entropy", (kind, "i8", kind, kind), WORDS, write, explicit=True)


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

    return Routine("cross_entropy_back", (kind, "i8", kind, kind, kind), WORDS, write, explicit=True)


def _slopes(f: Task, kind: str, x: Pointer, out: Pointer, top: Value, log: Value, factor: Value) -> None:
    scale = f.splat(factor, LANES[kind])
    along(f, 0, f["n"], LANES[kind], lambda p: p.store(out, math.exp(p.load(x) - top - log) * scale))


@cache
def pick(kind: str) -> Routine:
    """(x, index, loss (rows,))"""

    def write(f: Task) -> None:
        x, index, loss = f.arrays
        for row in _rows(f):
            _store(f, index, loss, row, -_own(f, x.at(row * f["n"]), index.load(row)))

    return Routine("pick", (kind, "i8", kind), WORDS, write, explicit=True)


@cache
def unpick(kind: str) -> Routine:
    """(index, factors (rows,), dx)"""

    def write(f: Task) -> None:
        index, factors, dx = f.arrays
        zero = f.splat(0.0, LANES[kind], kind)
        for row in _rows(f):
            out = dx.at(row * f["n"])
            _fill(f, kind, out, zero)
            target = index.load(row)
            with f.when(target.compare("ge", 0) & target.compare("lt", f["n"])):
                out.store(-factors.load(row), target)

    return Routine("unpick", ("i8", kind, kind), WORDS, write, explicit=True)


def _fill(f: Task, kind: str, out: Pointer, x: Value) -> None:
    along(f, 0, f["n"], LANES[kind], lambda p: p.store(out, x))
