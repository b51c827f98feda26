"""Formulas of updates: numbers of each segment, from options and from its counters, and then steps on each element.

`change` is the whole of it as two kernel calls, so that it can be recorded: the first computes the numbers and moves
the counters on, the second (update.py) goes over the arrays. Numbers are reckoned in float64 as Python reckons them:
each operation is rounded, and `pow` is the C library's, which Python calls too. What Python refuses (a division by
zero) gives an infinity or NaN here.
"""

from __future__ import annotations

import ctypes
import math
import operator
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.code.builder import Pointer
from expkit.kernels.cpu.code.elementwise import kind_of
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.program import Ref, Step
from expkit.kernels.cpu.machine import llvm
from expkit.kernels.cpu.machine.call import OBJECT, Bound
from expkit.kernels.cpu.nets.update import Update, sweep_of
from expkit.kernels.cpu.record.recording import objects

POW = "expkit_pow"  # by a name of our own, lest LLVM makes a square root of it
Arrays = Sequence[Sequence[Any]]


def _pow(x: Value, y: Value) -> Value:
    x.block.calls[POW] = f"declare double @{POW}(double, double)"
    return x.block.put("f8", f"call double @{POW}({x!r}, {y!r})")


class Arithmetic(NamedTuple):
    """A function of numbers: in Python, and as code."""

    python: Callable[..., float]
    emit: Callable[..., Value]


FUNCTIONS = {
    "add": Arithmetic(operator.add, operator.add), "sub": Arithmetic(operator.sub, operator.sub),
    "mul": Arithmetic(operator.mul, operator.mul), "div": Arithmetic(operator.truediv, operator.truediv),
    "neg": Arithmetic(operator.neg, operator.neg), "pow": Arithmetic(operator.pow, _pow),
    "sqrt": Arithmetic(math.sqrt, lambda x: x.block.call("sqrt", x)), "convert": Arithmetic(float, lambda x: x),
    "maximum": Arithmetic(max, lambda x, y: y.compare("gt", x).select(y, x)),
    "minimum": Arithmetic(min, lambda x, y: y.compare("lt", x).select(y, x)),
}  # fmt: skip


class Formula(NamedTuple):
    """What an update does to its segments. A number has a place: the options', the counters', then those made of them.

    made: ("constant", (its value,)), or a function's name with the places of its arguments.
    """

    update: Update
    options: int
    counters: int = 0
    made: tuple[tuple[str, tuple[float, ...]], ...] = ()
    places: tuple[int, ...] = ()  # of the numbers that the steps take
    after: tuple[int, ...] = ()  # of what the counters become

    def numbers(self, given: Sequence[float]) -> tuple[list[float], list[float]]:
        """(what the steps take, what the counters become), from the options and the counters."""
        values = list(given)
        for name, args in self.made:
            values.append(args[0] if name == "constant" else FUNCTIONS[name].python(*[values[int(a)] for a in args]))
        return [values[n] for n in self.places], [values[n] for n in self.after]

    @property
    def written(self) -> list[int]:
        """Which of a segment's arrays are overwritten."""
        return [array for array, _ in self.update.writes]


def simple(kind: str, arrays: int, numbers: int, *steps: Step) -> Formula:
    """A formula whose numbers are its options; what its steps make last overwrites the first array."""
    update = Update(kind, arrays, numbers, steps, ((0, arrays + numbers + len(steps) - 1),))
    return Formula(update, numbers, places=tuple(range(numbers)))


_X = Ref(0)
SIMPLE: dict[str, tuple[int, int, tuple[Step, ...]]] = {  # arrays, numbers, steps: arrays come first, then numbers
    "scale": (1, 1, (Step("mul", (_X, Ref(1))),)),
    "clamp": (1, 2, (Step("maximum", (_X, Ref(1))), Step("minimum", (Ref(3), Ref(2))))),
    "lerp": (2, 1, (Step("sub", (Ref(1), _X)), Step("mul", (Ref(3), Ref(2))), Step("add", (_X, Ref(4))))),
}


@cache
def named(name: str, kind: str) -> Formula:
    """The formula of that name in SIMPLE, for arrays of a kind."""
    arrays, numbers, steps = SIMPLE[name]
    return simple(kind, arrays, numbers, *steps)


# ---- in place --------------------------------------------------------------------------------------------------------


def change(formula: Formula, numbers: Any, arrays: Arrays, counters: Arrays) -> None:
    """Updates segments in place, by kernel calls alone.

    numbers: float64, the options, and behind them one that is not 0 where everything is to be left as it is.
    arrays, counters: for each operand its arrays, one of each segment; a segment's are of one size and dense in one
    order, share no memory, and a counter is 0-d: the same kind in all segments.
    """
    sizes = tuple(x.size for x in arrays[0])
    kinds = tuple(kind_of(column[0].dtype) for column in counters)
    found = plan.empty((1 + len(sizes) * formula.update.numbers,), np.dtype(np.float64))
    _numbers(formula, kinds, len(sizes))(numbers, objects([c for column in counters for c in column]), found)
    sweep_of(formula.update).call(arrays, found[1:], found[:1])


@lru_cache(maxsize=1024)
def _numbers(formula: Formula, kinds: tuple[str, ...], segments: int) -> Bound:
    return _routine(formula, kinds).bind(1, parallel=False, segments=segments)


@lru_cache(maxsize=256)
def _routine(formula: Formula, kinds: tuple[str, ...]) -> Routine:
    """The numbers of all segments, behind the number that says whether all is left; and the counters."""
    _ready()

    def write(f: Task) -> None:
        f.exact = True
        given, cells, out = f.arrays
        left = given.load(formula.options)
        out.store(left)
        options = [given.load(k) for k in range(formula.options)]
        with f.when(left.compare("eq", 0.0)):
            for n in f.range(f["segments"]):
                rows = [cells.at(f["segments"] * k).follow("u1", n).move(OBJECT) for k in range(formula.counters)]
                counters = [row.follow(kind) for row, kind in zip(rows, kinds, strict=True)]
                _segment(formula, options, counters, out.at(n * formula.update.numbers + 1))

    return Routine("numbers of an update", ("f8", "i8", "f8"), ("segments",), write, explicit=True)


def _segment(formula: Formula, options: list[Value], counters: list[Pointer], out: Pointer) -> None:
    values = options + [c.load().to("f8") for c in counters]
    for name, args in formula.made:
        if name == "constant":
            values.append(out.block.constant("f8", args[0]))
        else:
            values.append(FUNCTIONS[name].emit(*[values[int(a)] for a in args]))
    for k, place in enumerate(formula.places):
        out.store(values[place], k)
    for counter, place in zip(counters, formula.after, strict=True):
        counter.store(values[place].to(counter.kind))


@cache
def _ready() -> None:
    """Tells the linker of the C library's pow."""
    llvm.binding().add_symbol(POW, ctypes.cast(ctypes.CDLL(None).pow, ctypes.c_void_p).value)
