"""The product of two matrices, or of batches of them, with packed operands.

A task computes a tile of C. For each block of k it packs the pieces of A and B that belong to it onto its stack, A as
rows, B as panels as wide as a micro-kernel's block, and runs micro-kernels over them (Goto and van de Geijn, 2008).
Every task packs for itself: that costs a few per cent, and needs no memory and no meeting of threads.
"""

from __future__ import annotations

from functools import lru_cache

from expkit.kernels.cpu.builder import Function, Pointer, least
from expkit.kernels.cpu.elementwise import emit
from expkit.kernels.cpu.gemm.microkernel import blocking, microkernel
from expkit.kernels.cpu.gemm.pack import Packer
from expkit.kernels.cpu.gemm.tiles import DEPTH, TALL, WIDE
from expkit.kernels.cpu.ir import SIZES, Value
from expkit.kernels.cpu.routine import Routine, Task

PAD = 64  # bytes between the rows of A, against lines that share a set of the cache
STRIDES = ("a_row", "a_k", "b_k", "b_column", "c_row")
TILING = ("tile_m", "tile_n", "tiles_m", "tiles_n", "depth", "tall", "tall_last")
BATCH = ("batch", *(f"{x}_{axis}" for x in "abc" for axis in ("inner", "outer")))  # inner extent; steps of two axes
WORDS = ("m", "n", "k", "a_way", "b_way", "biased", *STRIDES, *TILING, *BATCH)


@lru_cache(maxsize=64)
def routine(kind: str, activation: str = "") -> Routine:
    """C = activation(A B + bias): the kernel over (A, B, bias, C); the bias is not looked at unless `biased` is 1."""
    return Routine(
        f"gemm {kind} {activation}", (kind,) * 4, WORDS, lambda f: _Tile(f, kind, activation).write(), explicit=True
    )


def batched(f: Task, batch: Value) -> list[Pointer]:
    """A, B and C of one product of the batch, among a task's arrays (A, B, ..., C)."""
    inner, outer = batch % f["batch"], batch / f["batch"]
    whole = zip("abc", (f.arrays[0], f.arrays[1], f.arrays[-1]), strict=True)
    return [x.move(inner * f[f"{name}_inner"] + outer * f[f"{name}_outer"]) for name, x in whole]


class _Tile:
    """One task."""

    def __init__(self, f: Task, kind: str, activation: str) -> None:
        self.f, self.activation, self.blocks = f, activation, blocking(kind)
        size, lanes, self.width = SIZES[kind], self.blocks.lanes, self.blocks.width
        self.lead = DEPTH + PAD // size
        self.a_tile = f.scratch(kind, TALL * self.lead)
        self.b_tile = f.scratch(kind, WIDE // size * DEPTH)
        self.bias = f.scratch(kind, WIDE // size)
        self.packer = Packer(f.helpers, kind, lanes)
        self.kernels = [
            microkernel(
                f.helpers, f"block{rows}", rows, self.blocks.vectors, kind, strides=(self.lead * size, size),
                segmented=False, finish=self._finish, extra={"bias": f"*{kind}"},
            )
            for rows in self.blocks.heights
        ]  # fmt: skip

    def write(self) -> None:
        f = self.f
        i, tile = f.index % f["tiles_m"], f.index / f["tiles_m"]
        j, batch = tile % f["tiles_n"], tile / f["tiles_n"]
        a, b, c = batched(f, batch)
        top, left = i * f["tile_m"], j * f["tile_n"]
        rows, columns = least(f["m"] - top, f["tile_m"]), least(f["n"] - left, f["tile_n"])
        a, b = a.move(top * f["a_row"]), b.move(left * f["b_column"])
        c = c.move(top * f["c_row"]).at(left)
        tall = (i + 1).compare("eq", f["tiles_m"]).select(f["tall_last"], f["tall"])
        self._copy_bias(f.arrays[2].at(left), columns)
        for p in f.range(f["k"], step=f["depth"]):
            depth = least(f["k"] - p, f["depth"])
            self._pack(a.move(p * f["a_k"]), b.move(p * f["b_k"]), rows, columns, depth)
            self._multiply(c, rows, columns, depth, tall, p)

    def _pack(self, a: Pointer, b: Pointer, rows: Value, columns: Value, depth: Value) -> None:
        f = self.f
        self.packer.run(f, f["a_way"], a, self.a_tile, self.lead, (f["a_row"], f["a_k"]), (rows, depth))
        for j in f.range(columns, step=self.width):
            panel, target = b.move(j * f["b_column"]), self.b_tile.at(j * DEPTH)
            steps, sizes = (f["b_k"], f["b_column"]), (depth, least(columns - j, self.width))
            self.packer.run(f, f["b_way"], panel, target, self.width, steps, sizes)

    def _multiply(self, c: Pointer, rows: Value, columns: Value, depth: Value, tall: Value, p: Value) -> None:
        """The packed pieces' product: tall blocks first, then lower ones for the rows that are left."""
        f = self.f
        later = p.compare("gt", 0).to("i8")
        last = (p + depth).compare("ge", f["k"]).to("i8") & self._finishes
        base = f.constant("i8", 0)
        for height, kernel in zip(self.blocks.heights, self.kernels, strict=True):
            count = tall if height == self.blocks.heights[0] else (rows - base) / height
            for block in f.range(count):
                row = base + block * height
                a, target = self.a_tile.at(row * self.lead), c.move(row * f["c_row"])
                for j in f.range(columns, step=self.width):
                    place = a, self.b_tile.at(j * DEPTH), target.at(j), f["c_row"]
                    f.run(kernel, *place, depth, columns - j, later, last, self.bias.at(j))
            base = base + count * height

    @property
    def _finishes(self) -> Value | int:
        """1 where something follows the product."""
        return 1 if self.activation else self.f["biased"]

    def _copy_bias(self, bias: Pointer, columns: Value) -> None:
        """The tile's part, or zeros, so that kernels may read whole vectors."""
        f, lanes = self.f, self.blocks.lanes
        for j in f.range(columns, step=lanes):
            there = f["biased"].compare("ne", 0).select(columns - j, 0)
            self.bias.store(bias.load_some(f.first(there, lanes), j), j)

    def _finish(self, f: Function, _row: int, vector: int, value: Value) -> Value:
        lanes = self.blocks.lanes
        value = value + f.pointer("bias").load(vector * lanes, lanes)
        return emit(self.activation, [value], {}) if self.activation else value
