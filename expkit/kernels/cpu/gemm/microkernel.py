"""The innermost kernel of products and convolutions: a block of the result that stays in registers.

    C[rows, width] (= or +=) sum over s < segments of A_s[rows, k] @ B_s[k, width],   width = vectors * lanes

One step of k broadcasts an element of each row of A and multiplies it with `vectors` vectors of B (the register
blocking of Goto and van de Geijn, 2008). With one segment this is a product of matrices, with one segment for each
place of a filter it is a direct convolution. A lies anywhere; B is packed: for each segment k times `width` elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from expkit.kernels.cpu.code.builder import Function, Pointer
from expkit.kernels.cpu.code.ir import SIZES, Value, lanes_of, type_of
from expkit.kernels.cpu.machine import llvm

Finish = Callable[[Function, int, int, Value], Value]  # (function, row, vector, accumulator) -> what is written
Multiply = Callable[[Value, Value, Value], Value]
CHAINS = 8  # additions under way at once that hide an addition's latency
UNROLL = 2  # steps of k written out


class Blocking(NamedTuple):
    """How a CPU's registers are used: the rows that kernels come in, tallest first, vectors in a row, and lanes."""

    heights: tuple[int, ...]
    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        return self.vectors * self.lanes


def blocking(kind: str) -> Blocking:
    """The blocks for the CPU at hand and elements of a kind ("f4" or "f8")."""
    per_byte = SIZES[kind]
    if llvm.has("avx512f"):
        return Blocking((14, 8, 4, 1), 2, 64 // per_byte)
    if llvm.has("avx2"):
        return Blocking((6, 4, 1), 2, 32 // per_byte)
    return Blocking((4, 2, 1), 2, 16 // per_byte)


def microkernel(
    helpers: list[Function], name: str, rows: int, vectors: int, kind: str, *, lanes: int = 0,
    strides: tuple[int, int] | None = None, segmented: bool = True, finish: Finish | None = None,
    extra: Mapping[str, str] | None = None, multiply: Multiply = Value.fma, apart: bool = False,
) -> Function:  # fmt: skip
    """Writes one kernel and adds it to a module's `helpers` (Task.helpers). Its arguments, in this order:

        ptr a [, i64 a_row, i64 a_k], ptr b, ptr c, i64 c_row, i64 k [, i64 segments, ptr offsets],
        i64 columns, i64 accumulate [, i64 old, i64 old_row] [, i64 last, extra...]

    Element A_s[r, p] lies at a + offsets[s] + r * a_row + p * a_k, element C[r, j] at c + r * c_row + j elements; all
    steps in bytes. Only the first `columns` (1 to width) of a row are written, or read where `accumulate` is not 0.
    strides: (a_row, a_k) as constants, which are then no arguments.
    segmented: False for one segment; `segments` and `offsets` (a pointer to i8 numbers) are then no arguments.
    finish: computes what is written from an accumulator, C's old value included, where `last` is not 0. It gets the
        kernel, the row and the vector within the block; `extra` (name -> kind, "*kind" for pointers) are further
        arguments of the kernel for it, e.g. a bias.
    multiply: (element of A everywhere, vector of B, accumulator) -> accumulator.
    apart: what is accumulated to is not C's own: it lies `old` bytes from c, its rows `old_row` bytes apart.
    """
    lanes = lanes or blocking(kind).lanes
    arguments = {"a": f"*{kind}"}
    arguments |= {} if strides else {"a_row": "i8", "a_k": "i8"}
    arguments |= {"b": f"*{kind}", "c": f"*{kind}", "c_row": "i8", "k": "i8"}
    arguments |= {"segments": "i8", "offsets": "*i8"} if segmented else {}
    arguments |= {"columns": "i8", "accumulate": "i8"}
    arguments |= {"old": "i8", "old_row": "i8"} if apart else {}
    arguments |= {"last": "i8", **(extra or {})} if finish else {}
    f = Function(name, **arguments)
    f.attributes = "noinline"  # each has one or two callers, into which LLVM would copy it
    helpers.append(f)
    block = _Accumulators(f, rows, vectors, lanes, kind, multiply)
    steps = strides or (f["a_row"], f["a_k"])
    if segmented:
        for s in f.range(f["segments"]):
            a = f.pointer("a").move(f.pointer("offsets").load(s))
            block.multiply(a, steps, f.pointer("b").at(s * f["k"] * (vectors * lanes)))
    else:
        block.multiply(f.pointer("a"), steps, f.pointer("b"))
    c = f.pointer("c")
    block.write(finish, (c.move(f["old"]), f["old_row"]) if apart else (c, f["c_row"]))
    return f


class _Accumulators:
    """The block of C: one variable for each vector, several where there are too few to hide the latency."""

    def __init__(self, f: Function, rows: int, vectors: int, lanes: int, kind: str, multiply: Multiply) -> None:
        self.f, self.rows, self.vectors, self.lanes, self.product = f, rows, vectors, lanes, multiply
        self.masks = [f.first(f["columns"] - v * lanes, lanes) for v in range(vectors)]
        self.b_step = vectors * lanes * SIZES[kind]
        self.sets = max(1, min(UNROLL, CHAINS // (rows * vectors)))
        self.places = [(r, v) for r in range(rows) for v in range(vectors)]
        zero = f.splat(0.0, lanes, kind)
        self.cells = [[f.cell(zero) for _ in self.places] for _ in range(self.sets)]
        for r, v in self.places:
            self._place(r, v).prefetch(write=True)

    def multiply(self, a: Pointer, steps: tuple[Value | int, Value | int], b: Pointer) -> None:
        """Adds one segment's product."""
        whole = self.f["k"] & -UNROLL
        for p in self.f.range(whole, step=UNROLL):
            self._steps(a, steps, b, p, UNROLL)
        for p in self.f.range(self.f["k"], start=whole):
            self._steps(a, steps, b, p, 1)

    def _steps(self, a: Pointer, steps: tuple[Value | int, Value | int], b: Pointer, p: Value, count: int) -> None:
        sums = [[cell.value for cell in cells] for cells in self.cells]
        a, b = a.move(p * steps[1]), b.move(p * self.b_step)
        for u in range(count):
            row = [b.load(v * self.lanes, self.lanes) for v in range(self.vectors)]
            some = sums[u % self.sets]
            for r in range(self.rows):
                x = self.f.splat(a.move(_times(steps[0], r)).load(), self.lanes)
                for v in range(self.vectors):
                    some[r * self.vectors + v] = self.product(x, row[v], some[r * self.vectors + v])
            a, b = a.move(steps[1]), b.move(self.b_step)
        for cells, some in zip(self.cells, sums, strict=True):
            for cell, value in zip(cells, some, strict=True):
                cell.value = value

    def write(self, finish: Finish | None, old: tuple[Pointer, Value]) -> None:
        """C from the accumulators; `old`: where its old values lie, and how far apart their rows."""
        f = self.f
        for extra in self.cells[1:]:
            for cell, other in zip(self.cells[0], extra, strict=True):
                cell.value = cell.value + other.value
        whole = f["columns"].compare("ge", self.vectors * self.lanes)
        for full in f.either(whole):
            masks = None if full else self.masks
            with f.when(f["accumulate"].compare("ne", 0)):
                for cell, (r, v) in zip(self.cells[0], self.places, strict=True):
                    cell.value = cell.value + self._load(*old, r, v, masks)
            if finish:
                with f.when(f["last"].compare("ne", 0)):
                    for cell, (r, v) in zip(self.cells[0], self.places, strict=True):
                        cell.value = finish(f, r, v, cell.value)
            for cell, (r, v) in zip(self.cells[0], self.places, strict=True):
                self._store(cell.value, r, v, masks)

    def _place(self, r: int, v: int) -> Pointer:
        return self.f.pointer("c").move(_times(self.f["c_row"], r)).at(v * self.lanes)

    def _load(self, old: Pointer, row: Value, r: int, v: int, masks: list[Value] | None) -> Value:
        place = old.move(_times(row, r)).at(v * self.lanes)
        return place.load_some(masks[v]) if masks else place.load(lanes=self.lanes)

    def _store(self, x: Value, r: int, v: int, masks: list[Value] | None) -> None:
        place = self._place(r, v)
        if masks:
            place.store_some(masks[v], x)
        else:
            place.store(x)


def _times(step: Value | int, count: int) -> Value | int:
    return step if count == 1 else step * count if count else 0


def has_pairs() -> bool:
    """Whether `multiply_pairs` runs here."""
    return llvm.has("avx512bf16")


def multiply_pairs(x: Value, y: Value, plus: Value) -> Value:
    """plus + the products of pairs of bfloat16, which float32 lanes hold the bits of: two steps of k in one."""
    block, pairs = plus.block, f"<{2 * lanes_of(plus.kind)} x bfloat>"
    kind, name = type_of(plus.kind), "llvm.x86.avx512bf16.dpbf16ps.512"
    block.calls[name] = f"declare {kind} @{name}({kind}, {pairs}, {pairs})"
    x, y = (block.put(plus.kind, f"bitcast {v!r} to {pairs}") for v in (x, y))
    return block.put(plus.kind, f"call {kind} @{name}({plus!r}, {pairs} {x.name}, {pairs} {y.name})")
