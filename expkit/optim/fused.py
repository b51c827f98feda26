"""One generated kernel for the updates of all parameters of a group, made from `update_one` itself.

`update_one` is traced once with its options left open; the kernel then takes them, and what follows from the step
counter, as numbers of each parameter. It rounds each operation as NumPy does, so that its results do not depend on how
parameters are cut or put together. `update_one` remains for whatever the kernel cannot do: other dtypes and array
libraries, memory that overlaps, state of another form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.inplace import touch_all
from expkit.autograd.trace import trace
from expkit.errors import TraceError
from expkit.kernels.cpu.code.elementwise import Gap
from expkit.optim.symbols import split, unknown
from expkit.tensor import Tensor, no_grad, zeros
from expkit.tensor.generated.base import F32, F64, enabled
from expkit.tensor.generated.update import Rule, disjoint, owner

State = dict[str, Any]
Pair = tuple[Tensor, State]
Update = Callable[..., None]
SHAPE = (2,)  # of the parameter in a trace: any that is not a number's


class Slot:
    """A parameter with its state: what the kernel may count on as long as the arrays are the same."""

    def __init__(self, p: Tensor, state: State) -> None:
        self.tensors = [p, *state.values()]
        self.arrays: list[Any] = [getattr(t, "raw", None) for t in self.tensors]  # held, so that their ids stay theirs
        raw = p.raw
        self.dtype, self.shape, self.strides = raw.dtype, raw.shape, raw.strides
        self.scalars = [a for a in self.arrays[1:] if getattr(a, "ndim", 1) == 0]
        self.whole = [a for a in self.arrays if getattr(a, "ndim", 1) != 0]
        self.asked: Any = None  # for what the rule is
        self.rule: Rule | None = None
        self.form: Any = None  # (dtype, the state's names and which of it are numbers), where a kernel can do it
        if self._regular():
            self.form = (raw.dtype, tuple((name, t.ndim == 0) for name, t in state.items()))
            self.c_contiguous = raw.flags.c_contiguous

    def _regular(self) -> bool:
        """Whether everything is an array of the parameter's dtype and layout, or a 0-d one."""
        raw = self.arrays[0]
        if raw.__class__ is not np.ndarray or raw.dtype not in (F32, F64) or not raw.ndim or not raw.flags.forc:
            return False
        for a in self.arrays:
            if a.__class__ is not np.ndarray or not a.flags.writeable or a.dtype.kind != "f":
                return False
        return all(a.dtype is raw.dtype and a.strides == raw.strides and a.shape == raw.shape for a in self.whole)

    def gradient(self, raw: Any) -> Any:
        """The gradient in the parameter's order of memory; None where it is of another kind."""
        if raw.__class__ is not np.ndarray or raw.dtype is not self.dtype or raw.shape != self.shape:
            return None
        if raw.strides == self.strides or (self.c_contiguous and raw.flags.c_contiguous):
            return raw
        ordered = np.empty_like(self.whole[0])
        ordered[...] = raw
        return ordered


class Fused:
    """The kernels of one group: its parameters as they were last seen, its rules, its batches."""

    def __init__(self) -> None:
        self._ids: list[int] = []  # of the parameters' and the state's arrays
        self._names: list[str] = []
        self._slots: list[Slot] = []
        self._owners: dict[int, Any] | None = {}  # whose memory is written; None: some overlap
        self._rules: dict[Any, Rule | None] = {}
        self._batches: dict[Rule, Batch] = {}
        self._options: tuple[dict[str, Any], Any] = ({}, ((None, None), []))

    def __reduce__(self) -> Any:
        return (Fused, ())  # a copy of an optimizer finds out for itself

    def update(self, update_one: Update, pairs: list[Pair], options: dict[str, Any], maximize: bool) -> list[Pair]:
        """Updates each (parameter, state) that a kernel can do, and returns the others."""
        if not enabled():
            return pairs
        self._look(pairs)
        gradients = [p.grad.raw for p, _ in pairs]
        if self._owners is None or not all(map(self._is_apart, gradients)):
            return pairs
        try:
            asked, numbers = self._split(options, maximize)
        except Gap:
            return pairs
        rest: list[Pair] = []
        batches: dict[Any, tuple[list[Slot], list[Any]]] = {}
        for slot, pair, raw in zip(self._slots, pairs, gradients, strict=True):
            g = None if slot.form is None else slot.gradient(raw)
            if slot.asked is not asked:
                slot.asked, slot.rule = asked, self.rule(update_one, slot.form, asked, len(numbers))
            rule = slot.rule
            if g is None or rule is None:
                rest.append(pair)
            else:
                slots, ready = batches.setdefault(rule, ([], []))
                slots.append(slot)
                ready.append(g)
        for rule, (slots, ready) in batches.items():
            batch = self._batches.get(rule)
            if batch is None or batch.slots != slots:
                batch = self._batches[rule] = Batch(rule, slots)
            batch.run(ready, numbers)
        return rest

    def _look(self, pairs: list[Pair]) -> None:
        """Takes note of the parameters and their state, where they are not those of the last step."""
        ids = [id(getattr(t, "raw", None)) for p, state in pairs for t in (p, *state.values())]
        names = [name for _, state in pairs for name in state]
        if ids != self._ids or names != self._names:
            self._slots = [Slot(p, state) for p, state in pairs]
            self._owners = _owners([a for slot in self._slots for a in slot.arrays])
            self._ids, self._names = ids, names

    def _is_apart(self, raw: Any) -> bool:
        """Whether an array shares no memory with what is written."""
        if raw.__class__ is not np.ndarray:
            return True
        whose = raw if raw.base is None else owner(raw)
        return whose is not None and self._owners is not None and id(whose) not in self._owners

    def _split(self, options: dict[str, Any], maximize: bool) -> Any:
        """(what a rule depends on, the numbers that it leaves open)"""
        if options != self._options[0] or maximize != self._options[1][0][1]:
            structure, numbers = split(options)
            self._options = (options, ((structure, maximize), numbers))
        return self._options[1]

    def rule(self, update_one: Update, *key: Any) -> Rule | None:
        """The rule for (the form of parameter and state, what it depends on of the options, how many are open)."""
        if key not in self._rules:
            self._rules[key] = None if key[0] is None else _rule(update_one, *key)
        return self._rules[key]


class Batch:
    """Parameters that one call updates."""

    def __init__(self, rule: Rule, slots: list[Slot]) -> None:
        self.rule, self.slots = rule, slots
        self._scalars = [a for slot in slots for a in slot.scalars]
        self._tensors = [t for slot in slots for t in slot.tensors]
        self._table = rule.sweep.over([slot.whole[0].size for slot in slots])
        for n, slot in enumerate(slots):
            self._table.objects[0, n] = id(slot.whole[0])
            self._table.objects[2:, n] = [id(a) for a in slot.whole[1:]]

    def run(self, gradients: list[Any], options: list[float]) -> None:
        """One update. `gradients` are in the order of the slots."""
        table, count = self._table, len(self.slots)
        table.objects[1] = [id(g) for g in gradients]
        state = [a.item() for a in self._scalars]
        each = len(state) // count
        if state == state[:each] * count:  # all have taken the same number of steps
            table.numbers[:], after = self.rule.formula.numbers([*options, *state[:each]])
            after = after * count
        else:
            parts = [self.rule.formula.numbers([*options, *state[n * each : (n + 1) * each]]) for n in range(count)]
            table.numbers[:] = [numbers for numbers, _ in parts]
            after = [x for _, numbers in parts for x in numbers]
        for a, value in zip(self._scalars, after, strict=True):
            a.fill(value)
        touch_all(self._tensors)
        table.run()


def _owners(arrays: list[Any]) -> dict[int, Any] | None:
    """The owners of the arrays' memory by id; None where memory overlaps, or nobody knows."""
    arrays = [a for a in arrays if a.__class__ is np.ndarray]
    owners = [owner(a) for a in arrays]
    found = {id(a): a for a in owners}
    if id(None) in found or (len(found) < len(arrays) and not disjoint(arrays)):
        return None
    return found


def _rule(update_one: Update, form: Any, asked: Any, numbers: int) -> Rule | None:
    """The rule of an update; None where it is none for a kernel."""
    (dtype, state), (structure, maximize) = form, asked
    names = tuple(name for name, _ in state)

    def update(p: Tensor, g: Tensor, *values: Tensor) -> Any:
        mine = dict(zip(names, values, strict=True))
        with no_grad():
            update_one(p, -g if maximize else g, mine, **unknown(structure))
        if [id(t) for t in mine.values()] != [id(t) for t in values]:
            raise Gap("an update that puts other tensors into the state")
        return p, *values

    like = [zeros(() if number else SHAPE, dtype=dtype) for _, number in [("p", False), ("g", False), *state]]
    try:
        return Rule(trace(update, *like), numbers)
    except (Gap, TraceError):
        return None
