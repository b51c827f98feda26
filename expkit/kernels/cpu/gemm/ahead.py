"""Pieces of matrices that are packed next, brought near while the present ones are multiplied.

Packing waits for memory: its rows are short and far apart, so that the CPU's own prefetching begins anew with each.
"""

from __future__ import annotations

from typing import NamedTuple

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Task
from expkit.kernels.cpu.gemm.pack import SCATTERED, STRAIGHT

LINE = 64  # bytes of a line of the cache
ONE = 1 << 16  # shares of a row that are counted


class Piece(NamedTuple):
    """Where a piece of a matrix lies, how it is packed, its extents and steps in bytes."""

    place: Pointer
    way: Value
    sizes: tuple[Value, Value]
    steps: tuple[Value, Value]


class Ahead:
    """Rows of memory that are brought into the second level of the cache, in equal shares at each of `calls` steps.
    None where `skip` is true, and none of scattered pieces."""

    def __init__(self, f: Task, piece: Piece, calls: Value, skip: Value) -> None:
        straight = piece.way.compare("eq", STRAIGHT)
        (rows, columns), (row, column) = piece.sizes, piece.steps
        self.f, self.place = f, piece.place
        self.step, self.length = straight.select(row, column), straight.select(columns, rows) * SIZES[piece.place.kind]
        self.count = (skip | piece.way.compare("eq", SCATTERED)).select(0, straight.select(rows, columns))
        self.share = (self.count * ONE) / calls + 1
        self.done = f.cell(f.constant("i8", 0))

    def go_on(self) -> None:
        """One share."""
        f, start = self.f, self.done.value
        stop = start + self.share
        self.done.value = stop
        for r in f.range(least(stop / ONE, self.count), start=start / ONE):
            row = self.place.move(r * self.step)
            for at in f.range(self.length, step=LINE):
                row.move(at).prefetch(locality=2)
