"""Running a traced call: values from outside in, results out, what was written put back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from expkit import tree
from expkit.autograd.equations import Var
from expkit.autograd.function import Function
from expkit.autograd.handle import Handle, wrap
from expkit.autograd.inplace import touch_all
from expkit.autograd.mode import MODE, no_grad
from expkit.autograd.node import Leaf
from expkit.autograd.trace import GradOf
from expkit.autograd.views import refresh, root_of
from expkit.compiler.capture import Call, tensors
from expkit.compiler.places import references
from expkit.compiler.program import Program, Write
from expkit.compiler.recorded import program
from expkit.errors import AutogradError, InplaceError
from expkit.tensor import Tensor


class Replay:
    """A call that stands for the function: replay(leaves). `check` sees the result before anything is written."""

    def __init__(self, call: Call, check: Callable[[Any], None] | None = None) -> None:
        self.call, self.check = call, check
        graph = call.graph
        self.count = len(tensors(call.result))
        self.here = Here()
        held = [_keeps(*left) for left in call.trace.left]
        self.slots = [GradSlot(x, raw) for (x, raw, _), kept in zip(call.trace.left, held, strict=True) if not kept]
        self.made = [slot for slot in self.slots if slot.value is not None]
        self.outputs = [*graph.outputs[: self.count], *(slot.value for slot in self.made)]
        self.writes = self._writes()
        self.guards = call.trace.guards
        self.itself = self._itself()
        self.sources = Sources(list(call.trace.sources.values()))
        self._build()

    def _writes(self) -> list[Write]:
        """What is written outside: into which array, and which value."""
        states = self.call.graph.state
        plain = [state for state in states if not isinstance(state.tensor, GradOf)]
        self.fixed = [state.tensor for state in plain]  # handles that are written
        found = [(partial(_now, state.tensor), state.after) for state in states if isinstance(state.tensor, GradOf)]
        found += [(partial(getattr, left[0], "_grad"), left[1]) for left in self.call.trace.left if _keeps(*left)]
        found += [(partial(self._argument, n), raw) for n, raw in self.call.written]
        self.found = [get for get, _ in found]
        writes = [Write(partial(getattr, state.tensor, "raw"), state.after) for state in plain]
        return writes + [Write(partial(_raw_of, get), value) for get, value in found]

    def _argument(self, n: int) -> Tensor:
        return self.here.given[n]

    def _build(self) -> None:
        self.program = program(self.call.graph, self.call.graph.equations, self.outputs, self.writes)
        self.intake = Intake(self.call, self.program)

    # ---- what comes in ----

    def holds(self, leaves: Sequence[Any]) -> bool:
        """Whether everything that the trace took for granted is still so, and holds for these arguments."""
        if not all(get() == then for get, then in self.guards) or not self.sources.hold():
            return False
        return self.call.apart.holds([x for x in leaves if isinstance(x, Tensor)])

    def _numbers(self) -> list[float]:
        return [x for get in self.call.trace.numbers for x in get()]

    # ---- what comes out ----

    def __call__(self, leaves: Sequence[Any]) -> Any:
        given = [x for x in leaves if isinstance(x, Tensor)]
        found = self.run(given)
        return self.filled([wrap(raw) for raw in found[: self.count]], given)

    def run(self, given: list[Tensor]) -> list[Any]:
        """The program's outputs, after what the call leaves outside is there."""
        for x in given:
            x.requires_grad  # noqa: B018  (brings a stale view up to date)
        self.here.given = given
        handles = [*self.fixed, *(get() for get in self.found)]
        for x in handles:
            if x.chain is not None:
                refresh(x)
        spare = [0] * self.count + [slot.spare() for slot in self.made]
        try:
            found = self.program(self.intake(given), self._numbers(), self._checked(), spare)
        finally:
            self.here.given = []
        touch_all(handles)
        for slot in self.slots:
            if slot.value is None:
                slot.tensor._grad = None
        for slot, raw in zip(self.made, found[self.count :], strict=False):
            slot.fill(raw)
        return found

    def _checked(self) -> Callable[[list[Any]], None] | None:
        check, given = self.check, self.here.given
        if check is None:
            return None
        return lambda found: check(self.filled([wrap(raw) for raw in found[: self.count]], given))

    def filled(self, outs: list[Tensor], given: list[Tensor]) -> Any:
        """The function's result with these tensors in it; what was an argument itself is that argument."""
        rest = iter([x if place is None else given[place] for x, place in zip(outs, self.itself, strict=True)])
        return tree.map(lambda x: next(rest) if isinstance(x, Tensor) else x, self.call.result)

    def _itself(self) -> list[int | None]:
        """For each result the number of the argument that it is, unless gradients flow into what was written there."""
        places = {id(x): n for n, x in enumerate(self.call.inner)}
        written = {n for n, _ in self.call.written} if self.call.differentiable else set()
        found = [places.get(id(x)) for x in tensors(self.call.result)]
        return [None if n in written else n for n in found]


class Here(threading.local):
    """What a call that runs works on, in each thread."""

    def __init__(self) -> None:
        self.given: list[Tensor] = []  # its arguments


class GradSlot:
    """The `.grad` that a call leaves to a tensor: one Tensor for all calls, unless somebody keeps it or its memory."""

    __slots__ = ("_held", "tensor", "value")

    def __init__(self, tensor: Any, value: Any) -> None:
        self.tensor, self.value = tensor, value  # value: its Var; None where no gradient is left
        self._held: Any = None

    def spare(self) -> int:
        """How many references to the memory of the last call's gradient are not somebody else's."""
        held = self._held
        if held is None:
            return 0
        if held is not self.tensor._grad:
            self._held = None
            return 0
        ours = references(held) == 3  # this variable's, `_held` and the tensor's
        return int(ours and (held.raw.base is None or references(held.raw) == 1))

    def fill(self, raw: Any) -> None:
        """Leaves the gradient."""
        held = self._held
        if held is None or held.raw is not raw or held is not self.tensor._grad:
            self._held = self.tensor._grad = wrap(raw)


def _keeps(tensor: Any, raw: Any, looked_at: bool) -> bool:
    """Whether the tensor's new `.grad` is the one that it has, with another value."""
    return looked_at and raw is not None and tensor._grad is not None


def _now(x: Any) -> Any:
    """The tensor that is written: a `.grad` may be another one at each call."""
    return x.tensor.grad if x.__class__ is GradOf else x


def _raw_of(get: Callable[[], Any]) -> Any:
    return get().raw


class Sources:
    """The tensors from outside that a program reads, and what of them it takes for granted."""

    def __init__(self, sources: list[Any]) -> None:
        self._sources = sources
        self._shapes = [(x.raw.shape, x.raw.dtype) for x in sources]
        self._roles = [_role(x) for x in sources]
        self._raws, self._nodes = [x.raw for x in sources], [x.node for x in sources]
        self._leaves = [x for x in self._nodes if x.__class__ is Leaf]

    def hold(self) -> bool:
        """Whether shapes and dtypes are the same, and whether the tensors need gradients; and hooks."""
        raws, nodes = [x.raw for x in self._sources], [x.node for x in self._sources]
        if not all(map(is_, raws, self._raws)):
            if any((x.shape, x.dtype) != then for x, then in zip(raws, self._shapes, strict=True)):
                return False
            self._raws = raws
        if all(map(is_, nodes, self._nodes)) and not any(x.hooks or x.after for x in self._leaves):
            return True
        return all(_role(x) == then for x, then in zip(self._sources, self._roles, strict=True))


def _role(x: Any) -> Any:
    """Whether x needs a gradient, and which hooks that meets at a leaf."""
    node = x.node
    if node.__class__ is not Leaf or not (node.hooks or node.after):
        return node is not None
    return tuple(node.hooks or ()), tuple(node.after or ())


def _small(constant: Any) -> Any:
    """A constant array of equal elements (what gradient rules begin with, say) as a view of one element."""
    if constant.__class__ is not np.ndarray or constant.size < 2 or constant.dtype.kind not in "fiub":
        return constant
    bits = constant.reshape(-1).view(f"u{constant.itemsize}")  # 0.0 is not -0.0
    if (bits != bits[0]).any():
        return constant
    one = constant.flat[:1].reshape(()).copy()
    one.flags.writeable = False
    return np.broadcast_to(one, constant.shape)


class Intake:
    """The values that a program takes: arguments, tensors from outside, what is read anew, constants."""

    def __init__(self, call: Call, program: Program) -> None:
        trace = call.trace
        places = {v.index: n for n, v in enumerate(call.graph.inputs)}
        fixed = {v.index: raw for v, raw in call.graph.consts}
        reads = {v.index: n for n, (v, _) in enumerate(trace.reads)}
        takes = list(enumerate(v.index for v in program.takes))
        self._getters = [get for _, get in trace.reads]
        self._given = [(n, places[k]) for n, k in takes if k in places]
        self._read = [(n, reads[k]) for n, k in takes if k in reads]
        self._sources = [(n, trace.sources[k]) for n, k in takes if k in trace.sources and k not in reads]
        own = {*places, *reads, *trace.sources}
        self._values = [fixed.get(k) if k in own or k not in fixed else _small(fixed[k]) for _, k in takes]

    def __call__(self, given: Sequence[Tensor]) -> list[Any]:
        read = [get() for get in self._getters]
        values = self._values.copy()
        for n, place in self._given:
            values[n] = given[place].raw
        for n, place in self._read:
            values[n] = read[place]
        for n, source in self._sources:
            values[n] = source.raw
        return values


class Differentiated(Replay):
    """A replay whose results take part in eager autograd; its backward pass is a program too."""

    def _build(self) -> None:
        call = self.call
        graph, border = call.graph, call.border
        before, behind = graph.equations[:border], graph.equations[border:]
        self.diff = call.differentiable
        slopes = iter(graph.outputs[self.count :])  # without those that are None
        self.slopes = [next(slopes) if reached else None for reached in call.reached]
        self.backward = program(graph, behind, [v for v in self.slopes if v is not None])
        seeds = {v.index: n for n, v in enumerate(graph.inputs[len(call.inner) :])}
        self.seed_places = [seeds.get(v.index) for v in self.backward.takes]
        kept = [v for v, place in zip(self.backward.takes, self.seed_places, strict=True) if place is None]
        self.end = len(self.outputs)
        lent = frozenset(range(self.end, self.end + len(kept)))
        self.program = program(graph, before, [*self.outputs, *kept], self.writes, lent)
        self.intake = Intake(call, self.program)
        self.needed = self._behind(kept)
        self.held = [s for v in kept if (s := call.trace.sources.get(v.index)) is not None]

    def __call__(self, leaves: Sequence[Any]) -> Any:
        given = [x for x in leaves if isinstance(x, Tensor)]
        targets = [*(x for x in given if x.requires_grad), *self.call.outer]
        outs = Compute.apply(self, given, *targets)
        return self.filled(list(outs), given)

    def _behind(self, kept: Sequence[Any]) -> list[int]:
        """The numbers of the arguments whose values are kept for the backward pass, in whole or as a view of them.

        What another kernel has made of an argument is memory of its own.
        """
        found = {v.index for v in kept}
        for e in reversed(self.program.equations):
            if e.prim.aliases and any(v.index in found for v in e.outs):
                found.update(a.index for a in e.args if isinstance(a, Var))
        return [n for n, v in enumerate(self.call.graph.inputs[: len(self.call.inner)]) if v.index in found]

    def forward(self, given: list[Tensor]) -> tuple[list[Any], list[Any]]:
        found = self.run(given)
        return found[: self.count], found[self.end :]

    def gradients(self, kept: list[Any], seeds: list[Any]) -> list[Any]:
        values = iter(kept)
        taken = [next(values) if place is None else seeds[place] for place in self.seed_places]
        found = iter(self.backward(taken, self._numbers()))
        return [None if v is None else next(found) for v in self.slopes]


class Compute(Function):
    """The compiled call as one operation on the tape."""

    @staticmethod
    def forward(ctx: Any, replay: Differentiated, given: list[Tensor], *targets: Tensor) -> Any:
        ctx.replay, ctx.targets = replay, targets
        outs, kept = replay.forward(given)
        ctx.save_for_backward(*map(wrap, kept))
        needed = (*replay.held, *(given[n] for n in replay.needed))
        ctx.stamps = [(x, root_of(x).written) for x in needed if isinstance(x, Handle)]
        results = [wrap(raw) for raw in outs]
        ctx.mark_non_differentiable(*(x for i, x in enumerate(results) if i not in replay.diff))
        ctx.set_materialize_grads(True)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if any(root_of(x).written != stamp for x, stamp in ctx.stamps):
            raise InplaceError(
                "a tensor that the backward pass of a compiled call needs was modified in place after the call"
            )
        with no_grad():
            raws = [grads[i].raw for i in ctx.replay.diff]
            found = ctx.replay.gradients([x.raw for x in ctx.saved_tensors], raws)
        slopes = [None if g is None else wrap(g) for g in found]
        if MODE.grad:  # somebody may differentiate them in turn
            slopes = [None if g is None else Slope.apply(g, *ctx.targets, *grads) for g in slopes]
        return (None, None, *slopes)


class Slope(Function):
    """A gradient of a compiled call: a value whose own derivative is not known."""

    @staticmethod
    def forward(_ctx: Any, slope: Tensor, *_sources: Tensor) -> Tensor:
        return slope

    @staticmethod
    def backward(_ctx: Any, *_grads: Tensor) -> Any:
        raise AutogradError(
            "the gradient of a compiled function cannot be differentiated again. Compile the function that takes both "
            "gradients, or run this one eagerly (its attribute fn)."
        )
