"""Reading and writing by index: rows of a table, and elements along an axis. Indices may be any integers.

`rows`: x[o, i(p), :], where p counts the index vectors' positions and o the axes in front of the indexed ones (one
stride), and the rest is a dense row. `along`: x[o, i(o, m, c), c] for dense x (O, N, C) and i (O, M, C).

A negative index counts from the end in `rows` and is out of range in `along`. One out of range is seen before it is
used: the element 0 is touched instead, and a flag says so afterwards. Writers split what they write by
outer axes and columns, never by positions, so that repeated places are written and summed in the order of the index,
whatever the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from expkit.kernels.cpu.arrays.copy import KINDS, UNROLL, lanes
from expkit.kernels.cpu.code.builder import Cell, Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.machine.call import Bound

INDICES = ("i1", "u1", "i2", "i4", "i8")  # kinds, which are NumPy's codes
ADDED = ("f4", "f8", *INDICES)
TASK = 1 << 14  # elements of one task
CHUNK = 1 << 10  # places that are worked out together
STRIPE = 512  # bytes of a row that one task adds
NARROW = 128  # least bytes of half a row, for two tasks
TAKE, PUT, ADD = "take", "put", "add"


def kind_of(dtype: Any, how: str) -> str | None:
    """The kind in which elements are moved or added; None where there is no kernel."""
    if how == ADD:
        return _native(dtype, ADDED)
    return KINDS.get(dtype.itemsize)


def index_kind(dtype: Any) -> str | None:
    """The kind of an index array's elements; None where there is no kernel."""
    return _native(dtype, INDICES)


def _native(dtype: Any, kinds: Sequence[str]) -> str | None:
    kind = dtype.str[1:]
    return kind if kind in kinds and dtype.isnative else None


# ---- kernels ---------------------------------------------------------------------------------------------------------


def _place(index: Value, size: Value, bad: Cell, wraps: bool) -> Value:
    """The index in [0, size), negative ones wrapped where they may be; 0 and a note in `bad` if it is outside."""
    at = index.to("i8")
    if wraps:
        at = at.compare("lt", 0).select(at + size, at)
    within = at.block.put("b1", f"icmp ult {at!r}, {size.name}")  # unsigned: what is negative is too large
    bad.value = bad.value | within.select(at.like(0), 1)
    return within.select(at, 0)


def _offsets(
    f: Task,
    span: tuple[Value, Value],
    read: Callable[[Value], list[tuple[Value, Value, Value]]],
    bad: Cell,
    wraps: bool,
) -> Iterator[tuple[Value, Value, Pointer]]:
    """The span in chunks: where one begins and ends, and how many bytes from the table's beginning its places are.

    read(i): the indices there, the sizes of their axes and their strides. All this LLVM turns into vectors.
    """
    offsets = f.scratch("i8", CHUNK)
    for start in f.range(span[1], span[0], step=CHUNK):
        end = least(start + CHUNK, span[1])
        for i in f.range(end, start):
            parts = [_place(index, size, bad, wraps) * step for index, size, step in read(i)]
            offsets.store(sum(parts[1:], parts[0]), i - start)
        yield start, end, offsets


def _each(f: Task, span: tuple[Value, Value]) -> Iterator[Value]:
    """The numbers of a span, four in one round of the loop."""
    start, stop = span
    whole = stop - (stop - start) % 4
    for i in f.range(whole, start, step=4):
        for k in range(4):
            yield i + k
    yield from f.range(stop, whole)


def _move(how: str, table: Pointer, other: Pointer) -> None:
    """One element between the table and the dense array beside it."""
    if how == TAKE:
        other.store(table.load_alone())
    elif how == PUT:
        table.store(other.load())
    else:
        table.store(table.load() + other.load())


def _move_row(f: Task, how: str, table: Pointer, other: Pointer, span: tuple[Value, Value]) -> None:
    """The elements of a row from span[0] to span[1], in vectors, the last of which is masked.

    Rows are short: neither memcpy nor LLVM's own vectors (with their unrolled loops) would be as fast.
    """
    to, frm = (other, table) if how == TAKE else (table, other)
    side = lanes(KINDS[SIZES[table.kind]])
    step = side if how == ADD else UNROLL * side
    start, stop = span
    whole = stop - (stop - start) % step
    for c in f.range(whole, start, step=step):
        vectors = [frm.load(c + k, side) for k in range(0, step, side)]
        for k, x in enumerate(vectors):
            to.store(to.load(c + k * side, side) + x if how == ADD else x, c + k * side)
    for c in f.range(stop, whole, step=side):
        mask = f.first(least(stop - c, side), side)
        x = frm.load_some(mask, c)
        to.store_some(mask, to.load_some(mask, c) + x if how == ADD else x, c)


def _ending(f: Task, bad: Cell) -> None:
    with f.when(bad.value.compare("ne", 0)):
        f.arrays[2].store(f.constant("i8", 1))


_SHARES = ("stripes", "parts", "outers", "middles", "columns")  # how many, and the extents of a task


def _spans(f: Task, outer: str, middle: str, inner: str) -> list[tuple[Value, Value]]:
    """Where the task begins and ends along the three axes."""
    stripe, rest = f.index % f["stripes"], f.index / f["stripes"]
    starts = rest / f["parts"] * f["outers"], rest % f["parts"] * f["middles"], stripe * f["columns"]
    lengths = (f["outers"], f["middles"], f["columns"])
    ends = zip(starts, lengths, (outer, middle, inner), strict=True)
    return [(start, least(start + length, f[whole])) for start, length, whole in ends]


@lru_cache(maxsize=256)
def rows(how: str, kind: str, indices: tuple[str, ...], single: bool) -> Routine:
    """The kernel for rows; `single`: of one element each. Arrays: table, dense, flag, indices..."""

    def write(f: Task) -> None:
        table, dense, _, *index = f.arrays
        bad = f.cell(f.constant("i8", 0))
        (o0, o1), positions, columns = _spans(f, "O", "P", "C")

        def read(p: Value) -> list[tuple[Value, Value, Value]]:
            return [(i.load(p), f[f"n{k}"], f[f"s{k}"]) for k, i in enumerate(index)]

        for start, end, offsets in _offsets(f, positions, read, bad, wraps=True):
            for o in f.range(o1, o0):
                plane = table.move(o * f["so"])
                if single:
                    for p in _each(f, (start, end)):
                        _move(how, plane.move(offsets.load(p - start)), dense.at(o * f["P"] + p))
                else:
                    for p in f.range(end, start):
                        line = dense.at((o * f["P"] + p) * f["C"])
                        _move_row(f, how, plane.move(offsets.load(p - start)), line, columns)
        _ending(f, bad)

    words = ["O", "P", "C", "so", *_SHARES, *(f"{name}{k}" for k in range(len(indices)) for name in "ns")]
    return Routine(f"rows {how}", (kind, kind, "i8", *indices), words, write)


@lru_cache(maxsize=256)
def along(how: str, kind: str, index: str, single: bool) -> Routine:
    """The kernel along an axis; `single`: it is the last one (C = 1). Arrays: table, dense, flag, index."""

    def write(f: Task) -> None:
        table, dense, _, index = f.arrays
        bad = f.cell(f.constant("i8", 0))
        (o0, o1), middles, columns = _spans(f, "O", "M", "C")

        def line(plane: Pointer, first: Value, span: tuple[Value, Value]) -> None:
            """A run of elements: the i-th is at first + i in what is dense, and in column i (or 0) of the plane."""

            def read(i: Value) -> list[tuple[Value, Value, Value]]:
                return [(index.load(first + i), f["N"], f["C"] * SIZES[kind])]

            for start, end, offsets in _offsets(f, span, read, bad, wraps=False):
                for i in _each(f, (start, end)):
                    column = plane if single else plane.at(i)
                    _move(how, column.move(offsets.load(i - start)), dense.at(first + i))

        for o in f.range(o1, o0):
            plane = table.at(o * f["N"] * f["C"])
            if single:
                line(plane, o * f["M"], middles)
            else:
                for m in f.range(middles[1], middles[0]):
                    line(plane, (o * f["M"] + m) * f["C"], columns)
        _ending(f, bad)

    return Routine(f"along {how}", (kind, kind, "i8", index), ("O", "N", "M", "C", *_SHARES), write)


# ---- plans -----------------------------------------------------------------------------------------------------------


def _shares(how: str, outer: int, middle: int, inner: int, size: int) -> tuple[int, dict[str, int]]:
    """The number of tasks, and the words that say what each does."""
    width = inner * size
    stripes = 1 if how == TAKE else max(1, min(2, width // NARROW), min(8, width // STRIPE))
    columns = -(-inner // stripes)
    middles = min(middle, max(1, TASK // inner)) if how == TAKE else middle
    outers = max(1, TASK // (middles * columns))
    stripes, parts = -(-inner // columns), -(-middle // middles)
    numbers = (stripes, parts, outers, middles, columns)
    return stripes * parts * -(-outer // outers), dict(zip(_SHARES, numbers, strict=True))


@lru_cache(maxsize=1024)
def _rows(
    how: str, kind: str, extents: tuple[int, int, int], so: int, indexed: tuple[tuple[str, int, int], ...]
) -> Bound:
    """extents: outer axes, positions, columns; `indexed`: kind of index, size of the axis and stride in bytes."""
    outer, positions, columns = extents
    tasks, shares = _shares(how, *extents, SIZES[kind])
    words = {"O": outer, "P": positions, "C": columns, "so": so, **shares}
    for k, (_, n, s) in enumerate(indexed):
        words |= {f"n{k}": n, f"s{k}": s}
    routine = rows(how, kind, tuple(i[0] for i in indexed), columns == 1)
    return routine.bind(tasks, parallel=outer * positions * columns >= 2 * TASK, **words)


@lru_cache(maxsize=1024)
def _along(how: str, kind: str, index: str, extents: tuple[int, int, int, int]) -> Bound:
    outer, n, m, columns = extents
    tasks, shares = _shares(how, outer, m, columns, SIZES[kind])
    words = {"O": outer, "N": n, "M": m, "C": columns, **shares}
    return along(how, kind, index, columns == 1).bind(tasks, parallel=outer * m * columns >= 2 * TASK, **words)


# ---- functions -------------------------------------------------------------------------------------------------------


def by_rows(
    how: str, table: Any, dense: Any, indices: Sequence[Any], axes: Sequence[int], outer: tuple[int, int], columns: int,
    flag: Any,
) -> None:  # fmt: skip
    """Moves rows between the table, at the indices along `axes`, and `dense` (outer, positions, columns).

    outer: the size and stride in bytes of the axes in front; indices: dense arrays of one shape. The flag (int64, one
    element) becomes 1 where an index is out of range: then what was read or written is of no use.
    """
    kind = kind_of(table.dtype, how)
    if kind is None:
        raise TypeError(f"{how}: no kernel for {table.dtype}")
    indexed = tuple((_index(i), table.shape[a], table.strides[a]) for i, a in zip(indices, axes, strict=True))
    if how != ADD and columns > 1:  # moved as the largest integers that divide the rows
        size = math.gcd(8, columns * table.itemsize, outer[1], *(s for _, _, s in indexed))
        kind, columns = KINDS[size], columns * table.itemsize // size
    run = _rows(how, kind, (outer[0], indices[0].size, columns), outer[1], indexed)
    run(table, dense, flag, *indices)


def along_axis(how: str, table: Any, dense: Any, index: Any, axis: int, flag: Any) -> None:
    """Moves elements between the table, at the index along the axis, and `dense`, of the index's shape; all dense.

    The flag becomes 1 where an index is out of range: then what was read or written is of no use.
    """
    kind = kind_of(table.dtype, how)
    if kind is None:
        raise TypeError(f"{how}: no kernel for {table.dtype}")
    shape = index.shape
    outer, columns = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    run = _along(how, kind, _index(index), (outer, table.shape[axis], shape[axis], columns))
    run(table, dense, flag, index)


def _index(index: Any) -> str:
    kind = index_kind(index.dtype)
    if kind is None:
        raise TypeError(f"no kernel for indices of {index.dtype}")
    return kind
