"""What the tape is made of: leaves, nodes, and the outputs of nodes that have several.

One slotted node an operation, no closures. A node holds the primitive, its parameters, the edges to the nodes of its
inputs, and what the gradient rules asked for. Nodes carry the clock's time, which is the topological order.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from expkit.autograd.handle import Aval, Handle
from expkit.autograd.mode import tick
from expkit.autograd.primitive import Primitive


class Leaf:
    """Where gradients end: the tensor that the user made with requires_grad."""

    __slots__ = ("__weakref__", "after", "hooks", "ref", "t")

    def __init__(self, tensor: Handle) -> None:
        self.ref = weakref.ref(tensor)
        self.hooks: dict[int, Callable[..., Any]] | None = None
        self.after: dict[int, Callable[..., Any]] | None = None  # post-accumulate hooks
        self.t = tick()


class Node:
    """One recorded operation. `saved[i]`: the Tensor itself, its Aval, or None where it is like the gradient."""

    __slots__ = ("__weakref__", "avals", "dirty", "edges", "hooks", "kw", "out", "prim", "saved", "t")

    prim: Primitive
    kw: dict[str, Any]
    edges: tuple[Any, ...]
    saved: tuple[Any, ...] | None
    out: Any  # raw result(s), where a rule needs them
    avals: Any  # a tuple of the Avals of the outputs, where there are several
    t: int
    dirty: int  # which outputs were overwritten in place, as bits
    hooks: dict[int, Callable[..., Any]] | None

    def __repr__(self) -> str:
        return f"<{self.prim.name}Backward>"

    @property
    def name(self) -> str:
        return f"{self.prim.name}Backward"

    @property
    def next_functions(self) -> tuple[Any, ...]:
        return tuple((edge, 0) for edge in self.edges)


class Pick:
    """One output of a node that has several."""

    __slots__ = ("__weakref__", "hooks", "index", "node", "t")

    def __init__(self, node: Node, index: int) -> None:
        self.node, self.index, self.hooks, self.t = node, index, None, tick()


def record(prim: Primitive, args: Sequence[Any], kw: dict[str, Any], edges: tuple[Any, ...], raws: Any) -> Node:
    """A node for `raws = prim(*args, **kw)`."""
    keep_out, keep = prim.mask(tuple([edge is not None for edge in edges]))
    node = Node()
    node.prim, node.kw, node.edges, node.hooks, node.dirty = prim, kw, edges, None, 0
    many = prim.nout != 1
    node.avals = tuple(aval(r) for r in raws) if many else None
    node.out = None
    if keep_out:
        node.out = tuple(r if i in prim.saves else None for i, r in enumerate(raws)) if many else raws[0]
    node.saved = tuple(
        [(x if k else aval(x.raw)) if isinstance(x, Handle) else x for x, k in zip(args, keep, strict=True)]
    )
    node.t = tick()
    return node


def aval(raw: Any) -> Aval:
    return Aval(raw.shape, raw.dtype, getattr(raw, "device", None))
