"""How an application of a `Function` stands on the tape: its context, and a node whose rule is the user's backward."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from expkit.autograd.callbacks import turned
from expkit.autograd.handle import ARRAYS, Handle, Value, wrap
from expkit.autograd.mode import MODE, tick
from expkit.autograd.node import Leaf, Node, Pick, aval
from expkit.autograd.saved import note, opened
from expkit.errors import AutogradError, InplaceError


class FunctionCtx:
    """What forward hands to backward: saved tensors, and any attributes."""

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self) -> None:
        self._saved: tuple[Any, ...] = ()
        self._for_forward: tuple[Any, ...] | None = None
        self._dirty: tuple[Any, ...] = ()
        self._constant: tuple[Any, ...] = ()
        self._materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps tensors (or None) for backward; a later in-place write to one of them is then an error."""
        for x in tensors:
            if x is not None and not isinstance(x, Handle):
                raise TypeError(
                    f"save_for_backward can only save tensors, but an argument is of type {type(x).__name__}: keep it "
                    f"as an attribute of ctx"
                )
        self._saved = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keeps tensors for jvp."""
        self._for_forward = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Says which inputs forward has written in place; they must be among its results."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Says which results have no gradient."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """False: the gradient of an output that nothing depends on arrives as None, not as zeros."""
        self._materialize = bool(value)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What save_for_backward was given."""
        return self._saved


def context_of(args: Sequence[Any]) -> FunctionCtx:
    ctx = FunctionCtx()
    ctx.needs_input_grad = tuple(isinstance(x, Handle) and x.node is not None for x in args)
    return ctx


def recorded(name: str, rule: Callable[..., Any], ctx: FunctionCtx, args: tuple[Any, ...], out: Any) -> Any:
    """The results, with the node that leads from them to the arguments; rule(ctx, *grads) -> their gradients."""
    outs = tuple(_result(o, ctx, args) for o in (out if isinstance(out, tuple) else (out,)))
    edges = tuple(x.node if isinstance(x, Handle) else None for x in args)
    if not any(isinstance(o, Handle) for o in outs):
        return outs if isinstance(out, tuple) else outs[0]
    if MODE.grad and any(edge is not None for edge in edges):
        _attach(_Call(name, rule, ctx, len(args)), outs, out if isinstance(out, tuple) else (out,), args, edges)
    return outs if isinstance(out, tuple) else outs[0]


def _result(o: Any, ctx: FunctionCtx, args: tuple[Any, ...]) -> Any:
    if not isinstance(o, Handle) or any(o is x for x in ctx._dirty):
        return o
    return ARRAYS.tensor.alias(o) if o.node is not None or any(o is x for x in args) else o


def _attach(call: "_Call", outs: Sequence[Any], before: Sequence[Any], args: Sequence[Any], edges: Any) -> None:
    ctx = call.ctx
    tensors = [(o, b) for o, b in zip(outs, before, strict=True) if isinstance(o, Handle)]
    raws = tuple(o.raw for o, _ in tensors)
    node = Node()
    node.prim, node.kw, node.edges, node.hooks, node.dirty = call, {}, edges, None, 0  # type: ignore[assignment]
    call.nout = len(tensors)
    call.given = tuple(isinstance(o, Handle) for o in outs)
    node.avals = tuple(aval(r) for r in raws) if call.nout != 1 else None
    kept = []
    for s in ctx._saved:
        place = next((k for k, (o, b) in enumerate(tensors) if s is b or s is o), None)
        is_input = any(s is x for x in args) and not any(s is x for x in ctx._dirty)
        call.places.append(None if place is None or is_input else place)
        kept.append(None if s is None or call.places[-1] is not None else s)
    call.saves = tuple(sorted({k for k in call.places if k is not None}))
    call.empty = tuple(s is None for s in ctx._saved)
    node.out = (raws if call.nout != 1 else raws[0]) if call.saves else None
    node.saved = (*(aval(x.raw) if isinstance(x, Handle) else x for x in args), *kept)
    node.t = tick()
    if MODE.special:
        note(node)
    ctx._saved = ()
    for k, (o, b) in enumerate(tensors):
        if any(b is x for x in ctx._constant) or not (o.dtype.is_floating_point or o.dtype.is_complex):
            continue
        if o.node.__class__ is Leaf or (o.chain is not None and any(o is x for x in ctx._dirty)):
            raise InplaceError(
                f"{call.name} writes in place into a leaf that requires grad, or into a view. Give it a clone()."
            )
        o.node = node if call.nout == 1 else Pick(node, k)


class _Call:
    """One application, in the role of the primitive of its node."""

    vjp = None
    aliases = dynamic = False

    def __init__(self, name: str, rule: Callable[..., Any], ctx: FunctionCtx, count: int) -> None:
        self.name, self.rule, self.ctx, self.count = name, rule, ctx, count
        self.nout = 1
        self.materialize = ctx._materialize
        self.given: tuple[bool, ...] = ()  # which results are tensors; the others have None for gradient
        self.places: list[int | None] = []  # of each saved tensor: which output it is, if it is one
        self.saves: tuple[int, ...] = ()
        self.empty: tuple[bool, ...] = ()  # which saved tensors are None

    def joint(self, g: Any, out: Any, *args: Any) -> list[Any]:
        """The engine's rule: gradients of all arguments, raw or Tensors as the incoming ones are."""
        gs = g if self.nout != 1 else (g,)
        boxed = any(isinstance(x, Handle) for x in gs)
        outs = out if self.nout != 1 else (out,)
        self.ctx._saved = tuple(
            None if none else _boxed(x if place is None else outs[place])
            for x, place, none in zip(args[self.count :], self.places, self.empty, strict=True)
        )
        parts = iter([None if x is None else turned(_boxed(x)) for x in gs])
        try:
            result = self.rule(self.ctx, *(next(parts) if tensor else None for tensor in self.given))
        finally:
            self.ctx._saved = ()
        results = list(result) if isinstance(result, tuple | list) else [result]
        while len(results) > self.count and results[-1] is None:  # for arguments that were left at their defaults
            results.pop()
        if len(results) != self.count:
            raise AutogradError(
                f"function {self.name}Backward returned an incorrect number of gradients "
                f"(expected {self.count}, got {len(results)})"
            )
        return [self._checked(i, r, x, boxed) for i, (r, x) in enumerate(zip(results, args, strict=False))]

    def _checked(self, i: int, r: Any, x: Any, boxed: bool) -> Any:
        if r is None:
            return None
        if not isinstance(r, Handle):
            raise TypeError(f"{self.name}.backward: gradient {i} is a {type(r).__name__}, not a Tensor or None")
        got, shape = tuple(r.shape), tuple(getattr(x, "shape", r.shape))
        if got != shape and broadcast_or_none(shape, got) != got:
            raise AutogradError(
                f"function {self.name}Backward returned an invalid gradient at index {i} - got {list(got)} but "
                f"expected shape compatible with {list(shape)}"
            )
        r.requires_grad  # noqa: B018  (brings a view up to date)
        r = turned(r)
        return r if boxed else r.raw

    def saved_of(self, node: Node) -> tuple[Any, ...]:
        """The saved tensors, as a user reads them off the node."""
        if node.saved is None:
            raise AutogradError(f"the saved tensors of {self.name} were freed; pass retain_graph=True to backward()")
        saved, out = (node.saved, node.out) if node.saved.__class__ is tuple else opened(node)
        outs = out if self.nout != 1 else (out,)
        kept = zip(saved[self.count :], self.places, strict=True)
        return tuple(s if place is None else wrap(outs[place]) for s, place in kept)

    def __call__(self, *args: Any, **kw: Any) -> Any:
        raise InplaceError(f"backward of {self.name} needs a result that was modified by an in-place operation")


def broadcast_or_none(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The common shape of several, None where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


def _boxed(x: Any) -> Any:
    return x if x is None or isinstance(x, Handle) else wrap(x if isinstance(x, Value) else ARRAYS.as_raw(x))
