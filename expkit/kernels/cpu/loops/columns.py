"""Code for reductions over axes that are not innermost: a tile of the output is the accumulator."""

from __future__ import annotations

from expkit.kernels.cpu.code.ir import TYPES
from expkit.kernels.cpu.loops.accumulate import combine, identity
from expkit.kernels.cpu.loops.rows import Rows

UNROLL = 8  # reduced places that one look at the accumulator takes in


class Columns(Rows):
    """One reduction over axes that are not innermost: a tile of the output is the accumulator, in the nearest cache."""

    _light = False  # wide vectors: the accumulator makes two more accesses

    def _body(self) -> None:
        (output,) = self.program.outputs
        step, kind, slot = self._step(output), self._kind(output), self._slot(0)

        def fill(i: str) -> None:
            self._store(0, identity(self.block, step.name, kind), self._pointer(slot, i))

        def add(i: str, places: list[dict[int, str]]) -> None:
            pointer = self._pointer(slot, i)
            total = self.block.put(kind, f"load {TYPES[kind]}, ptr {pointer}, align 1")
            xs = [self._full(step.refs[0], i, offsets, {}) for offsets in places]
            self._store(0, combine(step.name, total, xs), pointer)

        self._columns("fill", fill)
        before = "fill.done"
        for name, count in (("many", UNROLL), ("one", 1)):
            start = "0" if name == "many" else "%many.m"
            before = self._over(name, before, start, count, add)

    def _over(self, name: str, before: str, start: str, count: int, add) -> str:
        """`count` reduced places at once, as long as there are as many; the label where control goes on."""
        b = self.block
        b.write(f"  br label %{name}\n{name}:")
        b.write(f"  %{name}.m = phi i64 [ {start}, %{before} ], [ %{name}.m.next, %{name}.add.done ]")
        b.write(f"  %{name}.m.next = add nuw nsw i64 %{name}.m, {count}")
        b.write(f"  %{name}.go = icmp sle i64 %{name}.m.next, %middle")
        b.write(f"  br i1 %{name}.go, label %{name}.body, label %{name}.out\n{name}.body:")
        indices = [b.put("i8", f"add i64 %{name}.m, {k}").name for k in range(count)]
        places = [self._middle_offsets(m) for m in indices]
        self._columns(f"{name}.add", lambda i: add(i, places))
        b.write(f"  br label %{name}\n{name}.out:")
        return f"{name}.out"

    def _columns(self, name: str, body) -> None:
        """A loop along the columns."""
        b = self.block
        b.write(f"  br label %{name}.start\n{name}.start:\n  br label %{name}.loop\n{name}.loop:")
        b.write(f"  %{name}.i = phi i64 [ 0, %{name}.start ], [ %{name}.next, %{name}.loop ]")
        body(f"%{name}.i")
        b.write(f"  %{name}.next = add nuw nsw i64 %{name}.i, 1")
        b.write(f"  %{name}.c = icmp slt i64 %{name}.next, %n")
        b.write(f"  br i1 %{name}.c, label %{name}.loop, label %{name}.done, !llvm.loop !0\n{name}.done:")
