"""Copies that change the order of axes: images between the two memory orders, weights into panels and back.

One kernel: blocks of `lanes` rows and columns are transposed in registers by exchanges of halves, quarters, ...
Where rows lie in the source and columns in the result is a step, or a table of places.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

from expkit.kernels.cpu.arrays.copy import copy
from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.gemm.microkernel import blocking
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.call import Bound

CHUNK = 512  # columns of a task
WOVEN = 4  # channels up to which vectors are interleaved rather than blocks transposed
LINE = 64  # bytes of a line of the cache
PARALLEL = 1 << 15  # elements from which several threads are worth waking
_WORDS = (
    "rows", "columns", "row_step", "column_step", "source_batch", "target_batch",
    "stored", "panel", "panel_step", "chunk", "chunks", "parts", "part_step",
)  # fmt: skip


def turned(f: Task, rows: Sequence[Value]) -> list[Value]:
    """The columns of a square block of vectors."""
    block, n = list(rows), len(rows)
    d = n // 2
    while d:
        low = [n + j - d if j & d else j for j in range(n)]
        high = [n + j if j & d else j + d for j in range(n)]
        for i in (i for i in range(n) if not i & d):
            a, b = block[i], block[i + d]
            block[i], block[i + d] = f.shuffle(a, b, low), f.shuffle(a, b, high)
        d //= 2
    return block


@cache
def transposer(kind: str, by_row: bool = False, by_column: bool = False, summed: bool = False) -> Routine:
    """target[batch][column j][row i] = source[batch][row i][column j], summed over `parts` of the source.

    Operands: source, target, rows' places (with by_row), columns' places (with by_column; below 0: left out). Row i
    lies at (i / panel) * panel_step + i % panel in the result; up to `stored` rows are written, the last one repeated.
    """
    lanes = blocking(kind).lanes

    def write(f: Task) -> None:
        source, target = f.arrays[:2]
        batch, chunk = f.index / f["chunks"], f.index % f["chunks"]
        source, target = source.at(batch * f["source_batch"]), target.at(batch * f["target_batch"])
        start = chunk * f["chunk"]
        stop = least(f["columns"], start + f["chunk"])
        for i in f.range(f["stored"], step=lanes):
            place = target.at(i / f["panel"] * f["panel_step"] + i % f["panel"])
            rows = [source.at(_row(f, least(i + r, f["rows"] - 1), by_row)) for r in range(lanes)]
            for j in f.range(stop, start=start, step=lanes):
                whole = (j + lanes).compare("le", stop) & (i + lanes).compare("le", f["stored"])
                for full in f.either(whole):
                    _block(f, rows, place, i, j, stop, full=full, by_column=by_column, summed=summed)

    kinds = (kind, kind, *("i8" for given in (by_row, by_column) if given))
    return Routine(f"transposed {by_row:d}{by_column:d}{summed:d}", kinds, _WORDS, write, explicit=True)


def _row(f: Task, i: Value, by_table: bool) -> Value:
    return f.arrays[2].load(i) if by_table else i * f["row_step"]


def _block(
    f: Task, rows: list[Pointer], place: Pointer, i: Value, j: Value, stop: Value, *,
    full: bool, by_column: bool, summed: bool,
) -> None:  # fmt: skip
    """The block at row i, column j; not `full`: what lies outside is neither read nor written."""
    lanes = len(rows)
    inside = None if full else f.first(stop - j, lanes)

    def load(row: Pointer) -> Value:
        return row.load(j, lanes) if inside is None else row.load_some(inside, j)

    if summed:
        cells = [f.cell(load(row)) for row in rows]
        for part in f.range(f["parts"], start=1):
            for cell, row in zip(cells, rows, strict=True):
                cell.value = cell.value + load(row.at(part * f["part_step"]))
        block = turned(f, [cell.value for cell in cells])
    else:
        block = turned(f, [load(row) for row in rows])
    mask = None if full else f.first(f["stored"] - i, lanes)
    for k, column in enumerate(block):
        if mask is None and not by_column:
            place.store(column, (j + k) * f["column_step"])
            continue
        with f.when((j + k).compare("lt", stop)):
            _store(f, column, place, j + k, mask, by_column)


def _store(f: Task, column: Value, place: Pointer, j: Value, mask: Value | None, by_table: bool) -> None:
    at = f.arrays[-1].load(j) if by_table else j * f["column_step"]
    with f.when(at.compare("ge", 0)):
        if mask is None:
            place.store(column, at)
        else:
            place.store_some(mask, column, at)


@cache
def interleaver(kind: str, count: int) -> Routine:
    """target[batch][column j, row i] = source[batch][row i, column j] for so few rows that a vector holds several j."""
    lanes = blocking(kind).lanes

    def write(f: Task) -> None:
        batch, chunk = f.index / f["chunks"], f.index % f["chunks"]
        size = f["columns"] * count
        source, target = f.arrays[0].at(batch * size), f.arrays[1].at(batch * size)
        start = chunk * f["chunk"]
        stop = least(f["columns"], start + f["chunk"])
        for j in f.range(stop, start=start, step=lanes):
            mask = f.first(stop - j, lanes)
            rows = [source.at(i * f["columns"]).load_some(mask, j) for i in range(count)]
            for part in range(count):
                inside = f.first((stop - j) * count - part * lanes, lanes)
                target.store_some(
                    inside, _woven(f, rows, range(part * lanes, (part + 1) * lanes)), j * count + part * lanes
                )

    return Routine(f"interleaved {count}", (kind, kind), ("columns", "chunk", "chunks"), write, explicit=True)


def _woven(f: Task, rows: Sequence[Value], numbers: Sequence[int]) -> Value:
    """The elements, by number, of the columns of some vectors, one column after another."""
    count, lanes = len(rows), len(numbers)
    places = [divmod(n, count) for n in numbers]
    found = rows[0]
    for i in range(count):
        found = f.shuffle(found, rows[i], [
            lanes + place if row == i else k if i else place for k, (place, row) in enumerate(places)
        ])  # fmt: skip
    return found


def bind(routine: Routine, batch: int, rows: int, columns: int, **words: int) -> Bound:
    """A transposer for given sizes. Defaults: rows one after another, nothing repeated, one part."""
    chunks = max(1, -(-columns // CHUNK))
    known = {
        "row_step": columns, "column_step": rows, "source_batch": rows * columns, "target_batch": rows * columns,
        "stored": rows, "panel": 1 << 62, "panel_step": 0, "parts": 1, "part_step": 0,
    } | words  # fmt: skip
    known |= {"rows": rows, "columns": columns, "chunk": CHUNK, "chunks": chunks}
    return routine.bind(batch * chunks, parallel=batch * rows * columns >= PARALLEL, **known)


def aligned(shape: tuple[int, ...], dtype: Any) -> Any:
    """Uninitialised memory that begins on a cache line: vectors of 16 channels then lie on one line each."""
    size = prod(shape)
    memory = plan.empty((size + LINE // dtype.itemsize,), dtype)
    first = -memory.__array_interface__["data"][0] % LINE // dtype.itemsize
    return memory[first : first + size].reshape(shape)


# ---- images ----------------------------------------------------------------------------------------------------------


def is_channels_last(x: Any) -> bool:
    """Whether an array (N, C, *spatial) lies in memory with its channels innermost, without gaps."""
    return bool(x.transpose(0, *range(2, x.ndim), 1).flags.c_contiguous)


def _to_channels_last(kind: str, batch: int, channels: int, places: int) -> Bound:
    if channels > WOVEN:
        return bind(transposer(kind), batch, channels, places)
    chunk = 8 * CHUNK
    chunks = max(1, -(-places // chunk))
    words = {"columns": places, "chunk": chunk, "chunks": chunks}
    return interleaver(kind, channels).bind(batch * chunks, parallel=batch * channels * places >= PARALLEL, **words)


class ChannelsLast:
    """(N, C, *spatial) of a given shape and strides as (N, D, H, W, C): a view, or a copy."""

    __slots__ = ("_bound", "_order", "_shape", "_view")

    def __init__(self, x: Any) -> None:
        spatial = x.shape[2:]
        self._order = (0, *range(2, x.ndim), 1)
        self._shape = (x.shape[0], *(1,) * (3 - len(spatial)), *spatial, x.shape[1])
        self._view = is_channels_last(x)
        self._bound: Bound | None = None
        if not self._view and x.flags.c_contiguous:
            self._bound = _to_channels_last(x.dtype.str[1:], x.shape[0], x.shape[1], prod(spatial))

    def __call__(self, x: Any) -> Any:
        if self._view:
            return x.transpose(self._order).reshape(self._shape)
        out = aligned(self._shape, x.dtype)
        if self._bound is not None:
            self._bound(x, out)
        else:
            copy(out.reshape(x.shape[0], *x.shape[2:], x.shape[1]), x.transpose(self._order))
        return out
