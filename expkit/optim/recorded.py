"""An optimizer's step in a trace that is going to be replayed, as one equation for all parameters of a group.

The rule is the one that `fused.py` has; options are read at each run. What the rule is not for is left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle, wrap
from expkit.autograd.views import root_of
from expkit.kernels.cpu.code.elementwise import Gap
from expkit.optim.fused import Fused, Pair, Update
from expkit.optim.symbols import split
from expkit.tensor import Tensor, cat, float64, no_grad, where
from expkit.tensor.generated.update import owner
from expkit.tensor.ops.segments import apart, record_update, recordable, recording

Batches = dict[Any, list[Pair]]


class Options:
    """The options of a group, looked at anew at each run: what rules depend on, and a vector of the numbers.

    values: as the group has them; now: as updates take them.
    """

    def __init__(self, values: Callable[[], list[Any]], now: Callable[[], dict[str, Any]]) -> None:
        self._values, self._now = values, now
        self._seen: list[Any] | None = None
        self._structure: Any = None
        self._vector: Any = np.zeros(0)

    def structure(self) -> Any:
        """What the rules depend on; None where no rule can."""
        values = self._values()
        if values != self._seen:
            self._seen = None if _changing(values) else values
            try:
                self._structure, numbers = split(self._now())
            except Gap:
                self._structure, numbers = None, []
            if len(self._vector) != len(numbers) + 1:
                self._vector = np.zeros(len(numbers) + 1)
            self._vector[:-1] = numbers
        return self._structure

    def vector(self) -> Any:
        """The numbers, and a zero: nothing is left as it is."""
        self.structure()
        return self._vector


def _changing(option: Any) -> bool:
    """Whether an option may be another one without being replaced: whether there is a tensor in it."""
    return any(map(_changing, option)) if isinstance(option, tuple | list) else isinstance(option, Tensor)


def record(
    trace: Any, fused: Fused, update_one: Update, pairs: list[Pair], options: Options, maximize: bool, skip: Any
) -> list[Pair]:
    """Records the updates of the (parameter, state) that one rule is for, and returns the others.

    skip: a 0-d tensor, true where everything is to stay as it is; or None.
    """
    if recording() is not trace:
        return pairs
    structure, count = options.structure(), len(options.vector()) - 1
    if structure is None or not _apart(pairs):
        return pairs
    batches: Batches = {}
    rest = []
    for p, state in pairs:
        form = _form(trace, p, state)
        rule = None if form is None else fused.rule(update_one, form[0], (structure, maximize), count)
        if form is None or rule is None:
            rest.append((p, state))
        else:
            batches.setdefault((rule.formula, form), []).append((p, state))
    if batches:
        trace.guard(options.structure)
        numbers: Tensor = wrap(trace.read(options.vector(), options.vector, lambda: None))
        if skip is not None:
            numbers = cat([numbers[:-1], skip.to(float64).reshape(1)])
        for (formula, _), batch in batches.items():
            states = [list(state.values()) for _, state in batch]
            columns = [*zip(*states, strict=True)]
            arrays = [x for x in columns if x[0].ndim]
            counters = [x for x in columns if not x[0].ndim]
            ps, gs = [p for p, _ in batch], [p.grad for p, _ in batch]
            record_update(formula, numbers, [ps, gs, *arrays], counters)
    return rest


def _form(trace: Any, p: Tensor, state: dict[str, Any]) -> Any:
    """(what the rule depends on, the counters' dtypes); None where no rule is for such a parameter."""
    own = [p, *state.values()]
    g: Any = p.grad
    if not p.ndim or not all(recordable(trace, x) for x in (*own, g)) or any(x.chain is not None for x in own):
        return None
    dtype, shape = p.raw.dtype, p.raw.shape
    if any(x.raw.dtype != dtype or x.raw.shape != shape for x in (g, *own) if x.ndim):
        return None
    counters = tuple(x.raw.dtype for x in state.values() if not x.ndim)
    return (dtype, tuple((name, x.ndim == 0) for name, x in state.items())), counters


def _apart(pairs: Sequence[Pair]) -> bool:
    """Whether nothing that is overwritten is anything else that is overwritten, or a gradient."""
    own = [x for p, state in pairs for x in (p, *state.values()) if isinstance(x, Handle)]
    if not apart(own):
        return False
    held = {id(x) for x in own} | {id(x.raw) for x in own}
    held |= {id(owner(x.raw)) for x in own if x.raw.__class__ is np.ndarray}
    return not any(held.intersection(_names(p.grad)) for p, _ in pairs)


def _names(g: Any) -> list[int]:
    """What a gradient may be known by."""
    return [id(root_of(g)), id(g.raw), *([id(owner(g.raw))] if g.raw.__class__ is np.ndarray else [])]


@contextmanager
def unless(trace: Any, skip: Any, pairs: Sequence[Pair]) -> Iterator[None]:
    """What is written inside into parameters and their state stays as it was where `skip` is true."""
    tensors = [x for p, state in pairs for x in (p, *state.values()) if isinstance(x, Tensor)]
    before = [wrap(trace.const(x.raw, x) if trace.is_outside(x) else x.raw) for x in tensors]
    yield
    with no_grad():
        for x, old in zip(tensors, before, strict=True):
            if x.raw is not old.raw:
                x.copy_(where(skip, old, x))
