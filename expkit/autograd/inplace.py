"""In-place writes: the only way a tensor's value changes.

Memory: the array is written (all views of it see that at once), or under an interpreter the handle is bound to a new
value, through the chain of views up to the base; stale views re-read by version. History: the written tensor continues
from the value's node; a write through a view becomes a `put` on the base's history.
"""

from typing import Any

from expkit.autograd.handle import ARRAYS, Handle, Value
from expkit.autograd.mode import MODE, tick
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import Leaf, Node, Pick, record, refresh, root_of
from expkit.errors import AutogradError


def write(x: Handle, value: Handle, overwrite: Primitive) -> None:
    """x[...] = value, for a value of x's shape and dtype; `overwrite(base, value)` returns its second argument.

    Raises AutogradError for a leaf that requires a gradient, while recording.
    """
    root = root_of(x)
    if x.chain is not None and root.written > x.chain.stamp:
        refresh(x)
    if MODE.grad and (root.node.__class__ is Leaf or x.node.__class__ is Leaf):
        which = "a leaf" if x is root or x.node.__class__ is Leaf else "a view of a leaf"
        raise AutogradError(
            f"{which} tensor that requires grad is being used in an in-place operation. "
            "Do it under expkit.no_grad(), or on x.detach() / x.clone()."
        )
    _mark(x.node)
    _mark(root.node)
    old = (x.raw, value.raw)
    if isinstance(x.raw, Value) or isinstance(value.raw, Value):
        _rebind_chain(x, value.raw)
    else:
        ARRAYS.write(x.raw, value.raw)
    if MODE.grad and (value.node is not None or x.node is not None or root.node is not None):
        _extend_history(x, value, overwrite)
    root.written = tick()
    if isinstance(old[0], Value) and x.chain is not None:
        x.chain.stamp = root.written


def touch(x: Handle) -> None:
    """Tells the tape that x's memory is being written by other means than `write`."""
    root = root_of(x)
    _mark(x.node)
    _mark(root.node)
    root.written = tick()


def _mark(node: Any) -> None:
    if node.__class__ is Node:
        node.dirty = True
    elif node.__class__ is Pick:
        node.node.dirty = True


def _extend_history(x: Handle, value: Handle, overwrite: Primitive) -> None:
    if x.chain is None or not x.chain.tracked:
        if value.node is None and x.node is not None:
            x.node = record(overwrite, (x, value), {}, (x.node, None), (value.raw,))
        else:
            x.node = value.node
        return
    child, node = x, value.node
    while child.chain is not None:
        parent = child.chain.parent
        if parent.node is not None or node is not None:
            put = _put_of(child)
            node = record(put, (parent, value), child.chain.kw, (parent.node, node), (parent.raw,))
        child = parent
    child.node = node


def _put_of(view: Handle) -> Primitive:
    put = view.chain.prim.put
    if put is None:
        raise AutogradError(
            f"an in-place write through a view made by {view.chain.prim.name} is not supported; clone() it first"
        )
    return put


def _rebind_chain(x: Handle, raw: Any) -> None:
    child = x
    while child.chain is not None:
        parent = child.chain.parent
        if parent.chain is not None and root_of(parent).written > parent.chain.stamp:
            refresh(parent)
        put = _put_of(child)
        rebind(child, raw)
        raw = put.bind(parent.raw, raw, **child.chain.kw)
        child = parent
    rebind(child, raw)


def rebind(x: Handle, raw: Any) -> None:
    """Gives `x` another raw value; a trace that is open remembers the array that was there and puts it back."""
    if not isinstance(x.raw, Value) and isinstance(raw, Value):
        keeper = next((i for i in MODE.stack if hasattr(i, "remember")), None)
        if keeper is None or raw.level != keeper.level:
            raise AutogradError(
                "an in-place write would put a value of a transform (vmap, jvp, grad) into a tensor from outside it. "
                "Use the out-of-place form, or make the tensor inside the transformed function."
            )
        keeper.remember(x)
    x.raw = raw
