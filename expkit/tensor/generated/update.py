"""In-place updates of many arrays by one kernel: from a traced update to its kernel; clipping; who owns what memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from expkit.autograd.equations import Equation, Graph, Var
from expkit.autograd.handle import Handle
from expkit.autograd.inplace import touch_all
from expkit.autograd.mode import MODE
from expkit.kernels.cpu.code.elementwise import Gap, kind_of
from expkit.kernels.cpu.loops.program import Ref, Step
from expkit.kernels.cpu.nets.formula import FUNCTIONS, Formula, named
from expkit.kernels.cpu.nets.update import Update, sweep_of, total
from expkit.tensor.generated.base import F32, F64, enabled

_NAMES = {f.python: name for name, f in FUNCTIONS.items()}  # of what an open number is made by


class Source(NamedTuple):
    """A value of the kernel: an "array" that it reads, a "number", or what a "step" makes."""

    what: str
    which: int


class Rule:
    """A traced update (p, g, *state) -> (p, *state): elementwise on whole arrays, and on numbers (0-d) beside them.

    A number in an equation that has `place` is left open: it is the option at that place, or `fn(*args)` of such.
    """

    def __init__(self, graph: Graph, options: int) -> None:
        """options: how many numbers are left open. Gap where the update cannot be one kernel."""
        self.shape = graph.inputs[0].shape
        whole = [v for v in graph.inputs if v.shape == self.shape]
        single = [v for v in graph.inputs if v.shape != self.shape]
        self._whole = {id(v): Source("array", n) for n, v in enumerate(whole)}
        self._steps: list[tuple[str, list[Any], dict[str, Any]]] = []
        self._places = {id(v): options + n for n, v in enumerate(single)}  # of numbers among all numbers
        self._made: list[tuple[str, tuple[float, ...]]] = []  # how each further number is computed
        self._given = options + len(single)
        self._numbers: list[int] = []  # the places of the kernel's numbers
        for equation in graph.equations:
            self._read(equation)
        kinds = {kind_of(v.dtype) for v in whole}
        if len(kinds) != 1:
            raise Gap("arrays of several dtypes")
        update = self._update(kinds.pop(), len(whole), graph.outputs)
        pairs = zip(graph.inputs[2:], graph.outputs[1:], strict=True)
        after = [self._place(new) for old, new in pairs if old.shape != self.shape]
        places = tuple(self._numbers)
        self.formula = Formula(update, options, len(single), tuple(self._made), places, tuple(after))
        self.sweep = sweep_of(update)

    def _read(self, equation: Equation) -> None:
        (out,), name = equation.outs, equation.prim.name
        if out.shape == self.shape:
            args = [self._operand(a) for a in equation.args]
            self._whole[id(out)] = Source("step", len(self._steps))
            self._steps.append((name, args, equation.kw))
        elif out.shape == () and name in FUNCTIONS:
            self._places[id(out)] = self._compute(name, tuple(map(self._place, equation.args)))
        else:
            raise Gap(f"{name} in an update")

    def _operand(self, x: Any) -> Any:
        """What a step works on: a Source or a constant."""
        if id(x) in self._whole:
            return self._whole[id(x)]
        if _fixed(x):
            if x != x:
                raise Gap("the trace has fixed an option")
            return x
        place = self._place(x)
        if place not in self._numbers:
            self._numbers.append(place)
        return Source("number", self._numbers.index(place))

    def _place(self, x: Any) -> int:
        """Where a number stands among all numbers."""
        if id(x) in self._places:
            return self._places[id(x)]
        if isinstance(x, Var):
            raise Gap("a number from elsewhere")
        if _fixed(x):
            return self._compute("constant", (float(x),))
        return x.place if x.fn is None else self._compute(_NAMES[x.fn], tuple(map(self._place, x.args)))

    def _compute(self, name: str, args: tuple[float, ...]) -> int:
        made = name, args
        if made not in self._made:
            self._made.append(made)
        return self._given + self._made.index(made)

    def _update(self, kind: str, arrays: int, outputs: Sequence[Any]) -> Update:
        start = {"array": 0, "number": arrays, "step": arrays + len(self._numbers)}

        def value(x: Any) -> Any:
            return Ref(start[x.what] + x.which) if isinstance(x, Source) else x

        steps = tuple(Step(name, tuple(map(value, args)), tuple(kw.items())) for name, args, kw in self._steps)
        written = [0, *range(2, arrays)]  # the gradient, number 1, is only read
        after = [value(self._whole[id(v)]).number for v in outputs if v.shape == self.shape]
        writes = tuple(pair for pair in zip(written, after, strict=True) if pair[0] != pair[1])
        return Update(kind, arrays, len(self._numbers), steps, writes)


def _fixed(x: Any) -> bool:
    return not isinstance(x, Var) and not hasattr(x, "place")


# ---- memory ----------------------------------------------------------------------------------------------------------


def owner(x: Any) -> Any:
    """The array whose memory x looks into; None where it is not NumPy's own."""
    while x.base is not None:
        x = x.base
        if x.__class__ is not np.ndarray:
            return None
    return x if x.flags.owndata else None


def disjoint(arrays: Sequence[Any]) -> bool:
    """Whether no two arrays have a byte in common."""
    bounds = sorted(np.lib.array_utils.byte_bounds(x) for x in arrays if x.size)
    return all(end <= start for (_, end), (start, _) in pairwise(bounds))


# ---- all arrays at once ----------------------------------------------------------------------------------------------


def apply_all(name: str, operands: Sequence[Sequence[Handle]], *numbers: float) -> bool:
    """One of SIMPLE for all tensors at once: the first operand's are overwritten, those of further ones are read.

    False (and nothing done) where the kernel is not for them.
    """
    tensors = operands[0]
    kind = _common_kind([x for column in operands for x in column])
    if kind is None or not all(t.raw.flags.writeable for t in tensors) or not _paired(operands):
        return False
    table = sweep_of(named(name, kind).update).over([t.raw.size for t in tensors])
    for n, column in enumerate(operands):
        table.objects[n] = [id(t.raw) for t in column]
    table.numbers[:] = numbers
    touch_all(tensors)
    table.run()
    return True


def _paired(operands: Sequence[Sequence[Handle]]) -> bool:
    """Whether what belongs together is of one shape and lies in one order."""
    return all(same_order(x.raw, y.raw) for xs in operands[1:] for x, y in zip(operands[0], xs, strict=True))


def same_order(x: Any, y: Any) -> bool:
    """Whether two arrays of one shape have their elements in the same order of memory."""
    if x.shape != y.shape:
        return False
    c, f = x.flags.c_contiguous and y.flags.c_contiguous, x.flags.f_contiguous and y.flags.f_contiguous
    return c or f or x.strides == y.strides


def zero_all(tensors: Sequence[Handle]) -> bool:
    """Fills all tensors with zeros, at the memory's speed; False (and nothing done) where that is not for them."""
    if MODE.special or not all(t.raw.__class__ is np.ndarray and t.raw.flags.writeable for t in tensors):
        return False
    touch_all(tensors)
    for t in tensors:
        t.raw.fill(0)
    return True


def sum_all(name: str, tensors: Sequence[Handle]) -> float | None:
    """One of SUMS over all elements, in double precision; None where the kernel is not for them."""
    return None if _common_kind(tensors) is None else float(total(name, [t.raw for t in tensors]))


def _common_kind(tensors: Sequence[Handle]) -> str | None:
    """f4 or f8 where all are dense arrays of it, none overlaps another, and nothing is traced."""
    if not tensors or not enabled() or MODE.special:
        return None
    arrays = [t.raw for t in tensors]
    dtype = arrays[0].dtype
    if dtype is not F32 and dtype is not F64:
        return None
    if not all(a.__class__ is np.ndarray and a.dtype is dtype and a.flags.forc for a in arrays):
        return None
    return kind_of(dtype) if disjoint(arrays) else None
