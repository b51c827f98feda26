"""Kernels written as Python: a function under construction, with loops, branches, memory and vectors.

    f = Function("scale", x=Pointer.of("f4"), n="i8")
    for i in f.range(f["n"]):            # the body is written once
        f["x"].store(f["x"].load(i) * 2.0, i)

What is a Python loop is unrolled, what is `f.range` is a loop of the kernel. Values change only in cells, which LLVM
turns into registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from expkit.kernels.cpu.code.ir import SIZES, Block, Value, lanes_of, literal, scalar_of, type_of, vector_of

Number = Value | int


def storage(kind: str) -> str:
    """A kind's type in memory: bools are bytes there."""
    return type_of(vector_of("u1", lanes_of(kind)) if kind[0] == "b" else kind)


class Pointer:
    """Where elements of a kind lie."""

    __slots__ = ("block", "kind", "name")

    def __init__(self, block: Block, kind: str, name: str) -> None:
        self.block, self.kind, self.name = block, kind, name

    def __repr__(self) -> str:
        return f"ptr {self.name}"

    def at(self, i: Number) -> Pointer:
        """The place i elements on."""
        if not isinstance(i, Value) and i == 0:
            return self
        text = f"getelementptr {storage(self.kind)}, ptr {self.name}, i64 {_name(i)}"
        return Pointer(self.block, self.kind, self.block.put("i8", text).name)

    def move(self, count: Number) -> Pointer:
        """The place `count` bytes on."""
        text = f"getelementptr i8, ptr {self.name}, i64 {_name(count)}"
        return Pointer(self.block, self.kind, self.block.put("i8", text).name)

    def cast(self, kind: str) -> Pointer:
        """The same place, seen as elements of another kind."""
        return Pointer(self.block, kind, self.name)

    def follow(self, kind: str, i: Number = 0) -> Pointer:
        """The place, of elements of a kind, whose address is the 64-bit word i on."""
        return Pointer(self.block, kind, self.block.put("i8", f"load ptr, {self.at(i)!r}").name)

    def load(self, i: Number = 0, lanes: int = 1) -> Value:
        """The element i, or the vector that starts there."""
        kind = vector_of(self.kind, lanes)
        found = self.block.put(kind, f"load {storage(kind)}, {self.at(i)!r}, align {_align(self.kind)}")
        if self.kind != "b1":
            return found
        return Value(self.block, vector_of("u1", lanes), found.name).to("b1")

    def load_alone(self) -> Value:
        """The integer here, by a load of its own: LLVM makes no gather of several, which is slower on many CPUs."""
        text = f"load atomic {storage(self.kind)}, {self!r} unordered, align {_align(self.kind)}"
        return self.block.put(self.kind, text)

    def store(self, x: Value | float, i: Number = 0) -> None:
        """Writes the element, or the vector, at i."""
        if not isinstance(x, Value):
            x = self.block.constant(self.kind, x)
        if scalar_of(x.kind) == "b1":
            x = x.to("u1")
        self.block.write(f"  store {x!r}, {self.at(i)!r}, align {_align(self.kind)}")

    def load_some(self, mask: Value, i: Number = 0, other: Value | None = None) -> Value:
        """The vector at i where the mask is true, `other` (or zeros) elsewhere; what is masked out is not touched."""
        kind = vector_of(self.kind, lanes_of(mask.kind))
        name = f"llvm.masked.load.{_overloaded(kind)}.p0"
        self.block.calls[name] = f"declare {type_of(kind)} @{name}(ptr, i32, {type_of(mask.kind)}, {type_of(kind)})"
        rest = f"{type_of(kind)} zeroinitializer" if other is None else repr(other)
        call = f"@{name}({self.at(i)!r}, i32 {_align(self.kind)}, {mask!r}, {rest})"
        return self.block.put(kind, f"call {type_of(kind)} {call}")

    def store_some(self, mask: Value, x: Value, i: Number = 0) -> None:
        """Writes the vector's elements where the mask is true."""
        name = f"llvm.masked.store.{_overloaded(x.kind)}.p0"
        self.block.calls[name] = f"declare void @{name}({type_of(x.kind)}, ptr, i32, {type_of(mask.kind)})"
        self.block.write(f"  call void @{name}({x!r}, {self.at(i)!r}, i32 {_align(self.kind)}, {mask!r})")

    def prefetch(self, i: Number = 0, *, write: bool = False, locality: int = 3) -> None:
        """Brings the element's cache line near; locality 3: into the first level, 2: the second, 1: the third."""
        self.block.calls["llvm.prefetch.p0"] = "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"
        self.block.write(f"  call void @llvm.prefetch.p0({self.at(i)!r}, i32 {int(write)}, i32 {locality}, i32 1)")


class Cell:
    """A variable."""

    __slots__ = ("_pointer", "kind")

    def __init__(self, pointer: Pointer, kind: str) -> None:
        self._pointer, self.kind = pointer, kind

    @property
    def value(self) -> Value:
        return self._pointer.block.put(self.kind, f"load {type_of(self.kind)}, {self._pointer!r}")

    @value.setter
    def value(self, x: Value) -> None:
        self._pointer.block.write(f"  store {x!r}, {self._pointer!r}")


class Function(Block):
    """One function. `arguments`: name -> kind, or "*kind" for a pointer, which nothing else may alias."""

    def __init__(self, name: str, **arguments: str) -> None:
        super().__init__()
        self.name, self.attributes, self._labels = name, "", 0
        self._allocas: list[str] = []
        self._arguments = arguments

    def __getitem__(self, name: str) -> Value:
        """A number among the arguments."""
        return Value(self, self._arguments[name], f"%a.{name}")

    def pointer(self, name: str) -> Pointer:
        """A pointer among the arguments."""
        return Pointer(self, self._arguments[name][1:], f"%a.{name}")

    def text(self, linkage: str = "internal") -> str:
        """The definition, without the declarations that it needs (`calls`)."""
        arguments = ", ".join(
            f"ptr noalias %a.{name}" if kind[0] == "*" else f"{type_of(kind)} %a.{name}"
            for name, kind in self._arguments.items()
        )
        body = "\n".join(["entry:", *self._allocas, *self.lines, "  ret void"])
        return f"define {linkage} void @{self.name}({arguments}) {self.attributes} {{\n{body}\n}}\n"

    # ---- control -----------------------------------------------------------------------------------------------------

    def label(self, hint: str) -> str:
        self._labels += 1
        return f"{hint}{self._labels}"

    def range(self, stop: Number, start: Number = 0, step: Number = 1) -> Iterator[Value]:
        """A loop of the kernel: the body of the Python loop is written once, for the index that is yielded."""
        before, head, body, latch, done = (self.label(n) for n in ("before", "head", "body", "latch", "done"))
        self.write(f"  br label %{before}\n{before}:\n  br label %{head}\n{head}:")
        self.write(f"  %{head}.i = phi i64 [ {_name(start)}, %{before} ], [ %{latch}.i, %{latch} ]")
        self.write(f"  %{head}.c = icmp slt i64 %{head}.i, {_name(stop)}")
        self.write(f"  br i1 %{head}.c, label %{body}, label %{done}\n{body}:")
        yield Value(self, "i8", f"%{head}.i")
        self.write(f"  br label %{latch}\n{latch}:\n  %{latch}.i = add nsw i64 %{head}.i, {_name(step)}")
        self.write(f"  br label %{head}\n{done}:")

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """What is written inside runs where the condition is true."""
        yes, done = self.label("yes"), self.label("done")
        self.write(f"  br i1 {condition.name}, label %{yes}, label %{done}\n{yes}:")
        yield
        self.write(f"  br label %{done}\n{done}:")

    def either(self, condition: Value) -> Iterator[bool]:
        """`for yes in f.either(c): ...` writes both branches, first that of truth."""
        yes, no, done = self.label("yes"), self.label("no"), self.label("done")
        self.write(f"  br i1 {condition.name}, label %{yes}, label %{no}\n{yes}:")
        yield True
        self.write(f"  br label %{done}\n{no}:")
        yield False
        self.write(f"  br label %{done}\n{done}:")

    def run(self, function: Function, *args: Value | Pointer) -> None:
        """Calls another function of the module."""
        self.write(f"  call void @{function.name}({', '.join(map(repr, args))})")

    # ---- memory ------------------------------------------------------------------------------------------------------

    def cell(self, initial: Value) -> Cell:
        """A variable, with its first value. (Made once, wherever this stands.)"""
        name = f"%{self.label('cell')}"
        self._allocas.append(f"  {name} = alloca {type_of(initial.kind)}, align 64")
        cell = Cell(Pointer(self, initial.kind, name), initial.kind)
        cell.value = initial
        return cell

    def scratch(self, kind: str, count: int) -> Pointer:
        """Memory of this call, on the thread's stack (keep it below 2 MiB); its content is undefined."""
        name = f"%{self.label('scratch')}"
        self._allocas.append(f"  {name} = alloca [{count} x {storage(kind)}], align 64")
        return Pointer(self, kind, name)

    # ---- vectors -----------------------------------------------------------------------------------------------------

    def splat(self, x: Value | float, lanes: int, kind: str = "f4") -> Value:
        """The vector that has x everywhere."""
        if not isinstance(x, Value):
            return self.constant(vector_of(kind, lanes), x)
        wide = vector_of(x.kind, lanes)
        one = self.put(wide, f"insertelement {type_of(wide)} poison, {x!r}, i64 0")
        return self.shuffle(one, one, [0] * lanes)

    def shuffle(self, a: Value, b: Value, lanes: Sequence[int]) -> Value:
        """The lanes, by number, of two vectors one after the other."""
        mask = f"<{len(lanes)} x i32> <{', '.join(f'i32 {n}' for n in lanes)}>"
        return self.put(vector_of(a.kind, len(lanes)), f"shufflevector {a!r}, {b!r}, {mask}")

    def lane(self, x: Value, number: int) -> Value:
        """One element of a vector."""
        return self.put(scalar_of(x.kind), f"extractelement {x!r}, i64 {number}")

    def first(self, count: Value, lanes: int) -> Value:
        """The mask whose first `count` lanes are true."""
        numbers = ", ".join(f"i64 {n}" for n in range(lanes))
        wide = self.splat(count, lanes)
        return self.put(f"b1x{lanes}", f"icmp slt <{lanes} x i64> <{numbers}>, {wide.name}")

    def total(self, x: Value) -> Value:
        """The sum of a vector's elements, by halves."""
        while (lanes := lanes_of(x.kind)) > 2:
            half = lanes // 2
            x = self.shuffle(x, x, range(half)) + self.shuffle(x, x, range(half, lanes))
        return self.lane(x, 0) + self.lane(x, 1) if lanes == 2 else x


def least(a: Value, b: Number) -> Value:
    """The smaller of two integers."""
    return a.compare("lt", b).select(a, b)


def _name(x: Number) -> str:
    return x.name if isinstance(x, Value) else literal("i8", x)


def _align(kind: str) -> int:
    return SIZES[kind] if kind != "b1" else 1


def _overloaded(kind: str) -> str:
    letter = "f" if kind[0] == "f" else "i"
    return f"v{lanes_of(kind)}{letter}{8 * SIZES[scalar_of(kind)]}"
