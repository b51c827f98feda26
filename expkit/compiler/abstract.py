"""Abstract evaluation: a program runs on values without memory, and what it would need of memory is counted.

    opened = Abstract()
    with interpreting(opened):
        model = build()              # parameters have a shape and a dtype, and nothing behind it
        ...
    opened.equations, opened.meter.peak

Whatever is made inside (zeros, random numbers, results) is a Var with a layout: shape, dtype, strides. It counts for as
long as Python holds it, on the tape or in a local, exactly as the array would in an eager run; views share what they
look into. That is liveness over the graph, seen while it is made. Composites and gradient rules are one kernel each, as
they run eagerly (`whole`): what is made and forgotten within a rule is never in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.autograd.equations import Equation, Var
from expkit.autograd.handle import Aval
from expkit.autograd.mode import tick
from expkit.autograd.primitive import Primitive
from expkit.autograd.trace import Trace
from expkit.errors import TraceError

COPIES_UNLESS = frozenset({"contiguous"})  # a view of what lies in its own order already


class Meter:
    """Bytes that are held, and the most there were."""

    def __init__(self) -> None:
        self.live = self.peak = 0
        self.largest = 0  # block so far
        self.kind = ""  # what is being made now
        self.held: Counter[str] = Counter()  # bytes by kind
        self.at_peak: Counter[str] = Counter()
        self.depth = 0  # of kernels that are being written down: nothing is held between their equations
        self._count = 0  # of blocks so far
        self._first = 0  # the first block that belongs to the kernel
        # bytes of older blocks that have been let go of meanwhile: the kernel still reads them
        self._operands: Counter[str] = Counter()

    def take(self, count: int) -> int:
        """Adds a block of the present kind; its number."""
        self.live += count
        self.held[self.kind] += count
        self.largest = max(self.largest, count)
        self._count += 1
        if not self.depth and self.live > self.peak:
            self._note(self.live)
        return self._count

    def give(self, block: Block) -> None:
        self.live -= block.nbytes
        self.held[block.kind] -= block.nbytes
        if self.depth and block.number < self._first:
            self._operands[block.kind] += block.nbytes

    def forget(self) -> None:
        """The peak is looked for anew, from now on."""
        self.peak = self.largest = 0
        self._note(self.live)

    def _note(self, peak: int) -> None:
        self.peak, self.at_peak = peak, self.held.copy()

    @contextmanager
    def inside(self, in_place: bool = False) -> Iterator[None]:
        """One kernel: what is made and forgotten within it does not count; operands and results are there at once.

        in_place: results take the place of operands that are let go of.
        """
        if not self.depth:
            self._first, self._operands = self._count + 1, Counter()
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            operands = Counter() if in_place else self._operands
            if not self.depth and self.live + operands.total() > self.peak:
                self._note(self.live + operands.total())
                self.at_peak += operands


class Block:
    """Memory of one value, for as long as it is referred to."""

    __slots__ = ("kind", "meter", "nbytes", "number")

    def __init__(self, meter: Meter, nbytes: int) -> None:
        self.meter, self.nbytes, self.kind = meter, nbytes, meter.kind
        self.number = meter.take(nbytes)

    def become(self, kind: str) -> None:
        """Counts as another kind from now on."""
        self.meter.held[self.kind] -= self.nbytes
        self.meter.held[kind] += self.nbytes
        self.kind = kind

    def __del__(self) -> None:
        self.meter.give(self)


class Ghost(Var):
    """A value without memory. `layout`: an array of its shape, dtype and strides over a single element."""

    __slots__ = ("block", "layout", "twin")

    def __init__(self, trace: Any, aval: Aval, index: int, layout: np.ndarray, block: Block) -> None:
        super().__init__(trace, aval, index)
        self.layout, self.block = layout, block
        self.twin = Var(trace, aval, index)  # stands in equations, which hold no memory

    strides = property(lambda self: self.layout.strides)
    flags = property(lambda self: self.layout.flags)
    itemsize = property(lambda self: self.layout.itemsize)

    def looked_into(self, other: Any) -> bool:
        return isinstance(other, Ghost) and other.block is self.block


class Made(NamedTuple):
    """What is known of an equation beyond itself. `kernel`: equations of one number run as one."""

    node: int | None  # the time stamp of the tape's node whose gradient it belongs to
    kernel: int


class Abstract(Trace):
    """The trace; see the module. `whole=False`: the equations of a function that is compiled, and not run eagerly."""

    abstract = True

    def __init__(self, *, whole: bool = True) -> None:
        super().__init__(live=not whole)
        self.whole = whole
        self.meter = Meter()
        self.made_by: list[Made] = []  # beside `equations`
        self.times: list[int] = []  # when each was recorded, by the clock of the tape
        self._node: int | None = None
        self._kernel = 0

    def var(self, aval: Aval) -> Ghost:
        return self.ghost(aval, _dense(aval))

    def ghost(self, aval: Aval, layout: np.ndarray, block: Block | None = None) -> Ghost:
        self.made += 1
        aval = Aval(tuple(aval.shape), np.dtype(aval.dtype), aval.device)
        count = block or Block(self.meter, layout.size * layout.itemsize)
        return Ghost(self, aval, self.made, layout, count)

    def make(self, aval: Aval) -> Ghost:
        return self.var(aval)

    def record(self, prim: Primitive, raws: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        if prim.dynamic:
            raise TraceError(f"{prim.name}: its result's shape depends on values, which a plan does not have.")
        args = tuple(self._operand(r) for r in raws)
        avals = [Aval(a.shape, a.dtype, a.device) if isinstance(a, Var) else a for a in args]
        shaped = prim.shape(*avals, **kw)
        several = shaped if prim.nout != 1 else (shaped,)
        outs = tuple(self._result(prim, aval, args, kw) for aval in several)
        twins = tuple(a.twin if isinstance(a, Ghost) else a for a in args)
        self.equations.append(Equation(prim, twins, kw, tuple(out.twin for out in outs)))
        if self._node is None and not self.meter.depth:
            self._kernel += 1
        self.made_by.append(Made(self._node, self._kernel))
        self.times.append(tick())
        return outs if prim.nout != 1 else outs[0]

    def _result(self, prim: Primitive, aval: Aval, args: tuple[Any, ...], kw: dict[str, Any]) -> Ghost:
        first = args[0] if args else None
        if isinstance(first, Ghost):
            if prim.name in COPIES_UNLESS and first.flags.c_contiguous:
                return self.ghost(aval, first.layout, first.block)
            if prim.aliases:
                view = _view(prim, first.layout, kw)
                if view is not None:
                    return self.ghost(aval, view, first.block)
        return self.ghost(aval, _like_operands(prim, aval, args, kw))

    @contextmanager
    def kernel(self, *, in_place: bool = False) -> Iterator[None]:
        """What is recorded within it runs as one kernel; in_place: one that writes into its operands."""
        self._kernel += 1
        with self.meter.inside(in_place):
            yield

    @contextmanager
    def rule(self, node: Any) -> Iterator[None]:
        """The gradient rules of a node: what is recorded within it is its."""
        before, self._node = self._node, node.t
        try:
            with self.kernel() if self.whole else nullcontext():
                yield
        finally:
            self._node = before


def _dense(aval: Aval, order: tuple[int, ...] | None = None) -> np.ndarray:
    """A layout without gaps; `order`: the axes from slow to fast."""
    return _made(tuple(aval.shape), np.dtype(aval.dtype), order or tuple(range(len(aval.shape))))


@lru_cache(1 << 12)
def _made(shape: tuple[int, ...], dtype: np.dtype, order: tuple[int, ...]) -> np.ndarray:
    strides, step = [0] * len(shape), dtype.itemsize
    for axis in reversed(order):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return np.lib.stride_tricks.as_strided(np.empty(1, dtype), shape, strides, writeable=False)


def _view(prim: Primitive, layout: np.ndarray, kw: dict[str, Any]) -> np.ndarray | None:
    """The layout that a view has; None where the operation copies."""
    if prim.name != "reshape":
        return prim.impl(layout, **kw)
    try:
        return layout.reshape(kw["shape"], copy=False)
    except ValueError:
        return None


def _like_operands(prim: Primitive, aval: Aval, args: tuple[Any, ...], kw: dict[str, Any]) -> np.ndarray:
    """A result's layout: in the order that is asked for, or in that of the first operand of as many axes."""
    if prim.name == "layout":
        return _dense(aval, kw["order"])
    rank = len(aval.shape)
    like = next((a.layout for a in args if isinstance(a, Ghost) and a.layout.ndim == rank), None)
    if like is None or prim.aliases or like.flags.c_contiguous or prim.name in COPIES_UNLESS:
        return _dense(aval)
    return _dense(aval, tuple(sorted(range(rank), key=lambda axis: (-like.strides[axis], axis))))
