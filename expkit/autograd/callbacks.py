"""Calling the user's hooks while gradients are on their way; complex gradients are turned for them (see engine)."""

from collections.abc import Callable, Sequence
from typing import Any

from expkit.autograd.handle import ARRAYS, Handle, Value, wrap
from expkit.autograd.hooks import as_tuple, hooks_of
from expkit.errors import AutogradError, ShapeError

RETAIN = 0  # the hook of retain_grad: called after all others


def carry_retained(old: Any, new: Any) -> None:
    """A tensor's node is replaced: retain_grad is of the tensor as it is at last; other hooks stay with what it was."""
    if old is not None and old is not new and old.hooks and RETAIN in old.hooks:
        hooks_of(new)[RETAIN] = old.hooks.pop(RETAIN)


def raw_of(x: Any) -> Any:
    return x.raw if isinstance(x, Handle) else x


def turned(g: Any) -> Any:
    """A gradient between the tape and the user: conjugated, if it is complex."""
    dtype = g.raw.dtype if isinstance(g, Handle) else g.dtype
    return ARRAYS.conj(g) if dtype.kind == "c" else g


def call_hooks(hooks: dict[int, Callable[..., Any]], g: Any) -> Any:
    """The gradient as the hooks of a tensor leave it."""
    boxed = isinstance(g, Handle)
    g = _arrayed(g)
    for key, hook in list(hooks.items()):
        result = hook(g if boxed else wrap(g)) if key != RETAIN else None
        if result is not None:
            g = _replaced(g, result, boxed)
    if RETAIN in hooks:
        hooks[RETAIN](g)
    return g


def _arrayed(g: Any) -> Any:
    return g if isinstance(g, Handle | Value) or g.__class__ in ARRAYS.raw_types else ARRAYS.as_raw(g)


def _replaced(g: Any, result: Any, boxed: bool) -> Any:
    if not isinstance(result, Handle):
        raise TypeError(f"a hook on a tensor must return a Tensor or None, not {type(result).__name__}")
    if tuple(result.raw.shape) != tuple(g.shape):
        raise ShapeError(
            f"a hook on a tensor returned a gradient of shape {tuple(result.raw.shape)} for one of {tuple(g.shape)}"
        )
    if result.raw.dtype != g.dtype:
        raise AutogradError(f"a hook on a tensor returned a gradient of dtype {result.raw.dtype} for one of {g.dtype}")
    return result if boxed else result.raw


# ---- hooks of nodes --------------------------------------------------------------------------------------------------


def _shown(parts: Sequence[Any]) -> tuple[Any, ...]:
    """Gradients as a node's hooks see them: Tensors, or None."""
    shown = (None if p is None else turned(_arrayed(p)) for p in parts)
    return tuple(p if p is None or isinstance(p, Handle) else wrap(p) for p in shown)


def _taken(parts: Sequence[Any], boxed: bool) -> tuple[Any, ...]:
    """Gradients from a node's hooks, as the pass has them."""
    return tuple(None if p is None else turned(p if boxed else p.raw) for p in parts)


def prehooks(edge: Any, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of a node's outputs as its hooks of register_prehook leave them."""
    boxed = any(isinstance(p, Handle) for p in parts)
    for hook in list(edge.hooks.before.values()):
        result = hook(_shown(parts))
        if result is not None:
            parts = _taken(as_tuple(result, len(parts), f"a prehook of {edge.name()}"), boxed)
    return parts


def before_node(node: Any, g: Any) -> Any:
    """`prehooks` for what a node is given: one gradient, or a tuple of them."""
    return prehooks(node, g) if node.prim.nout != 1 else prehooks(node, (g,))[0]


def behind_node(node: Any, pairs: list[tuple[int, Any]], g: Any) -> list[tuple[int, Any]]:
    """(input, gradient) pairs that a node sends on, as its hooks of register_hook leave them."""
    found = dict(pairs)
    boxed = any(isinstance(p, Handle) for p in found.values())
    incoming = _shown(g if node.prim.nout != 1 else (g,))
    for hook in list(node.hooks.behind.values()):
        result = hook(_shown([found.get(i) for i in range(len(node.edges))]), incoming)
        if result is not None:
            parts = _taken(as_tuple(result, len(node.edges), f"a hook of {node.name()}"), boxed)
            found = {i: p for i, p in enumerate(parts) if p is not None and node.edges[i] is not None}
    return list(found.items())
