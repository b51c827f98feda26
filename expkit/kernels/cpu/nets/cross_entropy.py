"""Cross entropy of rows with class indices: the loss in one pass over each row, its gradient in another.

x: (rows, n), contiguous; index: (rows,). Of each row the loss is log(sum(exp(x))) - x[index], which is 0 where the
index is `ignore`. The row's maximum and the logarithm of the sum of exp(x - maximum) are kept (two numbers: one would
lose digits to large logits) for the gradient, (exp(x - maximum - logarithm) - one_hot) * factor. An index that is
neither a class nor `ignore` is never used as an address, but gives garbage, and sets the flag. `pick` and `unpick`
are the same for rows that are log-probabilities: -x[index], and -one_hot * factor. `total` and `shares` are for several
losses, (rows, n) of them: their sum or mean, and what each has of its gradient.
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


def _store(f: Task, index: Pointer, loss: Pointer, flag: Pointer, row: Value, x: Value) -> None:
    target = index.load(row)
    ignored = target.compare("eq", f["ignore"])
    loss.store(ignored.select(0.0, x), row)
    outside = target.compare("lt", 0) | target.compare("ge", f["n"])
    with f.when(ignored.select(f.constant("b1", 0), outside)):
        flag.store(f.constant("i8", 1))


@cache
def forward(kind: str) -> Routine:
    """(x, index, loss (rows,), logs (rows, 2), flag)"""

    def write(f: Task) -> None:
        x, index, loss, logs, flag = f.arrays
        for row in _rows(f):
            at = x.at(row * f["n"])
            top = _largest(f, kind, at)
            (total,) = totals(f, f["n"], kind, 1, lambda p: [math.exp(p.load(at) - spread(f, top, kind))])  # noqa: B023
            log = math.log(total.to(kind))
            logs.store(top, row * 2)
            logs.store(log, row * 2 + 1)
            _store(f, index, loss, flag, row, log - (_own(f, at, index.load(row)) - top))

    return Routine("cross_entropy", (kind, "i8", kind, kind, "i8"), WORDS, write, explicit=True)


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
    """(x, index, loss (rows,), flag)"""

    def write(f: Task) -> None:
        x, index, loss, flag = f.arrays
        for row in _rows(f):
            _store(f, index, loss, flag, row, -_own(f, x.at(row * f["n"]), index.load(row)))

    return Routine("pick", (kind, "i8", kind, "i8"), WORDS, write, explicit=True)


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


# ---- several losses --------------------------------------------------------------------------------------------------


def _count(f: Task, index: Pointer) -> Value:
    """How many of a row's targets are not ignored."""
    count = f.cell(f.constant("i8", 0))
    for i in f.range(f["n"]):
        count.value = count.value + index.load(i).compare("ne", f["ignore"]).to("i8")
    return count.value


@cache
def total(kind: str) -> Routine:
    """(loss (rows, n), index, out (rows,)): sums, or where `mean` is 1 means over what is not ignored."""

    def write(f: Task) -> None:
        loss, index = (x.at(f.index * f["n"]) for x in f.arrays[:2])
        out = f.arrays[2]
        (found,) = totals(f, f["n"], kind, 1, lambda p: [p.load(loss)])
        with f.when(f["mean"].compare("eq", 0)):
            out.store(found.to(kind), f.index)
        with f.when(f["mean"].compare("ne", 0)):
            out.store((found / _count(f, index).to("f8")).to(kind), f.index)

    return Routine("loss total", (kind, "i8", kind), ("n", "ignore", "mean"), write, explicit=True)


@cache
def shares(kind: str) -> Routine:
    """(index (rows, n), g, out (rows, n)): g where a target counts, else 0; where `mean` is 1 divided by their number.

    g: `per_row` elements on from row to row, `per_loss` from loss to loss.
    """

    def write(f: Task) -> None:
        index, out = (f.arrays[k].at(f.index * f["n"]) for k in (0, 2))
        g, count = f.arrays[1].at(f.index * f["per_row"]), _count(f, index)
        by = f["mean"].compare("ne", 0).select(count.compare("gt", 0).select(count, 1), f.constant("i8", 1)).to(kind)
        for i in f.range(f["n"]):
            counts = index.load(i).compare("ne", f["ignore"])
            out.store(counts.select(g.load(i * f["per_loss"]) / by, 0.0), i)

    words = ("n", "ignore", "mean", "per_row", "per_loss")
    return Routine("loss shares", ("i8", kind, kind), words, write, explicit=True)  # short: no need of vectors


@cache
def one_hot(kind: str, index_kind: str) -> Routine:
    """(index (rows,), out (rows, n)): 1 at each class; an index out of range has none."""

    def write(f: Task) -> None:
        index, x = f.arrays
        for row in _rows(f):
            out, target = x.at(row * f["n"]), index.load(row).to("i8")
            for i in f.range(f["n"]):
                out.store(f.constant(kind, 0), i)
            with f.when(target.compare("ge", 0) & target.compare("lt", f["n"])):
                out.store(f.constant(kind, 1), target)

    return Routine("one_hot", (index_kind, kind), ("n", "rows", "block"), write)
