"""What the tape is made of: leaves, nodes, and the outputs of nodes that have several.

One slotted node an operation, no closures. A node holds the primitive, its parameters, the edges to the nodes of its
inputs, and what the gradient rules asked for. Nodes carry the clock's time, which is the topological order.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from expkit.autograd.handle import Aval, Handle
from expkit.autograd.hooks import Hooked, Hooks
from expkit.autograd.mode import MODE, tick
from expkit.autograd.primitive import Primitive
from expkit.autograd.saved import note


class Leaf(Hooked):
    """Where gradients end: the tensor that the user made with requires_grad."""

    __slots__ = ("__weakref__", "after", "hooks", "ref", "t")

    def __init__(self, tensor: Handle) -> None:
        self.ref = weakref.ref(tensor)
        self.hooks: Hooks | None = None
        self.after: dict[int, Callable[..., Any]] | None = None  # post-accumulate hooks
        self.t = tick()

    def __repr__(self) -> str:
        return "<AccumulateGrad>"

    def name(self) -> str:
        return "AccumulateGrad"

    @property
    def variable(self) -> Any:
        """The tensor whose gradient is collected here (None once it is gone)."""
        return self.ref()

    @property
    def next_functions(self) -> tuple[Any, ...]:
        return ()


class Node(Hooked):
    """One recorded operation. `saved[i]`: the Tensor itself, its Aval, or None where it is like the gradient."""

    __slots__ = ("__weakref__", "avals", "dirty", "edges", "hooks", "kw", "out", "prim", "saved", "t", "where")

    prim: Primitive
    kw: dict[str, Any]
    edges: tuple[Any, ...]
    saved: Any  # a tuple; a PackedNode where hooks on saved tensors were at work; None once it is freed
    out: Any  # raw result(s), where a rule needs them
    avals: Any  # a tuple of the Avals of the outputs, where there are several
    t: int
    dirty: int  # which outputs were overwritten in place, as bits
    hooks: Hooks | None
    where: list[tuple[str, int, str]]  # the stack; set in anomaly mode only

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    def __getattr__(self, name: str) -> Any:
        """The context of a Function, as PyTorch shows it: saved_tensors, and what forward has put there."""
        call: Any = self.prim if name != "prim" else None
        if call is None or call.__class__ is Primitive or not hasattr(call, "ctx"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return call.saved_of(self) if name == "saved_tensors" else getattr(call.ctx, name)

    def name(self) -> str:
        """As PyTorch's: "MulBackward0"; of a Function, its name and "Backward"."""
        made = self.prim.name
        return f"{made}Backward" if self.prim.__class__ is not Primitive else f"{_camel(made)}Backward0"

    @property
    def next_functions(self) -> tuple[Any, ...]:
        """(node, number of its output) of each input; (None, 0) for one without a gradient."""
        return tuple((e.node, e.index) if e.__class__ is Pick else (e, 0) for e in self.edges)


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


class Pick:
    """One output of a node that has several."""

    __slots__ = ("__weakref__", "hooks", "index", "node", "t")

    def __init__(self, node: Node, index: int) -> None:
        self.node, self.index, self.t = node, index, tick()
        self.hooks: Hooks | None = None


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
    if MODE.special:
        note(node)
    return node


def aval(raw: Any) -> Aval:
    return Aval(raw.shape, raw.dtype, getattr(raw, "device", None))
