"""In-place writes: the only way a tensor's value changes.

Memory: the array is written (all views of it see that at once), or under an interpreter the handle is bound to a new
value, through the chain of views up to the base; stale views re-read by version. History: the written tensor continues
from the value's node; a write through a view becomes a `put` on the base's history.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from expkit.autograd.callbacks import carry_retained
from expkit.autograd.handle import ARRAYS, Handle, Value, wrap
from expkit.autograd.mode import MODE, open_trace, tick
from expkit.autograd.node import Leaf, Node, Pick, record
from expkit.autograd.primitive import Primitive
from expkit.autograd.views import origin_of, rebind, refresh, root_of
from expkit.errors import AutogradError

_UNMADE = frozenset({type(None), Leaf})  # nodes of tensors that no operation has made


def write(x: Handle, value: Handle, overwrite: Primitive, *, fresh: bool = False) -> None:
    """x[...] = value, for a value of x's shape and dtype; `overwrite(base, value)` returns its second argument.

    fresh: the value was computed for this write, so that its node may become x's.
    Raises AutogradError for a leaf that requires a gradient, and for a view made under no_grad, while recording.
    """
    refresh(x)
    refresh(value)
    root, origin = root_of(x), origin_of(x)
    recording = MODE.grad and (value.node is not None or x.node is not None)
    if MODE.grad:
        _refuse(x, origin, recording, root)
    _mark(x.node)
    _mark(root.node)
    trace = open_trace() if MODE.special else None
    if trace is not None and trace.is_outside(x) and not isinstance(value.raw, Value):
        value = wrap(trace.const(value.raw), value.node)  # the write belongs to the graph, not to the tracing
    interpreted = isinstance(x.raw, Value) or isinstance(value.raw, Value)
    before = _chain_before(x) if recording or interpreted else []
    if interpreted:
        _rebind_chain(x, _at_level(x, value, overwrite, before), before)
    else:
        ARRAYS.write(x.raw, value.raw)
    if recording:
        old = origin.node
        _extend_history(x, value, overwrite, fresh, before)
        carry_retained(old, origin.node)
    root.written = tick()
    if interpreted and not recording and x.chain is not None:
        x.chain.stamp = root.written


def touch(x: Handle) -> None:
    """Tells the tape that x's memory is being written by other means than `write`."""
    root = root_of(x)
    _mark(x.node)
    _mark(root.node)
    root.written = tick()


def touch_all(handles: Iterable[Handle]) -> None:
    """`touch` of many handles, at one time."""
    now = tick()
    for x in handles:
        root = x if x.chain is None else root_of(x)
        if x.node.__class__ in _UNMADE and root.node.__class__ in _UNMADE:
            root.written = now
        else:
            touch(x)


def _refuse(x: Handle, origin: Handle, recording: bool, root: Handle) -> None:
    if recording and (origin.node.__class__ is Leaf or x.node.__class__ is Leaf):
        which = "a leaf" if x is origin or x.node.__class__ is Leaf else "a view of a leaf"
        raise AutogradError(
            f"{which} tensor that requires grad is being used in an in-place operation. "
            "Do it under expkit.no_grad(), or on x.detach() / x.clone()."
        )
    if origin.chain is not None and origin.chain.tracked is None and (recording or root.node is not None):
        raise AutogradError(
            "a view that was made under no_grad is modified in place while gradients are recorded, which its base "
            "would not notice. Make the view where gradients are recorded, or clone() it."
        )


def _mark(node: Any) -> None:
    if node.__class__ is Node:
        node.dirty = 1
    elif node.__class__ is Pick:
        node.node.dirty |= 1 << node.index


def _chain_before(x: Handle) -> list[Handle]:
    """x, its parent, ... as they are before the write."""
    found = [wrap(x.raw, x.node)]
    while x.chain is not None:
        x = x.chain.parent
        refresh(x)
        found.append(wrap(x.raw, x.node))
    return found


def _extend_history(x: Handle, value: Handle, overwrite: Primitive, fresh: bool, before: list[Handle]) -> None:
    if x.chain is None or not x.chain.tracked:
        x.node = value.node if fresh and value.node is not None else _node(overwrite, {}, before[0], value, x.raw)
        return
    new = value
    for old in before[1:]:
        if x.chain is None or not x.chain.tracked:
            break
        x, put, kw = x.chain.parent, _put_of(x), x.chain.kw
        new = wrap(x.raw, _node(put, kw, old, new, x.raw))
    x.node = new.node


def _node(prim: Primitive, kw: dict[str, Any], base: Handle, value: Handle, raw: Any) -> Node | None:
    """The node of `raw = prim(base, value)`, if one of both needs it."""
    edges = (base.node, value.node)
    return None if edges == (None, None) else record(prim, (base, value), kw, edges, (raw,))


def _put_of(view: Handle) -> Primitive:
    put = view.chain.prim.put
    if put is None:
        raise AutogradError(
            f"an in-place write through a view made by {view.chain.prim.name} is not supported; clone() it first"
        )
    return put


def _at_level(x: Handle, value: Handle, overwrite: Primitive, before: list[Handle]) -> Handle:
    """The value as one of the interpreter whose value x holds: what was a tensor of a level stays one."""
    if isinstance(value.raw, Value) and (not isinstance(x.raw, Value) or value.raw.level >= x.raw.level):
        return value
    return wrap(overwrite.interpret((before[0], value), (x.raw, value.raw), {}))


def before_write(x: Handle, compute: Callable[[Handle], Handle]) -> Handle:
    """compute(x), where the result is about to be written into x.

    What the tape keeps of x for it is kept as a copy, so that the write does not disturb it.
    """
    refresh(x)
    trace = open_trace() if MODE.special else None
    if trace is not None and trace.is_outside(x):
        trace.const(x.raw, x)  # it is x that is read here, not the handle that stands for it
    held = x.raw.copy() if MODE.packing and not isinstance(x.raw, Value) else x.raw  # hooks keep what they are given
    since, old = tick(), wrap(held, x.node)
    value = compute(old)
    kept = weakref.ref(old)
    del old
    stays = kept()
    if stays is not None and stays is not value and held is x.raw and not isinstance(x.raw, Value):
        _keep_views(stays, value.node, since)
        stays.raw = x.raw.copy()
    return value


def _keep_views(old: Handle, node: Any, since: int) -> None:
    """Gives views of `old` that the nodes made since then have saved memory of their own."""
    todo, seen = [node], set()
    while todo:
        node = todo.pop()
        node = node.node if node.__class__ is Pick else node
        if node.__class__ in _UNMADE or node.t <= since or node in seen:
            continue
        seen.add(node)
        for saved in node.saved or ():
            if isinstance(saved, Handle) and saved is not old and root_of(saved) is old:
                saved.raw = saved.raw.copy()
        todo += node.edges


def _rebind_chain(x: Handle, value: Handle, before: list[Handle]) -> None:
    """The write under an interpreter: x and all that it looks into get new values."""
    new = value
    for old in before[1:]:
        put, kw, parent, cut = _put_of(x), x.chain.kw, x.chain.parent, x.chain.tracked is False
        rebind(x, new.raw)
        new = wrap(put.interpret((old, new), (old.raw, new.raw), kw))
        if cut and isinstance(new.raw, Value):
            beside = isinstance(old.raw, Value) and old.raw.level == new.raw.level
            new = wrap(old.raw.carrying(new.raw) if beside else new.raw.stopped())
        x = parent
    rebind(x, new.raw)
