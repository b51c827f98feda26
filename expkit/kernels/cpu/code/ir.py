"""A small builder for LLVM IR text: values with Python's operators, each of which writes one instruction.

A value knows its kind, a dtype's code: f4 f8 i1 i2 i4 i8 u1 b1; "f4x16" is a vector of 16. Bools are i1 here and bytes
in memory. Fast-math flags: `contract` everywhere, and nothing else; reductions add `reassoc` where they sum.
"""

from __future__ import annotations

import math
import struct

TYPES = {"f4": "float", "f8": "double", "b1": "i1", "u1": "i8", "i1": "i8", "i2": "i16", "i4": "i32", "i8": "i64"}
SIZES = {"f4": 4, "f8": 8, "b1": 1, "u1": 1, "i1": 1, "i2": 2, "i4": 4, "i8": 8}
BITS = {"f4": "i4", "f8": "i8"}  # the integers that hold a float's bits
_FLOAT = {"add": "fadd contract", "sub": "fsub contract", "mul": "fmul contract", "div": "fdiv contract"}
_COMPARE = {  # name: (floats, signed integers, unsigned ones)
    "eq": ("oeq", "eq", "eq"), "ne": ("une", "ne", "ne"), "lt": ("olt", "slt", "ult"), "le": ("ole", "sle", "ule"),
    "gt": ("ogt", "sgt", "ugt"), "ge": ("oge", "sge", "uge"),
}  # fmt: skip


def lanes_of(kind: str) -> int:
    """How many elements a kind holds: 16 for "f4x16", 1 for "f4"."""
    return int(kind.partition("x")[2] or 1)


def scalar_of(kind: str) -> str:
    """The kind of one element: "f4" for "f4x16"."""
    return kind.partition("x")[0]


def vector_of(kind: str, lanes: int) -> str:
    """The kind of `lanes` such elements."""
    return f"{scalar_of(kind)}x{lanes}" if lanes > 1 else scalar_of(kind)


def type_of(kind: str) -> str:
    """LLVM's type of a value of the kind."""
    if kind in TYPES:
        return TYPES[kind]
    return f"<{lanes_of(kind)} x {TYPES[scalar_of(kind)]}>"


def _overload(kind: str) -> str:
    """A kind as the names of LLVM's intrinsics have it: f32, v16f32, i64."""
    lanes, bits = lanes_of(kind), 8 * SIZES[scalar_of(kind)]
    letter = "f" if kind[0] == "f" else "i"
    return f"{f'v{lanes}' if lanes > 1 else ''}{letter}{1 if kind[0] == 'b' else bits}"


class Block:
    """Instructions written one after another; `calls` are the functions that they need declared."""

    exact = False  # every operation is rounded on its own, as NumPy does (nothing is contracted)

    def __init__(self, prefix: str = "v") -> None:
        self.lines: list[str] = []
        self.calls: dict[str, str] = {}
        self._prefix, self._count = prefix, 0

    def write(self, line: str) -> None:
        self.lines.append(line)

    def put(self, kind: str, text: str) -> Value:
        """A new value of the kind, computed by the instruction."""
        self._count += 1
        name = f"%{self._prefix}{self._count}"
        self.lines.append(f"  {name} = {text}")
        return Value(self, kind, name)

    def constant(self, kind: str, number: float) -> Value:
        return Value(self, kind, literal(kind, number))

    def call(self, intrinsic: str, *args: Value) -> Value:
        """llvm.<intrinsic>, overloaded on the type of its first operand, which is its result's too."""
        kind = args[0].kind
        name, kept = f"llvm.{intrinsic}.{_overload(kind)}", "contract " if kind[0] == "f" else ""
        self.calls[name] = f"declare {type_of(kind)} @{name}({', '.join(type_of(a.kind) for a in args)})"
        return self.put(kind, f"call {kept}{type_of(kind)} @{name}({', '.join(map(repr, args))})")


def literal(kind: str, number: float) -> str:
    """A constant as LLVM writes it: floats by the bits of the double that equals them; a vector has it everywhere."""
    if lanes_of(kind) > 1:
        one = scalar_of(kind)
        return f"splat ({TYPES[one]} {literal(one, number)})"
    if kind == "b1":
        return "true" if number else "false"
    if kind[0] != "f":
        return str(int(number))
    if kind == "f4" and math.isfinite(number):
        try:
            number = struct.unpack("<f", struct.pack("<f", number))[0]
        except OverflowError:
            number = math.copysign(math.inf, number)
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"


class Value:
    """An operand; `a + b` writes an addition into its block."""

    __slots__ = ("block", "kind", "name")

    def __init__(self, block: Block, kind: str, name: str) -> None:
        self.block, self.kind, self.name = block, kind, name

    def __repr__(self) -> str:
        return f"{type_of(self.kind)} {self.name}"

    @property
    def is_float(self) -> bool:
        return self.kind[0] == "f"

    def like(self, other: Value | float) -> Value:
        return other if isinstance(other, Value) else self.block.constant(self.kind, other)

    def binary(self, op: str, other: Value | float) -> Value:
        return self.block.put(self.kind, f"{op} {self!r}, {self.like(other).name}")

    def _arithmetic(self, op: str, other: Value | float) -> Value:
        if not self.is_float:
            return self.binary({"div": "sdiv"}.get(op, op), other)
        return self.binary(f"f{op}" if self.block.exact else _FLOAT[op], other)

    def __add__(self, other: Value | float) -> Value:
        return self._arithmetic("add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self._arithmetic("sub", other)

    def __mul__(self, other: Value | float) -> Value:
        return self._arithmetic("mul", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self._arithmetic("div", other)

    def __rsub__(self, other: float) -> Value:
        return self.like(other) - self

    def __rtruediv__(self, other: float) -> Value:
        return self.like(other) / self

    def __neg__(self) -> Value:
        return self.block.put(self.kind, f"fneg contract {self!r}") if self.is_float else 0 - self

    def __mod__(self, other: Value | int) -> Value:
        return self.binary("srem", other)

    def __lshift__(self, other: Value | int) -> Value:
        return self.binary("shl", other)

    def __rshift__(self, other: Value | int) -> Value:
        return self.binary("ashr" if self.kind[0] == "i" else "lshr", other)

    __radd__, __rmul__ = __add__, __mul__

    def __and__(self, other: Value | int) -> Value:
        return self.binary("and", other)

    def __or__(self, other: Value | int) -> Value:
        return self.binary("or", other)

    def __xor__(self, other: Value | int) -> Value:
        return self.binary("xor", other)

    def fma(self, times: Value | float, plus: Value | float) -> Value:
        """self * times + plus, rounded once where the CPU can do so at speed."""
        return self.block.call("fmuladd", self, self.like(times), self.like(plus))

    def compare(self, name: str, other: Value | float) -> Value:
        column = 0 if self.is_float else 2 if self.kind[0] in "ub" else 1
        kind = "fcmp" if self.is_float else "icmp"
        return self.block.put(
            vector_of("b1", lanes_of(self.kind)), f"{kind} {_COMPARE[name][column]} {self!r}, {self.like(other).name}"
        )

    def select(self, yes: Value | float, no: Value | float) -> Value:
        """yes where self (a bool) is true, else no; one of both is a Value."""
        typed = yes if isinstance(yes, Value) else no
        if not isinstance(typed, Value):
            raise TypeError("select needs a Value")
        return self.block.put(typed.kind, f"select {self!r}, {typed.like(yes)!r}, {typed.like(no)!r}")

    def bits(self) -> Value:
        """The bits of a float as an integer."""
        kind = vector_of(BITS[scalar_of(self.kind)], lanes_of(self.kind))
        return self.block.put(kind, f"bitcast {self!r} to {type_of(kind)}")

    def as_float(self) -> Value:
        """The float that has these bits."""
        kind = vector_of({"i4": "f4", "i8": "f8"}[scalar_of(self.kind)], lanes_of(self.kind))
        return self.block.put(kind, f"bitcast {self!r} to {type_of(kind)}")

    def to(self, kind: str) -> Value:
        """Each element converted as NumPy does: toward zero, and to bool by being nonzero."""
        kind = scalar_of(kind)
        if kind == scalar_of(self.kind):
            return self
        if kind == "b1":
            return self.compare("ne", 0)
        wide = vector_of(kind, lanes_of(self.kind))
        return self.block.put(wide, f"{_conversion(scalar_of(self.kind), kind)} {self!r} to {type_of(wide)}")


def _conversion(old: str, new: str) -> str:
    unsigned = old in ("b1", "u1")
    if old[0] == "f":
        if new[0] == "f":
            return "fpext" if new == "f8" else "fptrunc"
        return "fptosi"
    if new[0] == "f":
        return "uitofp" if unsigned else "sitofp"
    if SIZES[new] == SIZES[old] and old != "b1":
        return "bitcast"
    wider = SIZES[new] > SIZES[old] or old == "b1"
    return ("zext" if unsigned else "sext") if wider else "trunc"
