"""Copies of a piece of a matrix into the order in which micro-kernels read it.

A source is rows of adjacent elements, which stay rows (straight), or columns of adjacent elements (turned), or elements
at any distance (scattered). What is written beyond the piece, up to whole vectors, is unspecified; nothing is read
beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence

from expkit.kernels.cpu.code.builder import Function, Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value

STRAIGHT, TURNED, SCATTERED = range(3)
STEPS = dict.fromkeys(
    ("lead", "row", "column", "rows", "columns"), "i8"
)  # the target's, the source's in bytes; extents


def way_of(shape: Sequence[int], strides: Sequence[int], size: int) -> int:
    """How a matrix is packed, by the steps between its elements; those between rows do not count where there is one."""
    if strides[1] == size or shape[1] == 1:
        return STRAIGHT
    return TURNED if strides[0] == size or shape[0] == 1 else SCATTERED


class Packer:
    """Writes source[rows, columns] to target, rows `lead` elements apart: straight in whole vectors, turned in blocks
    of lanes x lanes. Or into panels of `width` columns, `lead` rows of a panel apart."""

    def __init__(self, helpers: list[Function], kind: str, lanes: int, width: int) -> None:
        self.kind, self.lanes, self.width = kind, lanes, width
        self._functions: list[Function] = []
        for way, write in enumerate((self._straight, self._turned, self._scattered)):
            f = Function(f"pack{way}", source=f"*{kind}", target=f"*{kind}", **STEPS)
            f.attributes = "noinline"
            write(f, f.pointer("source"), f.pointer("target"))
            self._functions.append(f)
        self._across = Function("packacross", source=f"*{kind}", target=f"*{kind}", **STEPS)
        self._across.attributes = "noinline"
        self._spread(self._across, self._across.pointer("source"), self._across.pointer("target"))
        helpers.extend((*self._functions, self._across))

    def run(
        self, f: Function, way: Value, source: Pointer, target: Pointer, lead: int, steps: tuple[Value, Value],
        sizes: tuple[Value, Value],
    ) -> None:  # fmt: skip
        """Packs within f, in the way that the matrix has."""
        for code, function in enumerate(self._functions):
            with f.when(way.compare("eq", code)):
                f.run(function, source, target, f.constant("i8", lead), *steps, *sizes)

    def panels(
        self, f: Function, way: Value, source: Pointer, target: Pointer, lead: int, steps: tuple[Value, Value],
        sizes: tuple[Value, Value],
    ) -> None:  # fmt: skip
        """Packs into panels: straight rows at full length, as they follow each other in memory."""
        for straight in f.either(way.compare("eq", STRAIGHT)):
            if straight:
                f.run(self._across, source, target, f.constant("i8", lead), *steps, *sizes)
                continue
            rows, columns = sizes
            for c in f.range(columns, step=self.width):
                some = rows, least(columns - c, self.width)
                self.run(f, way, source.move(c * steps[1]), target.at(c * lead), self.width, steps, some)

    def _spread(self, f: Function, source: Pointer, target: Pointer) -> None:
        lanes, columns = self.lanes, f["columns"]
        whole = columns - columns % self.width
        for r in f.range(f["rows"]):
            x, y = source.move(r * f["row"]), target.at(r * self.width)
            for c in f.range(whole, step=self.width):
                for v in range(0, self.width, lanes):
                    y.at(c * f["lead"]).store(x.load(c + v, lanes), v)
            for c in f.range(columns, start=whole, step=lanes):
                mask = f.first(columns - c, lanes)
                y.at(whole * f["lead"]).store(x.load_some(mask, c), c - whole)

    def _straight(self, f: Function, source: Pointer, target: Pointer) -> None:
        columns, lanes = f["columns"], self.lanes
        whole = columns & -lanes
        mask = f.first(columns - whole, lanes)
        for r in f.range(f["rows"]):
            x, y = source.move(r * f["row"]), target.at(r * f["lead"])
            for c in f.range(whole, step=lanes):
                y.store(x.load(c, lanes), c)
            with f.when(whole.compare("lt", columns)):
                y.store(x.load_some(mask, whole), whole)

    def _turned(self, f: Function, source: Pointer, target: Pointer) -> None:
        lanes, size = self.lanes, SIZES[self.kind]
        for c in f.range(f["columns"], step=lanes):
            for r in f.range(f["rows"], step=lanes):
                x, y = source.move(c * f["column"] + r * size), target.at(r * f["lead"] + c)
                rows, columns = f["rows"] - r, f["columns"] - c
                for whole in f.either(least(rows, columns).compare("ge", lanes)):
                    block = []
                    for i in range(lanes):
                        place = x.move(f["column"] * i)
                        there = None if whole else f.first(columns.compare("gt", i).select(rows, 0), lanes)
                        block.append(place.load_some(there) if there else place.load(lanes=lanes))
                    for i, row in enumerate(transposed(f, block)):
                        y.at(i * f["lead"]).store(row)

    def _scattered(self, f: Function, source: Pointer, target: Pointer) -> None:
        for r in f.range(f["rows"]):
            for c in f.range(f["columns"]):
                target.store(source.move(r * f["row"] + c * f["column"]).load(), r * f["lead"] + c)


def transposed(f: Function, block: list[Value]) -> list[Value]:
    """The columns of a square block given as its rows: parts of growing size are exchanged (Eklundh, 1972)."""
    block, lanes, size = list(block), len(block), 1
    while size < lanes:
        low = [j if not j & size else lanes + j - size for j in range(lanes)]
        high = [j + size if not j & size else lanes + j for j in range(lanes)]
        for i in range(lanes):
            if not i & size:
                a, b = block[i], block[i + size]
                block[i], block[i + size] = f.shuffle(a, b, low), f.shuffle(a, b, high)
        size *= 2
    return block
