"""Running backward: from the roots through the nodes, newest first, to the leaves or targets.

Complex gradients travel conjugated. So a rule is the transpose of its operation's Jacobian, the same formula as for
real numbers (`g * y` for a product), and not its adjoint (`g * conj(y)`): they are turned where the user sees them,
which is at the roots, at the leaves and in hooks.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from expkit.autograd.callbacks import before_node, behind_node, call_hooks, prehooks, raw_of, turned
from expkit.autograd.handle import ARRAYS, Aval, Handle, Value, wrap
from expkit.autograd.mode import MODE, open_trace
from expkit.autograd.node import Leaf, Node, Pick
from expkit.autograd.saved import opened, origin
from expkit.autograd.views import root_of
from expkit.errors import AutogradError, InplaceError

Get = Callable[[Any], Any]


class _Many:
    """Heap entry of a node with several outputs, once all their gradients are in."""

    __slots__ = ("hooks", "node", "t")

    def __init__(self, node: Node) -> None:
        self.node, self.t, self.hooks = node, node.t, None


class _Run:
    """The gradients of one backward pass that are on their way."""

    def __init__(self, get: Get, wanted: set[int] | None, retain: bool, roots: Sequence[Any]) -> None:
        self.get, self.wanted, self.retain, self.roots = get, wanted, retain, roots
        self.heap: list[tuple[int, int, Any]] = []
        self.grads: dict[Any, Any] = {}
        self.parts: dict[Node, list[Any]] = {}
        self.ends: list[Callable[[], Any]] = []  # what is to be done when the pass is over

    def reaches(self, edges: Sequence[Any]) -> list[bool]:
        """Which of the edges this pass comes by."""
        met = _met(self.roots, self.wanted)
        return [id(edge) in met for edge in edges]

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
        if not node.prim.materialize:
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
    starts = [edge for edge, _ in roots]
    work = _Run(get, None if targets is None else _reaching(starts, targets), retain, starts)
    for edge, g in roots:
        work.send(edge, turned(g))
    stop = set() if targets is None else set(map(id, targets))
    MODE.runs.append(work)
    try:
        return _walk(work, stop, _told(_watched_pull if MODE.anomaly else _pull))
    finally:
        MODE.runs.pop()
        for end in work.ends:
            end()


def _walk(work: _Run, stop: set[int], pull: Callable[..., None]) -> dict[Any, Any]:
    """Takes the newest edge with a gradient until there is none left; {leaf or edge of `stop`: gradient}."""
    found: dict[Any, Any] = {}
    while work.heap:
        edge = heapq.heappop(work.heap)[2]
        if edge.__class__ is _Many:
            pull(edge.node, work.all_parts(edge.node), work)
            continue
        g = work.grads.pop(edge)
        if edge.hooks:
            g = turned(call_hooks(edge.hooks, turned(g)))
        if edge.__class__ is Leaf and edge.hooks is not None and edge.hooks.before:
            (g,) = prehooks(edge, (g,))
        if edge.__class__ is Leaf or id(edge) in stop:
            found[edge] = turned(g)
        if edge.__class__ is Pick:
            work.part(edge, g)
        elif edge.__class__ is not Leaf:
            pull(edge, g, work)
    return found


def _told(pull: Callable[..., None]) -> Callable[..., None]:
    """As `pull`; an abstract trace is told whose rules they are."""
    trace = open_trace() if MODE.special else None
    if trace is None or not trace.abstract:
        return pull

    def inside(node: Node, g: Any, work: _Run) -> None:
        with trace.rule(node):
            pull(node, g, work)

    return inside


def _pull(node: Node, g: Any, work: _Run) -> None:
    """Sends the gradients that one node has for its inputs."""
    prim, kw, get, wanted, edges, hooks = node.prim, node.kw, work.get, work.wanted, node.edges, node.hooks
    live = [i for i, e in enumerate(edges) if e is not None and (wanted is None or id(e) in wanted)]
    if not live:
        return
    if hooks is not None and hooks.before:
        g = before_node(node, g)
    saved, out = node.saved, node.out
    if saved.__class__ is tuple:
        _check_versions(node)
    else:
        saved, out = _unpacked(node)
    like = g if prim.nout == 1 else next((part for part in g if part is not None), None)
    args = [like if s is None else get(s) if isinstance(s, Handle) else s for s in saved]
    if MODE.special and get is raw_of:
        args = _read_again(saved, args)
    if out is not None and node.dirty and any(node.dirty >> i & 1 for i in prim.saves):
        out = _again(node, saved, args)
    elif out is not None and get is not raw_of:
        out = _reopen(node, out, get)
    if prim.joint is not None:
        results = prim.joint(g, out, *args, **kw)
        pairs = [(i, results[i]) for i in live]
    else:
        rules = prim.vjp or ()
        pairs = [(i, rules[i](g, out, *args, **kw)) for i in live if rules[i] is not None]  # type: ignore[misc]
    if hooks is not None and hooks.behind:
        pairs = behind_node(node, [(i, _fitted(gi, args[i])) for i, gi in pairs if gi is not None], g)
    for i, gi in pairs:
        if gi is not None:
            work.send(edges[i], _fitted(gi, args[i]))
    if not work.retain and (out is not None or any(isinstance(s, Handle) for s in saved)):
        node.saved = node.out = None


def _read_again(saved: Sequence[Any], args: list[Any]) -> list[Any]:
    """Operands from outside a live trace as its Vars: what a rule makes of an array alone would be a constant of it."""
    trace = open_trace()
    if trace is None or not trace.live:
        return args
    return [
        trace.const(a, s) if a.__class__ in ARRAYS.raw_types and trace.is_outside(s) else a
        for s, a in zip(saved, args, strict=True)
    ]


def _unpacked(node: Node) -> tuple[tuple[Any, ...], Any]:
    """(saved, out) of a node that the user's hooks have packed. AutogradError where they were freed."""
    if node.saved is None:
        raise AutogradError(
            f"Trying to backward through {node.prim.name} a second time: what it had saved was freed. "
            "Pass retain_graph=True to the first backward() or grad() call."
        )
    return opened(node)


def _fitted(g: Any, like: Any) -> Any:
    """A gradient in the shape and dtype of its argument, as an array where NumPy made it a scalar."""
    if g.__class__ not in ARRAYS.raw_types and not isinstance(g, Handle | Value):
        g = ARRAYS.as_raw(g)
    if g.shape != like.shape:
        g = ARRAYS.unbroadcast(g, like.shape)
    return ARRAYS.convert(g, like.dtype) if g.dtype != like.dtype else g


def _reopen(node: Node, out: Any, get: Get) -> Any:
    """The saved output(s) as Tensors on the tape again."""
    if node.prim.nout == 1:
        return get(wrap(out, node))
    return tuple(None if r is None else get(wrap(r, Pick(node, i))) for i, r in enumerate(out))


def _again(node: Node, saved: tuple[Any, ...], args: list[Any]) -> Any:
    """The result(s) of a node that were overwritten: computed again where all arguments are at hand."""
    if any(s is None or isinstance(s, Aval) for s in saved):
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


# ---- anomaly mode ----------------------------------------------------------------------------------------------------


def _watched_pull(node: Node, g: Any, work: _Run) -> None:
    """As _pull; an error tells where the node was recorded, and NaN in what it sends is one."""
    before = dict(work.grads)
    try:
        _pull(node, g, work)
    except Exception as error:
        error.add_note(f"While {node.name()} ran backward.{origin(node)}")
        raise
    if not MODE.check_nan:
        return
    for i, edge in enumerate(node.edges):
        sent = work.grads.get(edge)
        if sent is not None and sent is not before.get(edge) and ARRAYS.has_nan(raw_of(sent)):
            raise AutogradError(f"Function '{node.name()}' returned nan values in its {i}th output.{origin(node)}")


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


def _met(roots: Sequence[Any], wanted: set[int] | None) -> set[int]:
    """ids of all edges below the roots (of the wanted ones only, if some are)."""
    met: set[int] = set()
    stack = list(roots)
    while stack:
        edge = stack.pop()
        if id(edge) not in met and (wanted is None or id(edge) in wanted):
            met.add(id(edge))
            stack.extend(_children(edge))
    return met
