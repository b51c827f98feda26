"""How elements are taken into a reduction: identities, the step of an accumulator, and what joins partial results.

Extrema of floats keep their value and whether a NaN came in apart: the value's comparison then vectorises to one
instruction, where "the larger one, or NaN" takes five.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from expkit.kernels.cpu.code.ir import SIZES, TYPES, Block, Value

REDUCTIONS = {"sum": 0.0, "prod": 1.0, "amax": -math.inf, "amin": math.inf}  # and what they start from
_KEEPS = {"amax": "ogt", "amin": "olt"}
_FREE = "nnan nsz"  # lets the vectoriser see the extremum; what a NaN makes of it is never looked at


def identity(block: Block, name: str, kind: str) -> Value:
    """What a reduction starts from."""
    start = REDUCTIONS[name]
    if kind[0] != "f" and math.isinf(start):
        bits = 8 * SIZES[kind]
        low, high = (0, 2**bits - 1) if kind == "u1" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        start = low if start < 0 else high
    return block.constant(kind, start)


def join(name: str, x: Value, y: Value) -> Value:
    """Two partial results as one; of extrema of floats, the one that is no NaN."""
    if name in ("sum", "prod"):
        op = {"sum": "add", "prod": "mul"}[name]
        return x.binary(f"f{op} reassoc contract" if x.is_float else op, y)
    if not x.is_float:
        return x.compare({"amax": "gt", "amin": "lt"}[name], y).select(x, y)
    wins = x.block.put("b1", f"fcmp {_FREE} {_KEEPS[name]} {x!r}, {y.name}")
    return x.block.put(x.kind, f"select {_FREE} {wins!r}, {x!r}, {y!r}")


def combine(name: str, total: Value, xs: Sequence[Value]) -> Value:
    """The accumulator `total`, a value in memory, having taken in some elements."""
    if name in ("sum", "prod"):
        return join(name, total, _by_pairs(lambda x, y: join(name, x, y), xs))
    if not total.is_float:
        for x in xs:
            total = join(name, x, total)
        return total
    for x in xs:
        total = x.block.put("b1", f"fcmp {_KEEPS[name]} {x!r}, {total.name}").select(x, total)  # a NaN stays in total
    odd = [x.block.put("b1", f"fcmp uno {x!r}, {y.name}") for x, y in zip(xs[::2], [*xs[1::2], xs[-1]], strict=False)]
    return _by_pairs(Value.__or__, odd).select(math.nan, total)


def _by_pairs(fn: Callable[[Value, Value], Value], xs: Sequence[Value]) -> Value:
    """All joined as a balanced tree."""
    half = len(xs) // 2
    return fn(_by_pairs(fn, xs[:half]), _by_pairs(fn, xs[half:])) if half else xs[0]


class Accumulator:
    """A reduction's state in a loop: variables that LLVM turns into registers. `cells` gets their declarations.

    What is taken in between `open` and `close` is joined apart first: so the sum of many floats is accurate.
    """

    def __init__(self, block: Block, cells: list[str], number: int, name: str, kind: str) -> None:
        self.block, self.name, self.kind = block, name, kind
        self._cell, self._part, self._odd = f"%cell{number}", f"%part{number}", f"%odd{number}"
        self._into = self._cell
        self._watches = name in _KEEPS and kind[0] == "f"
        self.rounds = name == "sum" and kind[0] == "f"
        cells += [f"  {cell} = alloca {TYPES[kind]}" for cell in (self._cell, self._part)]
        block.write(f"  store {identity(block, name, kind)!r}, ptr {self._cell}")
        if self._watches:
            cells.append(f"  {self._odd} = alloca i1")
            block.write(f"  store i1 false, ptr {self._odd}")

    def open(self) -> None:
        """A part begins."""
        self._into = self._part
        self.block.write(f"  store {identity(self.block, self.name, self.kind)!r}, ptr {self._part}")

    def close(self) -> None:
        """It is complete, and taken in."""
        self._into = self._cell
        self._join(self._load(self._part, self.kind))

    def take(self, x: Value) -> None:
        """One more element."""
        self._join(x)
        if self._watches:
            odd = self._load(self._odd, "b1") | x.compare("ne", x)
            self.block.write(f"  store {odd!r}, ptr {self._odd}")

    def _join(self, x: Value) -> None:
        new = join(self.name, x, self._load(self._into, self.kind))
        self.block.write(f"  store {new!r}, ptr {self._into}")

    def result(self) -> Value:
        """What all elements came to."""
        found = self._load(self._cell, self.kind)
        return self._load(self._odd, "b1").select(math.nan, found) if self._watches else found

    def _load(self, cell: str, kind: str) -> Value:
        return self.block.put(kind, f"load {TYPES[kind]}, ptr {cell}")
