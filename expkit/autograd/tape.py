"""Applying primitives to Tensors: raw computation, and a node on the tape where a gradient is needed.

`apply` is the general form; `apply1` and `apply2` are the same for the arities that matter most.
"""

import weakref
from typing import Any

from expkit.autograd.handle import ARRAYS, Handle, wrap
from expkit.autograd.mode import MODE, tick
from expkit.autograd.node import Node, Pick, aval, record
from expkit.autograd.primitive import Primitive
from expkit.autograd.views import link, refresh


def apply1(prim: Primitive, x: Any, **kw: Any) -> Any:
    """Applies a primitive of one tensor and one output; records it where a gradient is needed."""
    mode = MODE
    view = x.chain
    if view is not None and view.root.written > view.stamp:
        refresh(x)
    raw = x.raw
    try:
        r = prim.interpret((x,), (raw,), kw) if mode.special else prim.impl(raw, **kw)
    except Exception as error:  # noqa: BLE001  (explain raises it again, reworded)
        r = ARRAYS.explain(prim, (x,), kw, error)
    if mode.special:
        return finish(prim, (x,), kw, r)
    if r.__class__ not in ARRAYS.raw_types:
        r = ARRAYS.as_raw(r)
    out = wrap(r)
    edge = x.node
    if edge is not None and mode.grad and prim.vjp is not None:
        keep_out, (keep,) = prim.mask((True,))
        out.node = node = Node()
        node.prim, node.kw, node.edges, node.hooks, node.dirty, node.avals = prim, kw, (edge,), None, 0, None
        node.out = r if keep_out else None
        node.saved = (x if keep else None if raw.shape == r.shape and raw.dtype == r.dtype else aval(raw),)
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
    if mode.special:
        return finish(prim, (x, y), NO_KW, r)
    if r.__class__ not in ARRAYS.raw_types:
        r = ARRAYS.as_raw(r)
    tensor = ARRAYS.tensor
    out = tensor.__new__(tensor)
    out.raw = r
    out.node = out.chain = out._grad = None
    out.written = 0
    if (ex is not None or ey is not None) and mode.grad and prim.vjp is not None:
        keep_out, (kx, ky) = prim.mask((ex is not None, ey is not None))
        out.node = node = Node()
        node.prim = prim
        node.kw = NO_KW
        node.edges = (ex, ey)
        node.hooks = node.avals = None
        node.dirty = 0
        node.out = r if keep_out else None
        shape = r.shape
        node.saved = (
            x if kx else None if ex is None or a.shape == shape else aval(a),
            y if ky else None if ey is None or b.shape == shape else aval(b),
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
    if prim.nout != 1:
        return _finish_many(prim, args, kw, r)
    raw = r if r.__class__ in ARRAYS.raw_types else ARRAYS.as_raw(r)
    out = wrap(raw)
    if MODE.special:
        made_inside(out)
    if MODE.grad and prim.differentiable:
        edges = _edges(args)
        if edges is not None:
            out.node = record(prim, args, kw, edges, (raw,))
    if prim.aliases:
        link(out, args[0], prim, kw)
    return out


def made_inside(out: Handle) -> None:
    """Notes when a tensor was made, while an interpreter is at work; and that it was, for forward_ad."""
    out.born = tick()
    if MODE.duals is not None:
        MODE.duals.append(weakref.ref(out))


def _finish_many(prim: Primitive, args: tuple[Any, ...], kw: dict[str, Any], r: Any) -> tuple[Any, ...]:
    raws = tuple(x if x.__class__ in ARRAYS.raw_types else ARRAYS.as_raw(x) for x in r)
    outs = tuple(wrap(x) for x in raws)
    if MODE.special:
        for out in outs:
            made_inside(out)
    edges = _edges(args) if MODE.grad and prim.differentiable else None
    if edges is not None:
        node = record(prim, args, kw, edges, raws)
        for i, out in enumerate(outs):
            if out.dtype.is_floating_point or out.dtype.is_complex:
                out.node = Pick(node, i)
    if prim.aliases:
        link(outs[0], args[0], prim, kw)
    return outs


def _edges(args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Where the arguments' gradients go; None where there is no such place."""
    edges = tuple([x.node if isinstance(x, Handle) else None for x in args])
    return edges if edges.count(None) != len(edges) else None


Primitive.__call__ = apply  # type: ignore[method-assign,assignment]
