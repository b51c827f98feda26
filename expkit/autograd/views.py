"""Views: how a tensor looks into another's memory, and how both stay right when one of them is written.

A view keeps its parent and the primitive that made it. Its history (and under an interpreter its value) is brought up
to date when it is used after its base was written; the base is told of a write by its clock time `written`.
"""

from typing import Any

from expkit.autograd.callbacks import carry_retained
from expkit.autograd.handle import ARRAYS, Handle, Value, View
from expkit.autograd.mode import MODE, tick
from expkit.autograd.node import record
from expkit.autograd.primitive import Primitive
from expkit.errors import AutogradError


def link(out: Handle, x: Handle, prim: Primitive, kw: dict[str, Any]) -> None:
    """Remembers that `out` looks into x's memory (under an interpreter: that it must behave as if it did)."""
    if ARRAYS.shares(x.raw, out.raw):
        out.chain = View(x, prim, kw, tick(), True if MODE.grad else None)


def refresh(x: Handle) -> None:
    """Brings a view up to date after its base was written."""
    stale = []
    while x.chain is not None and x.chain.root.written > x.chain.stamp:
        stale.append(x)
        _settle(x.chain)
        x = x.chain.parent
    for view in reversed(stale):
        _replay(view)


def _settle(view: View) -> None:
    """Finds the parent as it was when the view was made, if it has changed its own shape in place since."""
    parent = view.parent
    while parent.chain is not None and parent.chain.made > view.made:
        parent = parent.chain.parent
    view.parent = parent


def _replay(x: Handle) -> None:
    view = x.chain
    view.stamp = tick()
    parent = view.parent
    view.root = parent if parent.chain is None else parent.chain.root
    if MODE.special and isinstance(parent.raw, Value):
        raw = view.prim.bind(parent.raw, **view.kw)
        if view.tracked is False:  # detached: the new value, and what derivatives it has of its own
            raw = x.raw.carrying(raw) if isinstance(x.raw, Value) else raw.stopped()
        rebind(x, raw)
    if view.tracked and parent.node is not None:
        old = x.node
        x.node = record(view.prim, (parent,), view.kw, (parent.node,), (x.raw,)) if view.prim.differentiable else None
        carry_retained(old, x.node)


def rebind(x: Handle, raw: Any) -> None:
    """Gives `x` an interpreter's value instead of what it has.

    Where x is from outside the interpreter, a trace remembers what was there; the others refuse.
    """
    if isinstance(raw, Value) and (not isinstance(x.raw, Value) or x.raw.level < raw.level):
        owner: Any = next((i for i in MODE.stack if i.level == raw.level), None)
        if getattr(x, "born", 0) < raw.level:
            if not hasattr(owner, "remember"):
                raise AutogradError(
                    "an in-place write would put a value of a transform (vmap, jvp, grad) into a tensor from outside "
                    "it. Use the out-of-place form, or make the tensor inside the transformed function."
                )
            owner.remember(x)
    x.raw = raw


def root_of(x: Any) -> Any:
    """The tensor whose memory `x` looks into (itself, where it is no view)."""
    while x.chain is not None:  # a root that has changed its own shape in place is a view of what it was
        x = x.chain.root
    return x


def origin_of(x: Any) -> Any:
    """The tensor whose history a write to `x` continues: as root_of, but not across detach()."""
    while x.chain is not None and x.chain.tracked:
        x = x.chain.parent
    return x
