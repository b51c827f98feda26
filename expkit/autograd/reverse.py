"""Reverse mode on the tape, as torch.autograd: `backward` into .grad, `grad` as values."""

import weakref
from typing import Any

from expkit.autograd.callbacks import RETAIN, raw_of
from expkit.autograd.engine import run
from expkit.autograd.handle import ARRAYS, Handle, Value, aval_of, wrap
from expkit.autograd.hooks import hooks_of
from expkit.autograd.mode import MODE, enable_grad, set_grad_enabled, tick
from expkit.autograd.node import Leaf
from expkit.autograd.views import root_of
from expkit.autograd.vmap import vmap
from expkit.errors import AutogradError, ShapeError


def _seed(out: Any, g: Any, create_graph: bool, what: str) -> Any:
    """The gradient to start from: ones for a one-element output, else what the caller gives."""
    if g is None:
        if numel(out.raw.shape) != 1:
            raise AutogradError(
                f"{what}: grad can be implicitly created only for scalar outputs; "
                f"this one has shape {tuple(out.raw.shape)}. Pass the gradient."
            )
        if out.raw.dtype.kind == "c":
            raise AutogradError(
                f"{what}: grad can be implicitly created only for real scalar outputs, but got {out.dtype}. "
                "Pass the gradient, or take .real or .abs() of the output."
            )
        raw = ARRAYS.ones(aval_of(out.raw))
        return wrap(raw) if create_graph else raw
    if not isinstance(g, Handle):
        raise TypeError(f"{what}: gradients must be Tensors or None, not {type(g).__name__}")
    if tuple(g.raw.shape) != tuple(out.raw.shape):
        raise ShapeError(f"{what}: the gradient has shape {tuple(g.raw.shape)}, the output {tuple(out.raw.shape)}")
    if g.raw.dtype != out.raw.dtype:
        g = ARRAYS.convert(g, out.raw.dtype)
    return g if create_graph else g.raw


def numel(shape: tuple[int, ...]) -> int:
    n = 1
    for size in shape:
        n *= size
    return n


def _as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, list | tuple) else [x]


def _roots(outputs: list[Any], grads: list[Any], create_graph: bool, what: str) -> list[tuple[Any, Any]]:
    if len(grads) != len(outputs):
        raise ValueError(f"{what}: {len(outputs)} outputs but {len(grads)} gradients")
    roots = []
    for out, g in zip(outputs, grads, strict=True):
        if not isinstance(out, Handle):
            raise TypeError(f"{what}: outputs must be Tensors, not {type(out).__name__}")
        if not out.requires_grad:  # brings a stale view up to date as well
            raise AutogradError(
                f"{what}: an output (shape {tuple(out.raw.shape)}) does not require grad and has no grad_fn"
            )
        roots.append((out.node, _seed(out, g, create_graph, what)))
    return roots


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Adds the gradients of `tensors` to `.grad` of the leaves (or of `inputs` only), as torch.autograd.backward."""
    outputs = _as_list(tensors)
    seeds = [None] * len(outputs) if grad_tensors is None else _as_list(grad_tensors)
    roots = _roots(outputs, seeds, create_graph, "backward()")
    targets = None if inputs is None else [_edge(x, "backward(inputs=...)") for x in _as_list(inputs)]
    if targets == []:
        raise ValueError("backward(): inputs must not be empty")
    found = _run(roots, targets, retain_graph, create_graph)
    held = {id(x.node): x for x in _as_list(inputs) if isinstance(x, Handle)} if inputs is not None else {}
    given: set[int] = {id(raw_of(g)) for _, g in roots}
    for edge, g in found.items():
        target = edge.ref() if edge.__class__ is Leaf else held.get(id(edge))
        if target is not None and not (edge.hooks and RETAIN in edge.hooks):  # what is retained is there already
            accumulate(target, g, given)
        if edge.__class__ is Leaf:
            _after(edge, target, g)


def _after(leaf: Leaf, target: Any, g: Any) -> None:
    """The hooks that wait for a leaf's gradient to be collected."""
    for hook in list((leaf.after or {}).values()):
        hook(target)
    for hook in list(leaf.hooks.behind.values()) if leaf.hooks is not None else ():
        hook((), (_boxed(g),))


def _edge(x: Any, what: str) -> Any:
    if hasattr(x, "ownership_token"):  # a GradientEdge
        return x.edge
    if not isinstance(x, Handle):
        raise TypeError(f"{what}: inputs must be Tensors, not {type(x).__name__}")
    if not x.requires_grad:
        raise AutogradError(f"{what}: one of the tensors does not require grad")
    return x.node


def _run(roots: Any, targets: Any, retain_graph: bool | None, create_graph: bool) -> dict[Any, Any]:
    retain = create_graph if retain_graph is None else retain_graph
    with set_grad_enabled(create_graph or bool(MODE.stack)):
        return run(roots, get=(lambda x: x) if create_graph else raw_of, targets=targets, retain=retain)


def _require_fit(old: Any, g: Any) -> None:
    if not isinstance(old, Handle) or tuple(old.raw.shape) != tuple(g.shape):
        what = f"shape {tuple(old.raw.shape)}" if isinstance(old, Handle) else f"type {type(old).__name__}"
        raise AutogradError(f"the .grad of a tensor of shape {tuple(g.shape)} was set to something of {what}")


def accumulate(target: Any, g: Any, given: set[int]) -> None:
    """target.grad += g, without ever sharing memory with another gradient."""
    old = target.grad
    if old is not None:
        _require_fit(old, g)
    if isinstance(g, Handle):  # create_graph=True, which counts for this step too
        with enable_grad():
            _set_grad(target, g.clone() if old is None else old + g)
        return
    if g.__class__ not in ARRAYS.raw_types and not isinstance(g, Value):
        g = ARRAYS.as_raw(g)
    if old is None:
        if g.__class__ in ARRAYS.raw_types:
            if id(g) in given:
                g = g.copy()
            g = ARRAYS.owned(g, target.raw)
            given.add(id(g))
        _set_grad(target, wrap(g))
    elif old.raw.__class__ in ARRAYS.raw_types and g.__class__ in ARRAYS.raw_types and old.node is None:
        ARRAYS.add_into(old.raw, g)
        root_of(old).written = tick()
    else:
        _set_grad(target, old + wrap(g))


def _set_grad(target: Any, g: Any) -> None:
    """target._grad = g; a trace that target is from outside of will put back what was there."""
    if isinstance(g.raw, Value) and getattr(target, "born", 0) < g.raw.level:
        keeper: Any = next((i for i in MODE.stack if i.level == g.raw.level), None)
        if not hasattr(keeper, "remember_grad"):
            raise AutogradError(
                "backward() inside a transform (vmap, jvp, grad) would put a value of it into the .grad of a tensor "
                "from outside. Use autograd.grad, or func.grad."
            )
        keeper.remember_grad(target)
    target._grad = g


def retain(x: Any) -> None:
    """Keeps the gradient of a tensor that is no leaf in `.grad`, as it is after all hooks."""
    held = weakref.ref(x)

    def keep(g: Any) -> None:
        target = held()
        if target is not None:
            accumulate(target, g, {id(g)})

    hooks_of(x.node)[RETAIN] = keep


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
    *,
    is_grads_batched: bool = False,
) -> tuple[Any, ...]:
    """Gradients of the sum of `outputs`, weighted by `grad_outputs`, for `inputs`, as torch.autograd.grad.

    inputs may be gradient edges (autograd.graph.get_gradient_edge) as well. materialize_grads: zeros instead of None
    for what was not used. is_grads_batched: axis 0 of every grad_output is a batch, and so it is of the results.
    """
    outs, ins = _as_list(outputs), _as_list(inputs)
    if materialize_grads and allow_unused is False:
        raise ValueError("grad(): materialize_grads=True needs allow_unused to be True or left out")
    seeds = [None] * len(outs) if grad_outputs is None else _as_list(grad_outputs)
    if is_grads_batched:
        return _batched(outs, ins, seeds, (retain_graph, create_graph, allow_unused, materialize_grads))
    roots = _roots(outs, seeds, create_graph, "grad()")
    edges = [_edge(x, "grad()") for x in ins]
    if not edges:
        raise ValueError("grad(): inputs must not be empty")
    found = _run(roots, edges, retain_graph, create_graph)
    results = []
    for x, edge in zip(ins, edges, strict=True):
        g = found.get(edge)
        if g is None and materialize_grads and isinstance(x, Handle):
            g = ARRAYS.zeros(aval_of(x.raw))
        elif g is None and not allow_unused:
            raise AutogradError(
                "grad(): one of the inputs was not used in the graph. Set allow_unused=True if that is meant."
            )
        results.append(_boxed(g))
    return tuple(results)


def _batched(outs: list[Any], ins: list[Any], seeds: list[Any], options: tuple[Any, ...]) -> tuple[Any, ...]:
    """As grad, mapped over axis 0 of the seeds that there are."""
    given = [g for g in seeds if g is not None]
    if not given:
        raise ValueError("grad(): is_grads_batched=True needs grad_outputs")
    unused: list[bool] = []

    def one(*some: Any) -> tuple[Any, ...]:
        rest = iter(some)
        found = grad(outs, ins, [None if g is None else next(rest) for g in seeds], *options)
        unused[:] = [g is None for g in found]
        return tuple(g for g in found if g is not None)

    results = iter(vmap(one)(*given))
    return tuple(None if none else next(results) for none in unused)


def _boxed(g: Any) -> Any:
    if g is None or isinstance(g, Handle):
        return g
    return wrap(g if hasattr(g, "level") or g.__class__ in ARRAYS.raw_types else ARRAYS.as_raw(g))
