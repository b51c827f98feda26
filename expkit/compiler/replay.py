"""Running a traced call: values from outside in, results out, what was written put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from expkit import tree
from expkit.autograd.equations import Var
from expkit.autograd.function import Function, once_differentiable
from expkit.autograd.handle import ARRAYS, Handle, wrap
from expkit.autograd.inplace import touch
from expkit.autograd.mode import no_grad
from expkit.autograd.node import Leaf
from expkit.autograd.views import refresh, root_of
from expkit.compiler.capture import Call, tensors
from expkit.compiler.program import Program
from expkit.errors import InplaceError
from expkit.tensor import Tensor


class Replay:
    """A call that stands for the function: replay(leaves). `check` sees the result before anything is written."""

    def __init__(self, call: Call, check: Callable[[Any], None] | None = None) -> None:
        self.call, self.check = call, check
        graph = call.graph
        self.states = [(s.tensor, s.after) for s in graph.state]
        self.grads = call.trace.left
        self.count = len(tensors(call.result))
        self.results = [
            *graph.outputs[: self.count], *(after for _, after in self.states),
            *(raw for _, raw, _ in self.grads), *(raw for _, raw in call.written),
        ]  # fmt: skip
        self.guards = call.trace.guards
        self.itself = self._itself()
        self._shapes = [(x, x.raw.shape, x.raw.dtype, _role(x)) for x in self._sources()]
        self._build()

    def _sources(self) -> list[Any]:
        return list(self.call.trace.sources.values())

    def _build(self) -> None:
        self.program = Program(self.call.graph, self.call.graph.equations, self.results)
        self.getters = self._getters(self.program)
        self.aliased = self._aliased()

    # ---- what comes in ----

    def holds(self) -> bool:
        """Whether everything that the trace took for granted is still so."""
        if any(get() != then for get, then in self.guards):
            return False
        return all(
            x.raw.shape == shape and x.raw.dtype == dtype and _role(x) == role for x, shape, dtype, role in self._shapes
        )

    def _getters(self, program: Program) -> list[Callable[[list[Any], dict[int, Any]], Any]]:
        """How each value that the program takes is found, given the tensors and what was read."""
        trace = self.call.trace
        places = {v.index: n for n, v in enumerate(self.call.graph.inputs)}
        reads = {v.index for v, _ in trace.reads}
        fixed = {v.index: raw for v, raw in self.call.graph.consts}
        return [_getter(v.index, places, reads, trace.sources, fixed) for v in program.takes]

    def _taken(self, raws: list[Any]) -> list[Any]:
        read = {v.index: get() for v, get in self.call.trace.reads}
        return [get(raws, read) for get in self.getters]

    def _numbers(self) -> list[float]:
        return [x for get in self.call.trace.numbers for x in get()]

    # ---- what comes out ----

    def __call__(self, leaves: Sequence[Any]) -> Any:
        given = [x for x in leaves if isinstance(x, Tensor)]
        for x in given:
            x.requires_grad  # noqa: B018  (brings a stale view up to date)
        found = self.program(self._taken([x.raw for x in given]), self._numbers())
        found = self._owned(found)
        result = self.filled([wrap(raw) for raw in found[: self.count]], given)
        if self.check is not None:
            self.check(result)
        self.leave(found, given)
        return result

    def leave(self, found: list[Any], given: list[Tensor]) -> list[Any]:
        """Writes what the call leaves outside; returns the raw results."""
        rest = iter(found[self.count :])
        for tensor, _ in self.states:
            overwrite(tensor, next(rest))
        for tensor, _, held in self.grads:
            raw = next(rest)
            old = tensor._grad
            if raw is None:
                tensor._grad = None
            elif old is None or not held:
                tensor._grad = wrap(raw)
            else:
                overwrite(old, raw)
        for n, _ in self.call.written:
            overwrite(given[n], next(rest))
        return found[: self.count]

    def filled(self, outs: list[Tensor], given: list[Tensor]) -> Any:
        """The function's result with these tensors in it; what was an argument itself is that argument."""
        rest = iter([x if place is None else given[place] for x, place in zip(outs, self.itself, strict=True)])
        return tree.map(lambda x: next(rest) if isinstance(x, Tensor) else x, self.call.result)

    def _aliased(self) -> list[bool]:
        """Which results may lie in memory that somebody else holds: arguments, state, constants, other results."""
        lent = {v.index for v in self.program.takes}
        for e in self.call.graph.equations:
            if e.prim.aliases and any(isinstance(a, Var) and a.index in lent for a in e.args):
                lent.update(v.index for v in e.outs)
        seen: set[int] = set()
        found = []
        for v in self.program.results:
            index = v.index if isinstance(v, Var) else -1
            found.append(index >= 0 and (index in lent or index in seen))
            seen.add(index)
        return found

    def _itself(self) -> list[int | None]:
        """For each result the number of the argument that it is, unless gradients flow into what was written there."""
        places = {id(x): n for n, x in enumerate(self.call.inner)}
        written = {n for n, _ in self.call.written} if self.call.differentiable else set()
        found = [places.get(id(x)) for x in tensors(self.call.result)]
        return [None if n in written else n for n in found]

    def _owned(self, found: list[Any]) -> list[Any]:
        return [x.copy() if lent else x for x, lent in zip(found, self.aliased, strict=True)]


def _role(x: Any) -> Any:
    """Whether x needs a gradient, and which hooks that meets at a leaf."""
    node = x.node
    if node.__class__ is not Leaf or (node.hooks is None and node.after is None):
        return node is not None
    return tuple(node.hooks or ()), tuple(node.after or ())


def overwrite(x: Handle, raw: Any) -> None:
    """x[...] = raw, as an in-place write that the tape is told of."""
    if x.chain is not None:
        refresh(x)
    touch(x)
    ARRAYS.write(x.raw, raw)


def _getter(
    index: int, places: Any, reads: Any, sources: Any, fixed: Any
) -> Callable[[list[Any], dict[int, Any]], Any]:
    if index in places:
        place = places[index]
        return lambda raws, _: raws[place]
    if index in reads:
        return lambda _, read: read[index]
    if index in sources:
        source = sources[index]
        return lambda *_: source.raw
    constant = fixed[index]
    return lambda *_: constant


class Differentiated(Replay):
    """A replay whose results take part in eager autograd; its backward pass is a program too."""

    def _build(self) -> None:
        call = self.call
        graph, border = call.graph, call.border
        before, behind = graph.equations[:border], graph.equations[border:]
        self.diff = call.differentiable
        self.slopes = graph.outputs[self.count :]
        self.backward = Program(graph, behind, [v for v in self.slopes if v is not None])
        seeds = {v.index: n for n, v in enumerate(graph.inputs[len(call.tensors) :])}
        self.seed_places = [seeds.get(v.index) for v in self.backward.takes]
        self.kept = [v for v, place in zip(self.backward.takes, self.seed_places, strict=True) if place is None]
        self.program = Program(graph, before, [*self.results, *self.kept])
        self.getters = self._getters(self.program)
        self.aliased = self._aliased()[: len(self.results)]
        self.held = [s for v in self.kept if (s := call.trace.sources.get(v.index)) is not None]

    def __call__(self, leaves: Sequence[Any]) -> Any:
        given = [x for x in leaves if isinstance(x, Tensor)]
        targets = [*(x for x in given if x.requires_grad), *self.call.outer]
        outs = Compute.apply(self, given, *targets)
        return self.filled(list(outs), given)

    def forward(self, given: list[Tensor]) -> tuple[list[Any], list[Any]]:
        found = self.program(self._taken([x.raw for x in given]), self._numbers())
        end = len(self.results)
        owned = self._owned(found[:end])
        if self.check is not None:
            self.check(self.filled([wrap(raw) for raw in owned[: self.count]], given))
        return self.leave(owned, given), found[end:]

    def gradients(self, kept: list[Any], seeds: list[Any]) -> list[Any]:
        values = iter(kept)
        taken = [next(values) if place is None else seeds[place] for place in self.seed_places]
        found = iter(self.backward(taken, self._numbers()))
        return [None if v is None else next(found) for v in self.slopes]


class Compute(Function):
    """The compiled call as one operation on the tape."""

    @staticmethod
    def forward(ctx: Any, replay: Differentiated, given: list[Tensor], *_targets: Tensor) -> Any:
        ctx.replay = replay
        outs, kept = replay.forward(given)
        ctx.save_for_backward(*map(wrap, kept))
        ctx.stamps = [(x, root_of(x).written) for x in (*replay.held, *given) if isinstance(x, Handle)]
        results = [wrap(raw) for raw in outs]
        ctx.mark_non_differentiable(*(x for i, x in enumerate(results) if i not in replay.diff))
        ctx.set_materialize_grads(True)
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if any(root_of(x).written != stamp for x, stamp in ctx.stamps):
            raise InplaceError(
                "a tensor that the backward pass of a compiled call needs was modified in place after the call"
            )
        with no_grad():
            raws = [grads[i].raw for i in ctx.replay.diff]
            found = ctx.replay.gradients([x.raw for x in ctx.saved_tensors], raws)
        return (None, None, *(None if g is None else wrap(g) for g in found))
