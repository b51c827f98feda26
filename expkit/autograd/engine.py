"""Running backward: from the roots through the nodes, newest first, to the leaves or targets."""

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from expkit.autograd.handle import ARRAYS, Aval, Handle, Value, wrap
from expkit.autograd.node import Leaf, Node, Pick
from expkit.autograd.views import root_of
from expkit.errors import AutogradError, InplaceError

Get = Callable[[Any], Any]
RETAIN = 0  # the hook of retain_grad: called after all others


def raw_of(x: Any) -> Any:
    return x.raw if isinstance(x, Handle) else x


class _Many:
    """Heap entry of a node with several outputs, once all their gradients are in."""

    __slots__ = ("hooks", "node", "t")

    def __init__(self, node: Node) -> None:
        self.node, self.t, self.hooks = node, node.t, None


class _Run:
    """The gradients of one backward pass that are on their way."""

    def __init__(self, get: Get, wanted: set[int] | None, retain: bool) -> None:
        self.get, self.wanted, self.retain = get, wanted, retain
        self.heap: list[tuple[int, int, Any]] = []
        self.grads: dict[Any, Any] = {}
        self.parts: dict[Node, list[Any]] = {}

    def send(self, edge: Any, g: Any) -> None:
        if self.wanted is not None and id(edge) not in self.wanted:
            return
        if edge in self.grads:
            self.grads[edge] = ARRAYS.plus(self.grads[edge], g)
        else:
            self.grads[edge] = g
            heapq.heappush(self.heap, (-edge.t, id(edge), edge))

    def part(self, pick: Pick, g: Any) -> None:
        """The gradient of one output of several."""
        node = pick.node
        if node not in self.parts:
            self.parts[node] = [None] * node.prim.nout
            heapq.heappush(self.heap, (-node.t, id(node), _Many(node)))
        held = self.parts[node][pick.index]  # a rule that was given the output again made a second Pick of it
        self.parts[node][pick.index] = g if held is None else ARRAYS.plus(held, g)

    def all_parts(self, node: Node) -> tuple[Any, ...]:
        parts = self.parts.pop(node)
        if not getattr(node.prim, "materialize", True):
            return tuple(parts)
        return tuple(_zeros(aval, self.get) if p is None else p for p, aval in zip(parts, node.avals, strict=True))


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
    work = _Run(get, None if targets is None else _reaching([edge for edge, _ in roots], targets), retain)
    stop = set() if targets is None else set(map(id, targets))
    found: dict[Any, Any] = {}
    for edge, g in roots:
        work.send(edge, g)
    while work.heap:
        edge = heapq.heappop(work.heap)[2]
        if edge.__class__ is _Many:
            _pull(edge.node, work.all_parts(edge.node), work)
            continue
        g = work.grads.pop(edge)
        if edge.hooks:
            g = _call_hooks(edge.hooks, g)
        if edge.__class__ is Leaf or id(edge) in stop:
            found[edge] = g
        if edge.__class__ is Pick:
            work.part(edge, g)
        elif edge.__class__ is not Leaf:
            _pull(edge, g, work)
    return found


def _pull(node: Node, g: Any, work: _Run) -> None:
    """Sends the gradients that one node has for its inputs."""
    saved, prim, kw, get, wanted = node.saved, node.prim, node.kw, work.get, work.wanted
    edges = node.edges
    live = [i for i, e in enumerate(edges) if e is not None and (wanted is None or id(e) in wanted)]
    if not live:
        return
    if saved is None:
        raise AutogradError(
            f"backward through {prim.name} a second time: what it had saved was freed. "
            "Pass retain_graph=True to the first backward() or grad() call."
        )
    _check_versions(node)
    like = g if prim.nout == 1 else next((part for part in g if part is not None), None)
    args = [like if s is None else get(s) if isinstance(s, Handle) else s for s in saved]
    out = node.out
    if out is not None and node.dirty and any(node.dirty >> i & 1 for i in prim.saves):
        out = _again(node, args)
    elif out is not None and get is not raw_of:
        out = _reopen(node, get)
    if prim.joint is not None:
        results = prim.joint(g, out, *args, **kw)
        pairs = [(i, results[i]) for i in live]
    else:
        rules = prim.vjp or ()
        pairs = [(i, rules[i](g, out, *args, **kw)) for i in live if rules[i] is not None]  # type: ignore[misc]
    for i, gi in pairs:
        if gi is not None:
            work.send(edges[i], _fitted(gi, args[i]))
    if not work.retain and (node.out is not None or any(isinstance(s, Handle) for s in saved)):
        node.saved = node.out = None


def _fitted(g: Any, like: Any) -> Any:
    """A gradient in the shape and dtype of its argument, as an array where NumPy made it a scalar."""
    if g.__class__ not in ARRAYS.raw_types and not isinstance(g, Handle | Value):
        g = ARRAYS.as_raw(g)
    if g.shape != like.shape:
        g = ARRAYS.unbroadcast(g, like.shape)
    return ARRAYS.convert(g, like.dtype) if g.dtype != like.dtype else g


def _reopen(node: Node, get: Get) -> Any:
    """The saved output(s) as Tensors on the tape again."""
    if node.prim.nout == 1:
        return get(wrap(node.out, node))
    return tuple(None if r is None else get(wrap(r, Pick(node, i))) for i, r in enumerate(node.out))


def _again(node: Node, args: list[Any]) -> Any:
    """The result(s) of a node that were overwritten: computed again where all arguments are at hand."""
    if any(s is None or isinstance(s, Aval) for s in node.saved or ()):
        raise _overwritten(node, "its result")
    return node.prim(*args, **node.kw)


def _check_versions(node: Node) -> None:
    for i, x in enumerate(node.saved or ()):
        if isinstance(x, Handle) and root_of(x).written > node.t:
            raise _overwritten(node, f"its argument {i + 1}, of shape {tuple(x.raw.shape)},")


def _overwritten(node: Node, what: str) -> InplaceError:
    name = node.prim.name
    return InplaceError(
        f"backward of {name} needs {what} but it was modified by an in-place operation after {name} "
        "ran. Use the out-of-place form (x = x + y instead of x += y), or clone() it first."
    )


def _zeros(aval: Any, get: Get) -> Any:
    raw = ARRAYS.zeros(aval)
    return raw if get is raw_of else wrap(raw)


def _call_hooks(hooks: dict[int, Callable[..., Any]], g: Any) -> Any:
    boxed = isinstance(g, Handle)
    if not boxed and g.__class__ not in ARRAYS.raw_types:
        g = ARRAYS.as_raw(g)
    for key, hook in list(hooks.items()):
        result = hook(g if boxed else wrap(g)) if key != RETAIN else None
        if result is not None:
            g = result if boxed else result.raw
    if RETAIN in hooks:
        hooks[RETAIN](g)
    return g


# ---- which way the targets lie ---------------------------------------------------------------------------------------


def _reaching(roots: Sequence[Any], targets: Sequence[Any]) -> set[int]:
    """ids of all edges from which one of the targets can be reached, the targets included."""
    goals = set(map(id, targets))
    oldest = min((t.t for t in targets), default=0)
    reach: dict[int, bool] = {}
    stack = list(roots)
    while stack:
        edge = stack[-1]
        children = () if edge.t < oldest else _children(edge)
        waiting = [c for c in children if id(c) not in reach]
        if id(edge) in reach or not waiting:
            stack.pop()
            reach[id(edge)] = id(edge) in goals or any(reach[id(c)] for c in children)
        else:
            stack.extend(waiting)
    return {key for key, reaches in reach.items() if reaches}


def _children(edge: Any) -> Sequence[Any]:
    if edge.__class__ is Pick:
        return (edge.node,)
    return () if edge.__class__ is Leaf else [e for e in edge.edges if e is not None]
