"""Triangles of matrices: row by row, the columns that stay are copied and the others zeroed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from expkit.kernels.cpu.arrays.copy import KINDS, SERIAL, TASK
from expkit.kernels.cpu.code.builder import least
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.call import Bound


@lru_cache(maxsize=16)
def triangles(kind: str, lower: bool) -> Routine:
    """x -> result, (matrices, rows, columns), dense."""

    def write(f: Task) -> None:
        x, out = f.arrays
        none, columns = f.constant("i8", 0), f["columns"]
        start = f.index * f["group"]
        for row in f.range(least(start + f["group"], f["matrices"] * f["rows"]), start):
            edge = row % f["rows"] + f["diagonal"] + int(lower)  # the first column behind the triangle, or in it
            edge = edge.compare("lt", 0).select(none, least(edge, columns))
            kept, gone = ((none, edge), (edge, columns)) if lower else ((edge, columns), (none, edge))
            at = row * columns
            for i in f.range(kept[1], kept[0]):
                out.at(at).store(x.at(at).load(i), i)
            for i in f.range(gone[1], gone[0]):
                out.at(at).store(f.constant(kind, 0), i)

    return Routine(f"triangle {lower}", (kind, kind), ("matrices", "rows", "columns", "diagonal", "group"), write)


@lru_cache(maxsize=256)
def _bound(shape: tuple[int, ...], size: int, diagonal: int, lower: bool) -> Bound:
    *batch, rows, columns = shape
    matrices = 1
    for n in batch:
        matrices *= n
    group = max(1, TASK // (columns * size))
    words = {"matrices": matrices, "rows": rows, "columns": columns, "diagonal": diagonal, "group": group}
    parallel = matrices * rows * columns * size >= SERIAL
    return triangles(KINDS[size], lower).bind(-(-matrices * rows // group), parallel=parallel, **words)


def triangle(x: Any, diagonal: int, lower: bool) -> Any:
    """The lower (upper) triangles of a dense array of matrices that is not empty; elements of 1, 2, 4 or 8 bytes."""
    out = plan.empty(x.shape, x.dtype)
    _bound(x.shape, x.itemsize, diagonal, lower)(x, out)
    return out
