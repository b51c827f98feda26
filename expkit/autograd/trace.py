"""Tracing: runs a function on Vars instead of arrays and keeps the equations.

Everything above works unchanged, since a Var is one more kind of raw value: the tape records Vars, backward runs on
Vars. Tensors from outside are constants of the graph; what the function writes into them is its state, and every
handle is put back when the trace ends, and so is every `.grad` (one that was there before becomes state as well).
"""

from collections.abc import Callable
from typing import Any

from expkit import tree
from expkit.autograd.equations import OUT, Equation, Graph, State, Var
from expkit.autograd.handle import ARRAYS, Aval, Handle, Value, aval_of, wrap
from expkit.autograd.mode import interpreting, tick
from expkit.autograd.primitive import Primitive
from expkit.autograd.views import refresh
from expkit.errors import TraceError


class Trace:
    """One trace that is open."""

    kind = "trace"

    def __init__(self) -> None:
        self.level = tick()
        self.count = 0
        self.equations: list[Equation] = []
        self.consts: dict[int, tuple[Var, Any]] = {}
        self.touched: dict[int, tuple[Handle, Any]] = {}
        self.grads: dict[int, tuple[Handle, Any, Any]] = {}

    def var(self, aval: Aval) -> Var:
        self.count += 1
        return Var(self, aval, self.count)

    def const(self, raw: Any) -> Var:
        """The Var of an array from outside."""
        found = self.consts.get(id(raw))
        if found is None:
            found = self.consts[id(raw)] = (self.var(aval_of(raw)), raw)
        return found[0]

    def record(self, prim: Primitive, raws: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        if prim.dynamic:
            raise TraceError(
                f"tracing {prim.name}: its result's shape depends on values. Use a mask (where), or run eagerly."
            )
        raws = tuple(r.raw if isinstance(r, Handle) else r for r in raws)
        args = tuple(
            self.const(r) if r.__class__ in ARRAYS.raw_types or (isinstance(r, Value) and r.level != self.level) else r
            for r in raws
        )
        avals = [Aval(a.shape, a.dtype, a.device) if isinstance(a, Var) else a for a in args]
        shaped = prim.shape(*avals, **kw)
        outs = tuple(self.var(aval) for aval in (shaped if prim.nout != 1 else (shaped,)))
        self.equations.append(Equation(prim, args, kw, outs))
        return outs if prim.nout != 1 else outs[0]

    def is_outside(self, x: Any) -> bool:
        """Whether x is a tensor from before the trace: its value may be another one when the graph runs."""
        return isinstance(x, Handle) and not isinstance(x.raw, Value) and getattr(x, "born", 0) < self.level

    def remember(self, handle: Handle) -> None:
        """Called before a tensor from outside is bound to a Var."""
        self.touched.setdefault(id(handle), (handle, handle.raw))

    def remember_grad(self, handle: Handle) -> None:
        """Called before the `.grad` of a tensor from outside is set."""
        old = handle.grad
        self.grads.setdefault(id(handle), (handle, old, None if old is None else old.raw))

    def restore(self) -> list[State]:
        """Puts every touched tensor and gradient back; what remains is the graph's state."""
        states = []
        for handle, raw in self.touched.values():
            if handle.chain is None:
                states.append(self._state(handle, raw, handle.raw))
            handle.raw = raw
        for handle, old, raw in self.grads.values():
            if old is not None and handle.grad is not None and handle.grad.raw is not raw:
                states.append(self._state(old, raw, handle.grad.raw))
            handle._grad = old
        return states

    def _state(self, tensor: Handle, before: Any, after: Any) -> State:
        known = self.consts.get(id(before))
        return State(tensor, known[0] if known else None, after)

    def result(self, x: Handle) -> Any:
        """The Var of a tensor that the function returns."""
        if x.chain is not None:
            refresh(x)
        return x.raw if isinstance(x.raw, Var) and x.raw.trace is self else self.const(x.raw)


def trace(fn: Callable[..., Any], *args: Any) -> Graph:
    """The graph of fn(*args). Tensors anywhere in `args` (nested containers) become inputs, the rest is fixed."""
    opened = Trace()
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
