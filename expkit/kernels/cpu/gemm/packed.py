"""The product of two matrices, or of batches of them, with packed operands.

A task computes a tile of C: for each block of k it runs micro-kernels over packed pieces of A and B, A as rows, B as
panels as wide as a micro-kernel's block (Goto and van de Geijn, 2008). A task packs pieces on its stack. Those of large
products that many tiles share are packed first, in tasks of their own, into one array: packing them again for each tile
took a tenth of the time.

Rows of C that lie a multiple of a page apart compete for the same lines of the nearest cache. There the sums over all
blocks of k but the last are kept in a tile of their own, which gives 2 to 5 %; elsewhere it loses up to 3 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.gemm.ahead import Ahead, Piece
from expkit.kernels.cpu.gemm.epilogue import Places, tail
from expkit.kernels.cpu.gemm.microkernel import blocking, microkernel, multiply_pairs
from expkit.kernels.cpu.gemm.pack import Packer
from expkit.kernels.cpu.gemm.tiles import DEPTH, LARGE, SHARING, TALL, WIDE
from expkit.kernels.cpu.loops import plan

PANEL = DEPTH + 1  # rows of a panel of B, for the same reason as:
PAD = 64  # bytes between the rows of A, against lines that share a set of the cache
STRIDES = ("a_row", "a_k", "b_k", "b_column", "c_row")
TILING = ("tile_m", "tile_n", "tiles_m", "tiles_n", "depth", "blocks", "part", "part_step", "tall", "tall_last")
FOLLOW = ("axes", "adds", "finish")  # of the batch; 1 where C is added to; the address of what follows, or 0
WORDS = ("m", "n", "k", "a_way", "b_way", "packs", "of_a", "of_b", "a_room", "apart", *STRIDES, *TILING, *FOLLOW)
PAGE = 4096  # bytes; rows so far apart share their sets in the first level of the cache
ROOM = 1 << 27  # elements that are packed first, at most


@lru_cache(maxsize=64)
def routine(kind: str, *, pairs: bool = False) -> Routine:
    """C (= or +=) A B and what follows: the kernel over (A, B, room, steps, slots, C), see epilogue.py for the latter.
    `of_a` and `of_b` count the pieces of A and B that the room holds for a block of k: all or none. `packs`: 1 to fill
    it, with a task for each piece. pairs: A and B hold pairs of bfloat16 along k."""
    kinds = (kind, kind, kind, *tail(kind))
    return Routine(f"gemm {kind} {'pairs' * pairs}", kinds, WORDS, lambda f: _Tile(f, kind, pairs=pairs).write(),
                   explicit=True)  # fmt: skip


class Product:
    """The calls of one product: call(A, B, slots, C)."""

    __slots__ = ("_calls", "_room", "_steps")

    def __init__(self, kind: str, words: dict[str, int], steps: Any, *, pairs: bool) -> None:
        bind = routine(kind, pairs=pairs).bind
        one = words["tasks"] == words["tiles_m"] * words["tiles_n"]
        large = one and words["m"] * words["n"] * words["k"] >= LARGE and words["k"] * (words["m"] + words["n"]) <= ROOM
        of_a = words["tiles_m"] if large and words["tiles_n"] >= SHARING else 0
        of_b = words["tiles_n"] if large and words["tiles_m"] >= SHARING else 0
        words = {**words, "of_a": of_a, "of_b": of_b, "a_room": _room_of_a(words["tile_m"], kind)}
        words["apart"] = int(words["part"] > 1 and words["c_row"] % PAGE == 0)
        self._room = words["blocks"] * (of_a * words["a_room"] + of_b * words["tile_n"] * PANEL)
        self._steps = steps
        pieces = {**words, "tasks": words["blocks"] * (of_a + of_b)}
        packs = [bind(parallel=True, packs=1, **pieces)] if self._room else []
        self._calls = (*packs, bind(parallel=True, packs=0, **words))

    def __call__(self, a: Any, b: Any, slots: Sequence[Any], c: Any) -> None:
        room = plan.empty((self._room,), c.dtype) if self._room else self._steps
        for call in self._calls:
            call(a, b, room, self._steps, *slots, c)


def _room_of_a(rows: int, kind: str) -> int:
    """Elements of a packed piece of A, with the rows that a turned block writes beyond it."""
    lanes = blocking(kind).lanes
    return -(-rows // lanes) * lanes * (DEPTH + PAD // SIZES[kind])


class _Rows(NamedTuple):
    """Where rows begin, and how many bytes they are apart."""

    place: Pointer
    step: Value


class _Tile:
    """One task."""

    def __init__(self, f: Task, kind: str, *, pairs: bool) -> None:
        self.f, self.blocks = f, blocking(kind)
        size, lanes, self.width = SIZES[kind], self.blocks.lanes, self.blocks.width
        self.lead = DEPTH + PAD // size
        self.a_tile = f.scratch(kind, TALL * self.lead)
        self.b_tile = f.scratch(kind, WIDE // size * PANEL)
        self.sums = _Rows(f.scratch(kind, TALL * (WIDE + PAD) // size), f.constant("i8", WIDE + PAD))
        self.packer = Packer(f.helpers, kind, lanes, self.width)
        self.kernels = [
            microkernel(
                f.helpers, f"block{rows}", rows, self.blocks.vectors, kind, strides=(self.lead * size, size),
                segmented=False, apart=True, multiply=multiply_pairs if pairs else Value.fma,
            )
            for rows in self.blocks.heights
        ]  # fmt: skip

    def write(self) -> None:
        for packs in self.f.either(self.f["packs"].compare("ne", 0)):
            if packs:
                self._pack_piece()
            else:
                self._compute()

    def _compute(self) -> None:
        """A tile of C."""
        f = self.f
        i, tile = f.index % f["tiles_m"], f.index / f["tiles_m"]
        j, batch = tile % f["tiles_n"], tile / f["tiles_n"]
        places = Places(f, batch)
        shared_a, shared_b = f["of_a"].compare("gt", 0), f["of_b"].compare("gt", 0)
        start = batch * f["part_step"]
        stop = least(f["blocks"], start + f["part"])
        for q in f.range(stop, start=start):
            with f.when(shared_a ^ 1):
                self._pack_a(places.a, i, q, self.a_tile)
            with f.when(shared_b ^ 1):
                self._pack_b(places.b, j, q, self.b_tile)
            pieces = (
                _choose(shared_a, self._a_room(i, q), self.a_tile), _choose(shared_b, self._b_room(j, q), self.b_tile)
            )  # fmt: skip
            self._multiply(*pieces, places, (i, j, q), (start, stop))

    def _pack_piece(self) -> None:
        """One piece of A or B, for all tiles."""
        f = self.f
        a, b = f.arrays[:2]
        q, piece = f.index % f["blocks"], f.index / f["blocks"]
        j = piece - f["of_a"]
        for first in f.either(j.compare("lt", 0)):
            if first:
                self._pack_a(a, piece, q, self._a_room(piece, q))
            else:
                self._pack_b(b, j, q, self._b_room(j, q))

    def _a_room(self, i: Value, q: Value) -> Pointer:
        f = self.f
        return f.arrays[2].at((q * f["of_a"] + i) * f["a_room"])

    def _b_room(self, j: Value, q: Value) -> Pointer:
        f = self.f
        before = f["blocks"] * f["of_a"] * f["a_room"]
        return f.arrays[2].at(before + (q * f["tiles_n"] + j) * f["tile_n"] * PANEL)

    def _size(self, extent: str, i: Value) -> Value:
        """How many rows or columns of C a tile has."""
        f = self.f
        return least(f[extent] - i * f[f"tile_{extent}"], f[f"tile_{extent}"])

    def _depth(self, q: Value) -> Value:
        return least(self.f["k"] - q * self.f["depth"], self.f["depth"])

    def _piece_of_a(self, a: Pointer, i: Value, q: Value) -> Piece:
        f = self.f
        place = a.move(i * f["tile_m"] * f["a_row"] + q * f["depth"] * f["a_k"])
        return Piece(place, f["a_way"], (self._size("m", i), self._depth(q)), (f["a_row"], f["a_k"]))

    def _piece_of_b(self, b: Pointer, j: Value, q: Value) -> Piece:
        f = self.f
        place = b.move(j * f["tile_n"] * f["b_column"] + q * f["depth"] * f["b_k"])
        return Piece(place, f["b_way"], (self._depth(q), self._size("n", j)), (f["b_k"], f["b_column"]))

    def _pack_a(self, a: Pointer, i: Value, q: Value, target: Pointer) -> None:
        piece = self._piece_of_a(a, i, q)
        self.packer.run(self.f, piece.way, piece.place, target, self.lead, piece.steps, piece.sizes)

    def _pack_b(self, b: Pointer, j: Value, q: Value, target: Pointer) -> None:
        piece = self._piece_of_b(b, j, q)
        self.packer.panels(self.f, piece.way, piece.place, target, PANEL, piece.steps, piece.sizes)

    def _next(self, places: Places, i: Value, j: Value, q: Value) -> list[Ahead]:
        """What is packed for a tile's next block, unless that has been done, as so many kernels run."""
        f = self.f
        panels = (self._size("n", j) + (self.width - 1)) / self.width
        calls = (self._size("m", i) / self.blocks.heights[0] + 1) * panels
        a, b = self._piece_of_a(places.a, i, q), self._piece_of_b(places.b, j, q)
        return [Ahead(f, piece, calls, f[shared].compare("gt", 0)) for piece, shared in ((a, "of_a"), (b, "of_b"))]

    def _multiply(
        self, a: Pointer, b: Pointer, places: Places, tile: tuple[Value, ...], all_k: tuple[Value, ...]
    ) -> None:
        """The packed pieces' product: tall blocks first, then lower ones for the rows that are left."""
        f = self.f
        (i, j, q), (start, stop) = tile, all_k
        rows, columns, depth = self._size("m", i), self._size("n", j), self._depth(q)
        top, left = i * f["tile_m"], j * f["tile_n"]
        tall = (i + 1).compare("eq", f["tiles_m"]).select(f["tall_last"], f["tall"])
        first, last = q.compare("eq", start), (q + 1).compare("eq", stop)
        later = (first ^ 1).to("i8") | f["adds"]
        c = _Rows(places.c.move(top * f["c_row"]).at(left), f["c_row"])
        old, new = self._place_of_sums(c, first), self._place_of_sums(c, last)
        aside, aside_step = _address(old.place) - _address(new.place), old.step - new.step
        ahead = self._next(places, i, j, q + 1)
        base = f.constant("i8", 0)
        for height, kernel in zip(self.blocks.heights, self.kernels, strict=True):
            count = tall if height == self.blocks.heights[0] else (rows - base) / height
            for block in f.range(count):
                row = base + block * height
                line, target = a.at(row * self.lead), new.place.move(row * new.step)
                old_row = aside + row * aside_step
                for at in f.range(columns, step=self.width):
                    for ends in f.either(last):
                        if ends:
                            places.bring_near(top + row, left + at, height, least(columns - at, self.width))
                            continue
                        for piece in ahead:
                            piece.go_on()
                    f.run(kernel, line, b.at(at * PANEL), target.at(at), new.step, depth, columns - at, later,
                          old_row, old.step)  # fmt: skip
                with f.when(last):
                    places.finish(top + row, left, height, columns)
            base = base + count * height

    def _place_of_sums(self, c: _Rows, end: Value) -> _Rows:
        """C at the first and the last block, or everywhere; else the tile for sums."""
        elsewhere = self.f["apart"].compare("ne", 0) & (end ^ 1)
        return _Rows(_choose(elsewhere, self.sums.place, c.place), elsewhere.select(self.sums.step, c.step))


def _address(place: Pointer) -> Value:
    return place.block.put("i8", f"ptrtoint {place!r} to i64")


def _choose(condition: Value, yes: Pointer, no: Pointer) -> Pointer:
    block = condition.block
    return Pointer(block, yes.kind, block.put("i8", f"select {condition!r}, {yes!r}, {no!r}").name)
