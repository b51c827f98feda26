"""The tape: applying primitives, recording them, and running backward.

One slotted node an operation, no closures. A node holds the primitive, its parameters, the edges to the nodes of its
inputs, and what the gradient rules asked for. Nodes carry the clock's time, which is the topological order.
"""

import heapq
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from expkit.autograd.handle import ARRAYS, Aval, Handle, View, wrap
from expkit.autograd.mode import MODE, tick
from expkit.autograd.primitive import Primitive
from expkit.errors import AutogradError, InplaceError


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
    dirty: bool  # `out` was overwritten in place
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


# ---- applying --------------------------------------------------------------------------------------------------------


def apply1(prim: Primitive, x: Any, **kw: Any) -> Any:
    """Applies a primitive of one tensor and one output; records it where a gradient is needed."""
    mode = MODE
    view = x.chain
    if view is not None and view.root.written > view.stamp:
        refresh(x)
    raw = x.raw
    try:
        r = prim.bind(raw, **kw) if mode.special else prim.impl(raw, **kw)
    except Exception as error:  # noqa: BLE001  (explain raises it again, reworded)
        r = ARRAYS.explain(prim, (x,), kw, error)
    if r.__class__ not in ARRAYS.raw_types:
        r = ARRAYS.as_raw(r)
    out = wrap(r)
    edge = x.node
    if edge is not None and mode.grad and prim.vjp is not None:
        keep_out, (keep,) = prim.mask((True,))
        out.node = node = Node()
        node.prim, node.kw, node.edges, node.hooks, node.dirty, node.avals = prim, kw, (edge,), None, False, None
        node.out = r if keep_out else None
        node.saved = (x if keep else None if raw.shape == r.shape and raw.dtype == r.dtype else _aval(raw),)
        node.t = tick()
    if prim.aliases:
        link(out, x, prim, kw)
    return out


def apply2(prim: Primitive, x: Any, y: Any) -> Any:
    """Applies an elementwise primitive to a tensor and a tensor or Python number; the hottest path of the engine."""
    mode = MODE
    ex = ey = None
    if isinstance(x, Handle):
        view = x.chain
        if view is not None and view.root.written > view.stamp:
            refresh(x)
        a, ex = x.raw, x.node
    else:
        a = x
    if isinstance(y, Handle):
        view = y.chain
        if view is not None and view.root.written > view.stamp:
            refresh(y)
        b, ey = y.raw, y.node
    else:
        b = y
    try:
        r = prim.interpret((x, y), (a, b), NO_KW) if mode.special else prim.impl(a, b)
    except Exception as error:  # noqa: BLE001  (explain raises it again, reworded)
        r = ARRAYS.explain(prim, (x, y), {}, error)
    if r.__class__ not in ARRAYS.raw_types:
        r = ARRAYS.as_raw(r)
    tensor = ARRAYS.tensor
    out = tensor.__new__(tensor)
    out.raw = r
    out.node = out.chain = out.grad = None
    out.written = 0
    if (ex is not None or ey is not None) and mode.grad and prim.vjp is not None:
        keep_out, (kx, ky) = prim.mask((ex is not None, ey is not None))
        out.node = node = Node()
        node.prim = prim
        node.kw = NO_KW
        node.edges = (ex, ey)
        node.hooks = node.avals = None
        node.dirty = False
        node.out = r if keep_out else None
        shape = r.shape
        node.saved = (
            x if kx else None if ex is None or a.shape == shape else _aval(a),
            y if ky else None if ey is None or b.shape == shape else _aval(b),
        )
        node.t = tick()
    return out


NO_KW: dict[str, Any] = {}


def apply(prim: Primitive, *args: Any, **kw: Any) -> Any:
    """Applies any primitive. Tensors in: Tensors out, recorded. Raw values in: raw values out."""
    raws = []
    handles = False
    for x in args:
        if isinstance(x, Handle):
            handles = True
            view = x.chain
            if view is not None and view.root.written > view.stamp:
                refresh(x)
            raws.append(x.raw)
        else:
            raws.append(x)
    if not handles:
        return prim.bind(*raws, **kw)
    try:
        r = prim.interpret(args, raws, kw) if MODE.special else prim.impl(*raws, **kw)
    except Exception as error:  # noqa: BLE001  (explain raises it again, reworded)
        r = ARRAYS.explain(prim, args, kw, error)
    return finish(prim, args, kw, r)


def finish(prim: Primitive, args: tuple[Any, ...], kw: dict[str, Any], r: Any) -> Any:
    """Wraps the raw result `r` of `prim(*args, **kw)` and records the node where a gradient is needed."""
    many = prim.nout != 1
    raws = tuple(x if x.__class__ in ARRAYS.raw_types else ARRAYS.as_raw(x) for x in (r if many else (r,)))
    outs = tuple(wrap(x) for x in raws)
    if MODE.grad and prim.differentiable:
        edges = tuple(x.node if isinstance(x, Handle) else None for x in args)
        if any(edge is not None for edge in edges):
            node = record(prim, args, kw, edges, raws)
            if many:
                for i, out in enumerate(outs):
                    if out.dtype.is_floating_point or out.dtype.is_complex:
                        out.node = Pick(node, i)
            else:
                outs[0].node = node
    if prim.aliases:
        link(outs[0], args[0], prim, kw)
    return outs if many else outs[0]


def record(prim: Primitive, args: Sequence[Any], kw: dict[str, Any], edges: tuple[Any, ...], raws: Any) -> Node:
    """A node for `raws = prim(*args, **kw)`."""
    keep_out, keep = prim.mask(tuple(edge is not None for edge in edges))
    node = Node()
    node.prim, node.kw, node.edges, node.hooks, node.dirty = prim, kw, edges, None, False
    many = prim.nout != 1
    node.avals = tuple(_aval(r) for r in raws) if many else None
    node.out = (raws if many else raws[0]) if keep_out else None
    node.saved = tuple(
        (x if k else _aval(x.raw)) if isinstance(x, Handle) else x for x, k in zip(args, keep, strict=True)
    )
    node.t = tick()
    return node


def _aval(raw: Any) -> Aval:
    return Aval(raw.shape, raw.dtype, getattr(raw, "device", None))


Primitive.__call__ = apply  # type: ignore[method-assign,assignment]


# ---- views -----------------------------------------------------------------------------------------------------------


def link(out: Handle, x: Handle, prim: Primitive, kw: dict[str, Any]) -> None:
    """Remembers that `out` looks into x's memory (under an interpreter: that it must behave as if it did)."""
    if ARRAYS.shares(x.raw, out.raw):
        out.chain = View(x, prim, kw, tick(), MODE.grad)


def refresh(x: Handle) -> None:
    """Brings a view up to date after its base was written: its value under an interpreter, its history always."""
    view = x.chain
    view.stamp = tick()
    parent = view.parent
    if parent.chain is not None and parent.chain.root.written > parent.chain.stamp:
        refresh(parent)
    if MODE.special:
        x.raw = view.prim.bind(parent.raw, **view.kw)
    if view.tracked and parent.node is not None:
        x.node = record(view.prim, (parent,), view.kw, (parent.node,), (x.raw,)) if view.prim.differentiable else None


def root_of(x: Any) -> Any:
    """The tensor whose memory `x` looks into (itself, where it is no view)."""
    return x if x.chain is None else x.chain.root


# ---- backward --------------------------------------------------------------------------------------------------------

Get = Callable[[Any], Any]


def raw_of(x: Any) -> Any:
    return x.raw if isinstance(x, Handle) else x


def run(
    roots: Sequence[tuple[Any, Any]],
    *,
    get: Get = raw_of,
    targets: Sequence[Any] | None = None,
    retain: bool = False,
) -> dict[Any, Any]:
    """Runs backward from (edge, gradient) pairs; returns {leaf or target edge: gradient}.

    `get` turns a saved Tensor into the operand that the rules see: its raw value (plain backward), the Tensor itself
    (create_graph), or what lies below a level. `targets` limits the work to the paths that reach them.
    """
    wanted = None if targets is None else _reaching([edge for edge, _ in roots], targets)
    stop = None if targets is None else set(map(id, targets))
    grads: dict[Any, Any] = {}
    found: dict[Any, Any] = {}
    heap: list[tuple[int, int, Any]] = []

    def send(edge: Any, g: Any) -> None:
        if edge in grads:
            grads[edge] = grads[edge] + g
        else:
            grads[edge] = g
            heapq.heappush(heap, (-edge.t, id(edge), edge))

    for edge, g in roots:
        if wanted is None or id(edge) in wanted:
            send(edge, g)
    many: dict[Any, list[Any]] = {}
    while heap:
        edge = heapq.heappop(heap)[2]
        g = grads.pop(edge, None)
        if edge.hooks and edge.__class__ is not _Many:
            g = _call_hooks(edge.hooks, g)
        if edge.__class__ is Leaf:
            found[edge] = g
            continue
        if stop is not None and id(edge) in stop:
            found[edge] = g
        if edge.__class__ is Pick:
            node = edge.node
            if node not in many:
                many[node] = [None] * node.prim.nout
                heapq.heappush(heap, (-node.t, id(node), _Many(node)))
            many[node][edge.index] = g
            continue
        if edge.__class__ is _Many:
            edge = edge.node
            parts = many.pop(edge)
            g = tuple(_zeros(aval, get) if p is None else p for p, aval in zip(parts, edge.avals, strict=True))
        for target, gi in _pull(edge, g, get, wanted):
            send(target, gi)
        if not retain:
            edge.saved = edge.out = None
    return found


class _Many:
    """Heap entry of a node with several outputs, once all their gradients are in."""

    __slots__ = ("hooks", "node", "t")

    def __init__(self, node: Node) -> None:
        self.node, self.t, self.hooks = node, node.t, None


def _pull(node: Node, g: Any, get: Get, wanted: set[int] | None) -> list[tuple[Any, Any]]:
    """The gradients that one node sends to its inputs."""
    saved, prim, kw = node.saved, node.prim, node.kw
    if saved is None:
        raise AutogradError(
            f"backward through {prim.name} a second time: what it had saved was freed. "
            "Pass retain_graph=True to the first backward() or grad() call."
        )
    edges = node.edges
    live = [i for i, e in enumerate(edges) if e is not None and (wanted is None or id(e) in wanted)]
    if not live:
        return []
    _check_versions(node)
    like = g if prim.nout == 1 else g[0]
    args = [like if s is None else get(s) if isinstance(s, Handle) else s for s in saved]
    out = node.out
    if out is not None and get is not raw_of:
        out = _reopen(node, get)
    if prim.joint is not None:
        results = prim.joint(g, out, *args, **kw)
        pairs = [(i, results[i]) for i in live]
    else:
        rules = prim.vjp or ()
        pairs = [(i, rules[i](g, out, *args, **kw)) for i in live if rules[i] is not None]  # type: ignore[misc]
    sent = []
    for i, gi in pairs:
        if gi is None:
            continue
        like_i = args[i]
        if gi.shape != like_i.shape:
            gi = ARRAYS.unbroadcast(gi, like_i.shape)
        if gi.dtype != like_i.dtype:
            gi = ARRAYS.convert(gi, like_i.dtype)
        sent.append((edges[i], gi))
    return sent


def _reopen(node: Node, get: Get) -> Any:
    """The saved output(s) as Tensors on the tape again."""
    if node.prim.nout == 1:
        return get(wrap(node.out, node))
    return tuple(get(wrap(r, Pick(node, i))) for i, r in enumerate(node.out))


def _check_versions(node: Node) -> None:
    if node.dirty and node.out is not None:
        raise _overwritten(node, "its result")
    for i, x in enumerate(node.saved or ()):
        if isinstance(x, Handle) and root_of(x).written > node.t:
            raise _overwritten(node, f"its argument {i + 1}, of shape {tuple(x.raw.shape)},")


def _overwritten(node: Node, what: str) -> InplaceError:
    return InplaceError(
        f"backward of {node.prim.name} needs {what} but it was modified by an in-place operation afterwards. "
        "Use the out-of-place form (x = x + y instead of x += y), or clone() it first."
    )


def _zeros(aval: Aval, get: Get) -> Any:
    raw = ARRAYS.zeros(aval)
    return raw if get is raw_of else wrap(raw)


def _reaching(roots: Sequence[Any], targets: Sequence[Any]) -> set[int]:
    """ids of all edges from which one of the targets can be reached."""
    reach = {id(t): True for t in targets}
    oldest = min((t.t for t in targets), default=0)
    for root in roots:
        stack = [(root, False)]
        while stack:
            edge, done = stack.pop()
            children = _children(edge)
            if done:
                reach[id(edge)] = reach.get(id(edge), False) or any(reach.get(id(c), False) for c in children)
            elif id(edge) not in reach or (reach[id(edge)] and id(edge) in map(id, targets) and children):
                if edge.t < oldest:
                    reach[id(edge)] = False
                    continue
                reach.setdefault(id(edge), False)
                stack.append((edge, True))
                stack.extend((c, False) for c in children if id(c) not in reach)
    return {key for key, value in reach.items() if value}


def _children(edge: Any) -> list[Any]:
    if edge.__class__ is Pick:
        return [edge.node]
    if edge.__class__ is Leaf:
        return []
    return [e for e in edge.edges if e is not None]


def _call_hooks(hooks: dict[int, Callable[..., Any]], g: Any) -> Any:
    boxed = isinstance(g, Handle)
    for hook in list(hooks.values()):
        result = hook(g if boxed else wrap(g))
        if result is not None:
            g = result if boxed else result.raw
    return g
