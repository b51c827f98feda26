"""Code for a program over rows: outer axes, axes that are reduced, and one innermost axis that the loops run along.

    task(table, i): rows i // chunks * block .. + block, of each the chunk i % chunks of the innermost axis

Elementwise programs, reductions along the innermost axis and "reduce, then elementwise" (softmax, norms) are one shape:
phase p is a loop over the row that computes the reductions with p others below them; the last phase writes. A costly
value that a later phase needs again waits in the output's memory.

The table, in 64-bit words: a pointer for each operand (inputs, then outputs), the HEAD, the sizes of the outer axes and
of the reduced ones but the innermost, then for each operand the strides in bytes: per chunk, innermost, outer, reduced.
Where the reduced axes are cut in parts, the last outer axis counts them, `part` of `middle` places in each.
Kernels know ranks and whether a stride is 0, one element or another; no extent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from expkit.kernels.cpu.code.elementwise import HEAVY, Gap, emit
from expkit.kernels.cpu.code.ir import SIZES, TYPES, Block, Value, scalar_of
from expkit.kernels.cpu.loops.accumulate import REDUCTIONS, Accumulator
from expkit.kernels.cpu.loops.program import Facts, Program, Ref, Step, facts

HEAD = ("tasks", "rows", "block", "n", "tile", "chunks", "middle", "part", "parts")
HINTS = """!0 = distinct !{!0, !1}
!1 = !{!"llvm.loop.interleave.count", i32 4}
!2 = distinct !{!2, !3}
!3 = !{!"llvm.loop.interleave.count", i32 2}
!4 = !{i32 1}
!5 = distinct !{!5, !6}
!6 = !{!"llvm.loop.vectorize.enable", i1 false}
!7 = distinct !{!7, !8}
!8 = !{!"llvm.loop.interleave.count", i32 1}
"""  # 0: four accumulators hide their latency; 2: two vectors keep up with the memory; 4: non-temporal; 5: scalar
NARROW = '"prefer-vector-width"="256"'  # where the memory is the limit, vectors of 512 bits are slower
LINE = 64  # bytes
BLOCK = 2048  # elements of a row that one set of accumulators adds up
SCALAR, DENSE, STRIDED = 0, 1, 2  # how an operand moves along the innermost axis


class Layout(NamedTuple):
    """Where things are in the table."""

    operands: int
    outer: int  # number of outer axes
    reduced: int  # number of reduced axes but the innermost
    short: bool = False  # the innermost axis is shorter than several wide vectors

    def head(self, name: str) -> int:
        return self.operands + HEAD.index(name)

    @property
    def sizes(self) -> int:
        return self.operands + len(HEAD)

    def strides(self, operand: int) -> int:
        return self.sizes + self.outer + self.reduced + operand * (2 + self.outer + self.reduced)

    @property
    def words(self) -> int:
        return self.strides(self.operands)


def storage(kind: str) -> str:
    """A kind's type in memory."""
    return "i8" if kind == "b1" else TYPES[kind]


class Rows:
    """Writes one module."""

    END = ""  # what a task ends with

    def __init__(self, program: Program, layout: Layout, moves: tuple[int, ...]) -> None:
        self.program, self.layout, self.moves = program, layout, moves
        self.facts: Facts = facts(program)
        self.block = Block()
        self.kinds: dict[int, str] = dict(enumerate(program.inputs))
        self.labels = 0
        self.last = max(self.facts.depth)
        self.rows: dict[int, Value] = {}
        self.stash: int | None = None
        self.cells: list[str] = []  # accumulators; LLVM makes registers of them where they stand in front of everything

    # ---- the row function --------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The module: the row function and the task."""
        self._body()
        count = self.layout.operands
        pointers = "".join(f", ptr noalias %p{k}, i64 %s{k}" for k in range(count))
        middles = "".join(f", ptr %m{k}" for k in range(count)) if self.layout.reduced else ""
        body = "\n".join(["entry:", *self.cells, *self.block.lines])
        width = NARROW if self._light or self.layout.short else ""
        head = f"define internal void @row(i64 %n, i64 %middle, ptr %sizes{pointers}{middles}) noinline {width} {{"
        declarations = "\n".join(sorted(self.block.calls.values()))
        return f"{declarations}\n{head}\n{body}\n  ret void\n}}\n{HINTS}{self._task()}"

    def _body(self) -> None:
        """The row function's instructions."""
        self.stash = self._stash()
        for phase in range(self.last + 1):
            self._phase(phase)
        for slot, value in enumerate(self.program.outputs):
            if self.facts.row[value]:
                self._store(slot, self._row_value(value), self._pointer(self._slot(slot), None))

    @property
    def _light(self) -> bool:
        """Whether writing to memory is the limit."""
        return not self.program.heavy and not self.program.reduces

    @property
    def _hint(self) -> str:
        """How many vectors a loop without accumulators, or over few elements, goes by."""
        return "!2" if self._light else "!7" if self.layout.short else ""

    def _slot(self, output: int) -> int:
        return len(self.program.inputs) + output

    def _stash(self) -> int | None:
        """The costly full value that is computed in one phase and needed again in the last, if there is just one."""
        program, f = self.program, self.facts
        if self.last == 0 or len(program.outputs) != 1 or f.row[program.outputs[0]] or self.layout.reduced:
            return None
        first = len(program.inputs)
        costly = [i for i in range(first, len(f.row)) if program.steps[i - first].name in HEAVY and not f.row[i]]
        if len(costly) != 1 or f.depth[costly[0]] >= self.last:
            return None
        (value,) = costly
        reductions = [first + k for k, s in enumerate(program.steps) if s.name in REDUCTIONS]
        reduced = any(self._rests_on(r, value) for r in reductions if f.depth[r] == f.depth[value] + 1)
        return value if reduced else None

    def _rests_on(self, value: int, below: int) -> bool:
        step = self.program.step(value)
        return value == below or (step is not None and any(self._rests_on(i, below) for i in step.refs))

    def _label(self, name: str) -> str:
        self.labels += 1
        return f"{name}{self.labels}"

    def _phase(self, phase: int) -> None:
        """One loop along the row (and the reduced axes): the reductions of this depth, and the outputs."""
        first, f = len(self.program.inputs), self.facts
        reducing = [
            first + k for k, s in enumerate(self.program.steps)
            if s.name in REDUCTIONS and f.depth[first + k] == phase + 1
        ]  # fmt: skip
        writing = [(slot, v) for slot, v in enumerate(self.program.outputs) if not f.row[v] and phase == self.last]
        if not reducing and not writing:
            return
        for value in range(first, len(f.row)):  # row values that the loop needs are computed in front of it
            if f.row[value] and f.depth[value] <= phase and self._row_ready(value):
                self._row_value(value)
        cells = {}
        for value in reducing:
            step = self._step(value)
            kind = self._kind(step.refs[0])
            cells[value] = Accumulator(self.block, self.cells, value, step.name, kind)
        self._loops(cells, writing, phase)
        for value, cell in cells.items():
            self.rows[value], self.kinds[value] = cell.result(), cell.kind

    def _step(self, value: int) -> Step:
        step = self.program.step(value)
        if step is None:
            raise LookupError(value)
        return step

    def _kind(self, value: int) -> str:
        """The kind of a value: found by writing its code into a block that is thrown away."""
        if value not in self.kinds:
            step, scratch = self._step(value), Block()
            args = [Value(scratch, self._kind(a.number), "%x") if isinstance(a, Ref) else a for a in step.args]
            if step.name in REDUCTIONS and args[0].kind == "b1":
                raise Gap("a reduction of bools")
            self.kinds[value] = args[0].kind if step.name in REDUCTIONS else emit(step.name, args, dict(step.kw)).kind
        return self.kinds[value]

    def _loops(self, cells, writing, phase: int) -> None:
        block = self.block
        done = self._label("done")
        offsets: dict[int, str] | None = None
        if self.layout.reduced:
            outer, after = self._label("middle"), self._label("after")
            entry = self._label("entry")
            block.write(f"  br label %{entry}\n{entry}:\n  br label %{outer}\n{outer}:")
            block.write(f"  %{outer}.m = phi i64 [ 0, %{entry} ], [ %{outer}.next, %{done} ]")
            offsets = self._middle_offsets(f"%{outer}.m")
        self._along(cells, lambda i: self._element(i, offsets, cells, writing, phase))
        block.write(f"  br label %{done}\n{done}:")
        if self.layout.reduced:
            block.write(f"  %{outer}.next = add nuw nsw i64 %{outer}.m, 1")
            block.write(f"  %{outer}.c = icmp slt i64 %{outer}.next, %middle")
            block.write(f"  br i1 %{outer}.c, label %{outer}, label %{after}\n{after}:")

    def _along(self, cells: dict[int, Accumulator], body: Callable[[str], None]) -> None:
        """The loop along the row: in blocks where floats are summed, each with accumulators of its own."""
        hint = "!0" if cells and not self.layout.short else self._hint
        if self.program.into is not None and self.moves[-1] == DENSE:
            ahead = self._unaligned()
            self._span("0", ahead, "!5", body)
            self._span(ahead, "%n", hint, body)
        elif any(cell.rounds for cell in cells.values()):
            b, loop, done = self.block, self._label("block"), self._label("blocks")
            before, n = self._label("before"), Value(self.block, "i8", "%n")
            b.write(f"  br label %{before}\n{before}:\n  br label %{loop}\n{loop}:")
            b.write(f"  %{loop}.i = phi i64 [ 0, %{before} ], [ %{loop}.next, %{loop}.end ]")
            stop = b.put("i8", f"add nuw nsw i64 %{loop}.i, {BLOCK}")
            for cell in cells.values():
                cell.open()
            self._span(f"%{loop}.i", stop.compare("lt", n).select(stop, n).name, hint, body)
            for cell in cells.values():
                cell.close()
            b.write(f"  br label %{loop}.end\n{loop}.end:\n  %{loop}.next = add nuw nsw i64 %{loop}.i, {BLOCK}")
            b.write(
                f"  %{loop}.c = icmp slt i64 %{loop}.next, %n\n  br i1 %{loop}.c, label %{loop}, label %{done}\n{done}:"
            )
        else:
            self._span("0", "%n", hint, body)

    def _span(self, start: str, stop: str, hint: str, body: Callable[[str], None]) -> None:
        """A loop over some of the row's elements."""
        b, before, loop, done = self.block, self._label("before"), self._label("loop"), self._label("past")
        if (start, stop) == ("0", "%n"):  # a row is never empty
            b.write(f"  br label %{before}\n{before}:\n  br label %{loop}\n{loop}:")
        else:
            some = b.put("b1", f"icmp slt i64 {start}, {stop}").name
            b.write(f"  br i1 {some}, label %{before}, label %{done}\n{before}:\n  br label %{loop}\n{loop}:")
        b.write(f"  %{loop}.i = phi i64 [ {start}, %{before} ], [ %{loop}.next, %{loop} ]")
        body(f"%{loop}.i")
        b.write(f"  %{loop}.next = add nuw nsw i64 %{loop}.i, 1\n  %{loop}.c = icmp slt i64 %{loop}.next, {stop}")
        metadata = f", !llvm.loop {hint}" if hint else ""
        b.write(f"  br i1 %{loop}.c, label %{loop}, label %{done}{metadata}\n{done}:")

    def _unaligned(self) -> str:
        """How many elements of the output lie in front of the first whole cache line."""
        slot, n = self._slot(0), Value(self.block, "i8", "%n")
        at = self.block.put("i8", f"ptrtoint ptr {self._pointer(slot, None)} to i64")
        ahead = ((0 - at) & (LINE - 1)) >> (SIZES[self._operand_kind(slot)].bit_length() - 1)
        return ahead.compare("lt", n).select(ahead, n).name

    def _middle_offsets(self, index: str) -> dict[int, str]:
        """Each operand's offset at a place of the reduced axes."""
        return _offsets(
            self.block, index, self.layout.reduced, self.layout.operands,
            lambda axis: f"getelementptr i64, ptr %sizes, i64 {axis}",
            lambda k, axis: f"getelementptr i64, ptr %m{k}, i64 {axis}",
        )  # fmt: skip

    def _element(self, i: str, offsets, cells, writing, phase: int) -> None:
        cache: dict[int, Value] = {}
        if self.stash is not None and phase > self.facts.depth[self.stash]:
            kind = self._kind(self.stash)
            pointer = self._pointer(self._slot(0), i, offsets)
            cache[self.stash] = self.block.put(kind, f"load {TYPES[kind]}, ptr {pointer}, align 1")
        for value, cell in cells.items():
            cell.take(self._full(self._step(value).refs[0], i, offsets, cache))
        for slot, value in writing:
            x = self._full(value, i, offsets, cache)
            self._store(slot, x, self._pointer(self._slot(slot), i, offsets))
        if self.stash is not None and self.stash in cache and phase == self.facts.depth[self.stash]:
            self._store(0, cache[self.stash], self._pointer(self._slot(0), i, offsets))

    def _full(self, value: int, i: str, offsets, cache: dict[int, Value]) -> Value:
        if self.facts.row[value]:
            return self._row_value(value)
        if value not in cache:
            step = self.program.step(value)
            if step is None:
                cache[value] = self._load(value, i, offsets)
            else:
                args = [self._full(a.number, i, offsets, cache) if isinstance(a, Ref) else a for a in step.args]
                cache[value] = emit(step.name, args, dict(step.kw))
                self.kinds[value] = scalar_of(cache[value].kind)
        return cache[value]

    def _row_ready(self, value: int) -> bool:
        step = self._step(value)
        return value in self.rows or (step.name not in REDUCTIONS and all(self._row_ready(i) for i in step.refs))

    def _row_value(self, value: int) -> Value:
        if value not in self.rows:
            step = self._step(value)
            args = [self._row_value(a.number) if isinstance(a, Ref) else a for a in step.args]
            self.rows[value] = emit(step.name, args, dict(step.kw))
            self.kinds[value] = self.rows[value].kind
        return self.rows[value]

    def _pointer(self, operand: int, i: str | None, offsets: dict[int, str] | None = None) -> str:
        if operand == len(self.program.inputs) and self.program.into is not None:
            operand = self.program.into
        block, base = self.block, f"%p{operand}"
        if offsets is not None:
            base = block.put("i8", f"getelementptr i8, ptr {base}, i64 {offsets[operand]}").name
        if i is None or self.moves[operand] == SCALAR:
            return base
        if self.moves[operand] == DENSE:
            kind = self._operand_kind(operand)
            return block.put("i8", f"getelementptr inbounds {storage(kind)}, ptr {base}, i64 {i}").name
        step = block.put("i8", f"mul i64 {i}, %s{operand}").name
        return block.put("i8", f"getelementptr i8, ptr {base}, i64 {step}").name

    def _operand_kind(self, operand: int) -> str:
        inputs = self.program.inputs
        return inputs[operand] if operand < len(inputs) else self._kind(self.program.outputs[operand - len(inputs)])

    def _load(self, operand: int, i: str, offsets: dict[int, str] | None) -> Value:
        kind = self.program.inputs[operand]
        pointer = self._pointer(operand, i, offsets)
        if kind != "b1":
            return self.block.put(kind, f"load {TYPES[kind]}, ptr {pointer}, align 1")
        return self.block.put("u1", f"load i8, ptr {pointer}, align 1").to("b1")

    def _store(self, slot: int, x: Value, pointer: str) -> None:
        x = self.block.put("u1", f"zext {x!r} to i8") if x.kind == "b1" else x
        self.block.write(f"  store {x!r}, ptr {pointer}, align 1")

    # ---- the task ----------------------------------------------------------------------------------------------------

    def _task(self) -> str:
        lay, b = self.layout, Block("t")
        word = _reader(b)
        pointers = [b.put("i8", f"load ptr, ptr {_at(b, k)}").name for k in range(lay.operands)]
        rows, size, n, tile, chunks, middle, part, parts = (word(lay.head(name)) for name in HEAD[1:])
        high, chunk = b.put("i8", f"udiv i64 %i, {chunks}").name, b.put("i8", f"urem i64 %i, {chunks}").name
        first = b.put("i8", f"mul i64 {high}, {size}").name
        end = b.put("i8", f"add i64 {first}, {size}").name
        short = b.put("b1", f"icmp slt i64 {end}, {rows}").name
        end = b.put("i8", f"select i1 {short}, i64 {end}, i64 {rows}").name
        start = b.put("i8", f"mul i64 {chunk}, {tile}").name
        left = b.put("i8", f"sub i64 {n}, {start}").name
        ends = b.put("b1", f"icmp slt i64 {left}, {tile}").name
        length = b.put("i8", f"select i1 {ends}, i64 {left}, i64 {tile}").name
        strides = [word(lay.strides(k) + 1) for k in range(lay.operands)]
        for k in range(lay.operands):
            shift = b.put("i8", f"mul i64 {chunk}, {word(lay.strides(k))}").name
            pointers[k] = b.put("i8", f"getelementptr i8, ptr {pointers[k]}, i64 {shift}").name
        b.write(f"  br label %rows\nrows:\n  %r = phi i64 [ {first}, %entry ], [ %r.next, %rows ]")
        offsets = _offsets(
            b, "%r", lay.outer, lay.operands, lambda axis: f"getelementptr i64, ptr %table, i64 {lay.sizes + axis}",
            lambda k, axis: f"getelementptr i64, ptr %table, i64 {lay.strides(k) + 2 + axis}",
        )  # fmt: skip
        done = b.put("i8", f"mul i64 {b.put('i8', f'urem i64 %r, {parts}').name}, {part}").name
        rest = b.put("i8", f"sub i64 {middle}, {done}").name
        little = b.put("b1", f"icmp slt i64 {rest}, {part}").name
        places = b.put("i8", f"select i1 {little}, i64 {rest}, i64 {part}").name
        args = f"i64 {length}, i64 {places}, ptr {_at(b, lay.sizes + lay.outer)}"
        for k in range(lay.operands):
            at = b.put("i8", f"getelementptr i8, ptr {pointers[k]}, i64 {offsets[k]}").name
            args += f", ptr {at}, i64 {strides[k]}"
        for k in range(lay.operands if lay.reduced else 0):
            args += f", ptr {_at(b, lay.strides(k) + 2 + lay.outer)}"
        body = "\n".join(b.lines)
        return (
            f"define void @task(ptr %table, i64 %i) {{\nentry:\n{body}\n  call void @row({args})\n"
            f"  %r.next = add i64 %r, 1\n  %r.c = icmp slt i64 %r.next, {end}\n"
            f"  br i1 %r.c, label %rows, label %out\nout:\n{self.END}  ret void\n}}\n"
        )


def _at(b: Block, word: int) -> str:
    return b.put("i8", f"getelementptr i64, ptr %table, i64 {word}").name


def _reader(b: Block):
    return lambda word: b.put("i8", f"load i64, ptr {_at(b, word)}").name


def _offsets(b: Block, index: str, axes: int, operands: int, size_at, stride_at) -> dict[int, str]:
    """Each operand's offset in bytes at the place `index` of the axes (the last one runs fastest)."""
    totals = dict.fromkeys(range(operands), "0")
    for axis in reversed(range(axes)):
        place = index
        if axis:
            size = b.put("i8", f"load i64, ptr {b.put('i8', size_at(axis)).name}").name
            place, index = b.put("i8", f"urem i64 {index}, {size}").name, b.put("i8", f"udiv i64 {index}, {size}").name
        for k in range(operands):
            stride = b.put("i8", f"load i64, ptr {b.put('i8', stride_at(k, axis)).name}").name
            step = b.put("i8", f"mul i64 {place}, {stride}").name
            totals[k] = b.put("i8", f"add i64 {totals[k]}, {step}").name
    return totals
