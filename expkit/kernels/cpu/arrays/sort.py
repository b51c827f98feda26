"""Sorting kernels: rows of numbers -> their sorted values and the places these had; the least few, or a single one.

A number becomes a key, an unsigned integer in the same order (NaN above all, -0 equal to 0; complemented to sort
downward), and a record is a key with a place: one word for numbers of four bytes, else a word and a half. Records are
sorted by LSD radix sort, a byte at a time, over as many bytes as the range of a row's keys needs; short rows by
counting, for each, how many are less. The least few are selected first, byte by byte from the top (MSD radix
selection). All of it is stable: of equal numbers the earlier comes first. Rows are shared out over the pool.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.code.builder import Cell, Number, Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.call import Bound

KINDS = {np.dtype(code): code for code in ("f4", "f8", "i4", "i8")}
SMALL = 64  # records that are sorted by counting
CLOSE = 32  # candidates among which selection stops
STACK = 1 << 13  # records of a row that are kept on the stack
TASK = 1 << 13  # elements of one task
TASKS = 32  # at most, where each needs memory of its own
PARALLEL = 1 << 13  # elements from which several threads are worth waking
WORDS = ("n", "rows", "block", "want")

# ---- records ---------------------------------------------------------------------------------------------------------


def key(v: Value, descending: bool) -> Value:
    """The number as an integer whose order, unsigned, is the order wanted."""
    f, kind = v.block, v.kind
    bits, top = 8 * SIZES[kind], -(1 << 8 * SIZES[kind] - 1)
    if kind[0] == "f":
        raw = (v + 0.0).bits()  # -0 + 0 = 0
        ordered = (raw >> (bits - 1) & ~top ^ raw) ^ top
        ordered = v.compare("eq", v).select(ordered, f.constant(ordered.kind, -1))
    else:
        ordered = v ^ top
    return ordered ^ -1 if descending else ordered


def words_of(kind: str) -> int:
    """Words of memory for each element of a row: a record in two areas."""
    return 3 if SIZES[kind] == 8 else 2


class Records:
    """Two areas of records, at 0 and at `capacity`; `bytes`: of the keys, how many differ."""

    bytes: Value

    def __init__(self, f: Task, kind: str, memory: Pointer, capacity: Value) -> None:
        self.f, self.capacity, self.wide = f, capacity, SIZES[kind] == 8
        self._keys = memory
        self._places = memory.at(capacity).at(capacity).cast("i4") if self.wide else memory

    def fill(self, line: Pointer, n: Value, descending: bool) -> None:
        """The records of a row, in the area at 0: keys less the smallest of them."""
        f = self.f
        first = key(line.load(0), descending)
        low, high = f.cell(first), f.cell(first)
        for i in f.range(n):
            k = key(line.load(i), descending)
            low.value, high.value = f.call("umin", low.value, k), f.call("umax", high.value, k)
        for i in f.range(n):
            self.store(self.pack(i, key(line.load(i), descending) - low.value), i)
        zeros = f.call("ctlz", high.value - low.value, f.constant("b1", 0)).to("i8")
        self.bytes = (zeros * -1 + (8 * SIZES[line.kind] + 7)) >> 3

    def pack(self, i: Value, k: Value) -> tuple[Value, ...]:
        if self.wide:
            return k, i.to("i4")
        return ((k.to("i8") << 32) | i,)

    def load(self, i: Value) -> tuple[Value, ...]:
        return (self._keys.load(i), self._places.load(i)) if self.wide else (self._keys.load(i),)

    def store(self, record: tuple[Value, ...], i: Value) -> None:
        self._keys.store(record[0], i)
        if self.wide:
            self._places.store(record[1], i)

    def place(self, i: Value) -> Value:
        """The place of record i in its row."""
        return self._places.load(i).to("i8") if self.wide else self._keys.load(i) & 0xFFFFFFFF

    def digit(self, record: tuple[Value, ...], number: Value) -> Value:
        """A byte of the key, the least significant first."""
        return (record[0] >> (number * 8 + (0 if self.wide else 32))) & 255

    def before(self, a: tuple[Value, ...], b: tuple[Value, ...]) -> Value:
        """Whether a comes before b."""
        less = self._less(a[0], b[0])
        return less | (a[0].compare("eq", b[0]) & a[1].compare("lt", b[1])) if self.wide else less

    def _less(self, a: Value, b: Value) -> Value:
        return self.f.put("b1", f"icmp ult {a!r}, {b.name}")


# ---- sorting ---------------------------------------------------------------------------------------------------------


def sort(records: Records, area: Cell, n: Value) -> None:
    """Sorts n records; `area`, where they begin, becomes where they end up."""
    f = records.f
    for few in f.either(n.compare("le", SMALL)):
        if few:
            _by_counting(records, area, n)
        else:
            _by_radix(records, area, n)


def _other(records: Records, area: Cell) -> Value:
    return records.capacity - area.value


def _by_counting(records: Records, area: Cell, n: Value) -> None:
    f, start, target = records.f, area.value, _other(records, area)
    for i in f.range(n):
        record, before = records.load(start + i), f.cell(f.constant("i8", 0))
        for j in f.range(n):
            before.value = before.value + records.before(records.load(start + j), record).to("i8")
        records.store(record, target + before.value)
    area.value = target


def _by_radix(records: Records, area: Cell, n: Value) -> None:
    f = records.f
    counts = f.scratch("i4", 256)
    for p in f.range(records.bytes):
        start = area.value
        _clear(f, counts)
        for i in f.range(n):
            _count(counts, records.digit(records.load(start + i), p))
        with f.when(counts.load(records.digit(records.load(start), p)).to("i8").compare("ne", n)):
            _distribute(records, area, n, counts, p)


def _distribute(records: Records, area: Cell, n: Value, counts: Pointer, p: Value) -> None:
    """One pass: the records to the other area in the order of a byte, of which `counts` has the histogram."""
    f, start, target = records.f, area.value, _other(records, area)
    total = f.cell(f.constant("i4", 0))
    for b in f.range(256):
        count = counts.load(b)
        counts.store(total.value, b)
        total.value = total.value + count
    for i in f.range(n):
        record = records.load(start + i)
        records.store(record, target + _count(counts, records.digit(record, p)).to("i8"))
    area.value = target


def _clear(f: Task, counts: Pointer) -> None:
    for i in f.range(256, step=16):
        counts.store(f.splat(0, 16, "i4"), i)


def _count(counts: Pointer, digit: Value) -> Value:
    """Adds one to a count, and gives what it was."""
    was = counts.load(digit)
    counts.store(was + 1, digit)
    return was


# ---- selection -------------------------------------------------------------------------------------------------------


class Selection:
    """The `want` least of n records in the area at 0: `sure` ones in the other area, and `count` candidates left."""

    def __init__(self, records: Records, n: Value, want: Value, collect: bool) -> None:
        f = records.f
        self.records, self._collect = records, collect
        self.count, self.need, self.sure = f.cell(n), f.cell(want), f.cell(f.constant("i8", 0))
        counts = f.scratch("i4", 256)
        for q in f.range(records.bytes):
            byte = records.bytes - 1 - q
            with f.when(self.count.value.compare("gt", self.need.value) & self.count.value.compare("gt", CLOSE)):
                _clear(f, counts)
                for i in f.range(self.count.value):
                    _count(counts, records.digit(records.load(i), byte))
                self._part(self._border(counts), byte)

    def _border(self, counts: Pointer) -> Value:
        """The byte at which the wanted number of records is reached; `need` becomes what is wanted of those."""
        f, need = self.records.f, self.need.value
        border, below, total = (f.cell(f.constant("i8", 0)) for _ in range(3))
        for b in f.range(256):
            short = total.value.compare("lt", need)
            border.value, below.value = short.select(b, border.value), short.select(total.value, below.value)
            total.value = total.value + counts.load(b).to("i8")
        self.need.value = need - below.value
        return border.value

    def _part(self, border: Value, byte: Value) -> None:
        """Keeps the records at the border as candidates; those below are sure."""
        f, records = self.records.f, self.records
        kept = f.cell(f.constant("i8", 0))
        for i in f.range(self.count.value):
            record = records.load(i)
            digit = records.digit(record, byte)
            if self._collect:
                records.store(record, self.sure.value + records.capacity)
                self.sure.value = self.sure.value + digit.compare("lt", border).to("i8")
            records.store(record, kept.value)
            kept.value = kept.value + digit.compare("eq", border).to("i8")
        self.count.value = kept.value

    def gather(self) -> Value:
        """All that may belong to the least, in the other area, and how many they are."""
        f, records = self.records.f, self.records
        for i in f.range(self.count.value):
            records.store(records.load(i), self.sure.value + i + records.capacity)
        return self.sure.value + self.count.value


# ---- kernels ---------------------------------------------------------------------------------------------------------


def write(f: Task, kind: str, what: str, descending: bool, stack: bool) -> None:
    """x (rows, n) -> values, places (rows, want), or (rows,) where a single one is wanted."""
    x, values, places, memory = f.arrays
    n, want = f["n"], f["want"]
    if stack:
        memory, capacity = f.scratch("i8", STACK * words_of(kind)), f.constant("i8", STACK)
    else:
        memory, capacity = memory.at(f.index * n * words_of(kind)), n
    records, first = Records(f, kind, memory, capacity), f.index * f["block"]
    for row in f.range(least(first + f["block"], f["rows"]), first):
        line = x.at(row * n)
        records.fill(line, n, descending)
        area, skip, count = _chosen(f, records, what, n, want)
        target = row * count
        for i in f.range(count):
            place = records.place(area.value + skip + i)
            values.at(target).store(line.load(place), i)
            places.at(target).store(place, i)


def _chosen(f: Task, records: Records, what: str, n: Value, want: Value) -> tuple[Cell, Number, Number]:
    """(the area where the result lies, how many records to leave out there, how many to take)"""
    area = f.cell(f.constant("i8", 0))
    if what == "all":
        sort(records, area, n)
        return area, 0, want
    selection = Selection(records, n, want, collect=what == "least")
    if what == "least":
        area.value = records.capacity
        sort(records, area, selection.gather())
        return area, 0, want
    sort(records, area, selection.count.value)
    return area, selection.need.value - 1, 1


@lru_cache(maxsize=128)
def _routine(kind: str, what: str, descending: bool, stack: bool) -> Routine:
    kinds = (kind, kind, "i8", "i8")
    return Routine(f"sort: {what}", kinds, WORDS, lambda f: write(f, kind, what, descending, stack))


@lru_cache(maxsize=4096)
def _bound(rows: int, n: int, want: int, kind: str, what: str, descending: bool) -> tuple[Bound, int]:
    """The kernel, and how many words of memory it needs."""
    stack = n <= STACK
    block = max(1, TASK // n) if stack else -(-rows // TASKS)
    tasks = -(-rows // block)
    run = _routine(kind, what, descending, stack).bind(
        tasks, parallel=rows * n >= PARALLEL, n=n, rows=rows, block=block, want=want
    )
    return run, 0 if stack else tasks * n * words_of(kind)


def ordered(x: Any, start: int, stop: int, *, descending: bool) -> tuple[Any, Any]:
    """Values and places (int64) of the elements start to stop of each sorted row; x (rows, n), contiguous, not empty.

    What is asked for is a row's beginning (start = 0) or one element.
    """
    rows, n = x.shape
    what = "one" if stop - start == 1 else "least" if stop <= n // 4 else "all"
    run, words = _bound(rows, n, stop, KINDS[x.dtype], what, descending)
    shape = (rows, stop - start)
    values, places = plan.empty(shape, x.dtype), plan.empty(shape, np.dtype(np.int64))
    run(x, values, places, plan.empty((words,), np.dtype(np.int64)) if words else values)
    return values, places
