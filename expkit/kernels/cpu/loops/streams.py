"""Elementwise code for results that no cache holds: stores that go past the caches.

An ordinary store first reads the line that it will overwrite, a quarter of the traffic of an addition. Non-temporal
stores do not, but need whole aligned vectors: the row runs element by element up to an aligned place of the output,
then vector by vector, then element by element again.
"""

from __future__ import annotations

from expkit.kernels.cpu.code.ir import SIZES, Value, type_of, vector_of
from expkit.kernels.cpu.loops.rows import LINE, SCALAR, Rows


class Streams(Rows):
    """An elementwise program with one dense output of four or eight bytes; its operands are dense or scalars."""

    END = "  fence seq_cst\n"  # such stores are ordered with nothing else
    lanes = 1

    def _loops(self, cells, writing, phase: int) -> None:
        b, size = self.block, SIZES[self._operand_kind(self._slot(0))]
        lanes = LINE // size
        at, n = b.put("i8", f"ptrtoint ptr %p{self._slot(0)} to i64"), Value(b, "i8", "%n")
        head = Value(b, "i8", self._unaligned())
        whole = (at & (size - 1)).compare("eq", 0).select((n - head) & -lanes, 0)
        self._over("head", Value(b, "i8", "0"), head, 1, writing)
        self._over("body", head, head + whole, lanes, writing)
        self._over("rest", head + whole, n, 1, writing)

    def _over(self, name: str, start: Value, stop: Value, lanes: int, writing) -> None:
        """A loop by `lanes` elements."""
        b = self.block
        self.lanes = lanes
        b.write(f"  br label %{name}.in\n{name}.in:\n  br label %{name}\n{name}:")
        b.write(f"  %{name}.i = phi i64 [ {start.name}, %{name}.in ], [ %{name}.next, %{name}.go ]")
        b.write(f"  %{name}.c = icmp slt i64 %{name}.i, {stop.name}")
        b.write(f"  br i1 %{name}.c, label %{name}.go, label %{name}.out\n{name}.go:")
        cache: dict[int, Value] = {}
        for slot, value in writing:
            x = self._full(value, f"%{name}.i", None, cache)
            self._store(slot, x, self._pointer(self._slot(slot), f"%{name}.i"))
        b.write(f"  %{name}.next = add nuw nsw i64 %{name}.i, {lanes}\n  br label %{name}\n{name}.out:")
        self.lanes = 1

    def _load(self, operand: int, i: str, offsets: dict[int, str] | None) -> Value:
        if self.lanes == 1:
            return super()._load(operand, i, offsets)
        kind, b = self.program.inputs[operand], self.block
        wide = vector_of(kind, self.lanes)
        if self.moves[operand] == SCALAR:
            x = super()._load(operand, i, offsets)
            one = b.put(wide, f"insertelement {type_of(wide)} poison, {x!r}, i64 0")
            return b.put(wide, f"shufflevector {one!r}, {one!r}, <{self.lanes} x i32> zeroinitializer")
        pointer = self._pointer(operand, i, offsets)
        if kind == "b1":
            return b.put(f"u1x{self.lanes}", f"load <{self.lanes} x i8>, ptr {pointer}, align 1").to("b1")
        return b.put(wide, f"load {type_of(wide)}, ptr {pointer}, align 1")

    def _store(self, slot: int, x: Value, pointer: str) -> None:
        if self.lanes == 1:
            super()._store(slot, x, pointer)
        else:
            self.block.write(f"  store {x!r}, ptr {pointer}, align {LINE}, !nontemporal !4")
