"""Tracing: runs a function on Vars instead of arrays and keeps the equations.

Everything above works unchanged, since a Var is one more kind of raw value: the tape records Vars, backward runs on
Vars. Tensors from outside are constants of the graph; what the function writes into them is its state, and every
handle is put back when the trace ends, and so is every `.grad` (one that was there before becomes state as well).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from expkit import tree
from expkit.autograd.equations import OUT, Equation, Graph, State, Var
from expkit.autograd.handle import ARRAYS, Aval, Handle, Value, aval_of, wrap
from expkit.autograd.mode import interpreting, tick
from expkit.autograd.primitive import Primitive
from expkit.autograd.views import refresh
from expkit.errors import TraceError


class GradOf:
    """The `.grad` of a tensor, whichever it is when it is read."""

    chain = node = None

    def __init__(self, tensor: Handle) -> None:
        self.tensor = tensor

    @property
    def raw(self) -> Any:
        return self.tensor.grad.raw

    @property
    def written(self) -> int:
        return self.tensor.grad.written


class Trace:
    """One trace that is open.

    live: the graph is going to stand for calls of the function, so what it reads outside is read again at each: tensors
    (`sources`), values that somebody computes (`reads`, in their order), Python numbers (`numbers`). `guards` are what
    the trace took for granted; asking for the value of a tensor is an error.
    """

    kind = "trace"
    abstract = False  # what is made while it is open (zeros, random numbers) has no memory either: see make()
    whole = False  # composites and gradient rules stay whole, as they run eagerly

    def __init__(self, *, live: bool = False) -> None:
        self.level = tick()
        self.live = live
        self.sources: dict[int, Any] = {}  # by the index of a constant's Var
        self.reads: list[tuple[Var, Callable[[], Any]]] = []
        self.drawn: dict[Any, Any] = {}  # what was read of random generators, by where they were
        self.numbers: list[Callable[[], Sequence[float]]] = []
        self.counted = 0
        self.guards: list[tuple[Callable[[], Any], Any]] = []
        self.undo: list[Callable[[], Any]] = []
        self.changed: list[str] = []  # what of the Python around the function itself has changed
        self.owners: dict[int, Handle] = {}  # of the `.grad`s that were looked at
        self.left: list[tuple[Handle, Any, bool]] = []  # (tensor, raw value of its new .grad, was it there before?)
        self.made = 0
        self.equations: list[Equation] = []
        self.consts: dict[int, tuple[Var, Any]] = {}
        self.touched: dict[int, tuple[Handle, Any]] = {}
        self.grads: dict[int, tuple[Handle, Any, Any]] = {}

    def var(self, aval: Aval) -> Var:
        self.made += 1
        return Var(self, aval, self.made)

    def const(self, raw: Any, source: Any = None) -> Var:
        """The Var of an array from outside; `source`: the tensor that holds it."""
        found = self.consts.get(id(raw))
        if found is None:
            found = self.consts[id(raw)] = (self.var(aval_of(raw)), raw)
        if source is not None and self.is_outside(source):
            owner = self.owners.get(id(source))
            if owner is not None and owner._grad is source:
                source = GradOf(owner)
            self.sources.setdefault(found[0].index, source)
        return found[0]

    def make(self, aval: Aval) -> Any:
        """The value of a tensor that is made of nothing, if `abstract`."""
        raise NotImplementedError

    def rule(self, node: Any) -> AbstractContextManager[Any]:
        """A context for the gradient rules of a node, if `abstract`."""
        raise NotImplementedError

    def read(self, now: Any, get: Callable[[], Any], undo: Callable[[], Any]) -> Var:
        """The Var of an array: `now`, and if live what `get` gives at each run; tracing is then undone by `undo`."""
        var = self.const(now)
        if self.live:
            self.reads.append((var, get))
            self.undo.append(undo)
        return var

    def guard(self, get: Callable[[], Any]) -> None:
        """The trace is good for as long as `get` returns what it returns now."""
        self.guards.append((get, get()))

    def count(self, get: Callable[[], Sequence[float]]) -> int:
        """The place of the first of some numbers that are asked for anew at each run."""
        first = self.counted
        self.counted += len(get())
        self.numbers.append(get)
        return first

    def record(self, prim: Primitive, raws: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        if prim.dynamic:
            raise TraceError(
                f"tracing {prim.name}: its result's shape depends on values. Use a mask (where), or run eagerly."
            )
        args = tuple(self._operand(r) for r in raws)
        avals = [Aval(a.shape, a.dtype, a.device) if isinstance(a, Var) else a for a in args]
        shaped = prim.shape(*avals, **kw)
        outs = tuple(self.var(aval) for aval in (shaped if prim.nout != 1 else (shaped,)))
        self.equations.append(Equation(prim, args, kw, outs))
        return outs if prim.nout != 1 else outs[0]

    def _operand(self, x: Any) -> Any:
        raw = x.raw if isinstance(x, Handle) else x
        if raw.__class__ in ARRAYS.raw_types or (isinstance(raw, Value) and raw.level != self.level):
            return self.const(raw, x if isinstance(x, Handle) else None)
        return raw

    def is_outside(self, x: Any) -> bool:
        """Whether x is a tensor from before the trace: its value may be another one when the graph runs."""
        return isinstance(x, Handle) and not isinstance(x.raw, Value) and getattr(x, "born", 0) < self.level

    def owns_grad(self, x: Handle) -> bool:
        """Whether the `.grad` of x is from before the trace, as x is, be it written meanwhile or not."""
        return self.is_outside(x) or id(x) in self.touched

    def remember(self, handle: Handle) -> None:
        """Called before a tensor from outside is bound to a Var."""
        self.touched.setdefault(id(handle), (handle, handle.raw))

    def remember_grad(self, handle: Handle) -> None:
        """Called before the `.grad` of a tensor from outside is set."""
        old = handle._grad
        self.grads.setdefault(id(handle), (handle, old, None if old is None else old.raw))

    def asked_grad(self, handle: Handle) -> None:
        """Called when the `.grad` of a tensor from outside is looked at: whether there is one is taken for granted."""
        if self.live and id(handle) not in self.grads and id(handle) not in self.owners:
            self.owners[id(handle)] = handle
            self.guard(lambda: handle._grad is None)
            if handle._grad is not None:
                self.owners[id(handle._grad)] = handle

    def restore(self) -> list[State]:
        """Puts every touched tensor and gradient back; what remains is the graph's state."""
        for undo in reversed(self.undo):
            undo()
        states = []
        for handle, raw in self.touched.values():
            if handle.chain is None:
                states.append(self._state(handle, raw, handle.raw))
            handle.raw = raw
        for handle, old, raw in self.grads.values():
            new = None if handle._grad is None else handle._grad.raw
            self.left.append((handle, new, id(handle) in self.owners))
            if not self.live and old is not None and handle._grad is not None and handle._grad.raw is not raw:
                states.append(self._state(old, raw, handle._grad.raw))
            handle._grad = old
        return states

    def _state(self, tensor: Handle, before: Any, after: Any) -> State:
        known, owner = self.consts.get(id(before)), self.owners.get(id(tensor))
        place = tensor if owner is None or owner is tensor else GradOf(owner)
        return State(place, known[0] if known else None, after)

    def result(self, x: Handle) -> Any:
        """The Var of a tensor that the function returns."""
        if x.chain is not None:
            refresh(x)
        return x.raw if isinstance(x.raw, Var) and x.raw.trace is self else self.const(x.raw)


def trace(fn: Callable[..., Any], *args: Any) -> Graph:
    """The graph of fn(*args). Tensors anywhere in `args` (nested containers) become inputs, the rest is fixed."""
    return capture(Trace(), fn, args)


def capture(opened: Trace, fn: Callable[..., Any], args: Any) -> Graph:
    """As `trace`, in a Trace that the caller keeps."""
    leaves, structure = tree.flatten(args)
    inputs: list[Var] = []

    def enter(x: Any) -> Any:
        if not isinstance(x, Handle):
            return x
        var = opened.var(aval_of(x.raw))
        inputs.append(var)
        inner = wrap(var)
        if x.node is not None:
            inner.requires_grad_()
        return inner

    graph = Graph(inputs, [], opened.equations)

    def leave(x: Any) -> Any:
        if not isinstance(x, Handle):
            return x
        graph.outputs.append(opened.result(x))
        return OUT

    with interpreting(opened):
        try:
            graph.structure = tree.map(leave, fn(*tree.unflatten(structure, [enter(x) for x in leaves])))
        finally:
            graph.state = opened.restore()
    graph.consts = list(opened.consts.values())
    return graph
