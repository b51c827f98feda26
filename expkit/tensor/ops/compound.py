"""Primitives that do in one go what a function of smaller ones defines.

`compound(name, impl, shape, plain)`: impl is for arrays; derivatives and batches are those of `plain`, which takes the
same and gives as many results. Gradient rules are recorded as such where a trace stands for calls (`recordable`).
"""

from collections.abc import Callable, Sequence
from typing import Any

from expkit.autograd.handle import Handle, wrap
from expkit.autograd.mode import enable_grad
from expkit.autograd.primitive import Primitive
from expkit.autograd.reverse import grad
from expkit.autograd.transforms import jvp as push
from expkit.autograd.vmap import vmap
from expkit.tensor import dtypes

Plain = Callable[..., Any]


def pulled(fn: Plain, g: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
    """The gradients of fn's operands by a backward pass through it, of raw values or of Tensors. g: those of its
    results, or None; integers among the operands get None."""
    boxes = [v for v in (*g, *operands) if isinstance(v, Handle)]
    with enable_grad():
        # copies: operands may depend on each other, and only the direct paths count here
        leaves = [(v if isinstance(v, Handle) else wrap(v)).clone() for v in operands]
        moving = [leaf for leaf in leaves if dtypes.of(leaf.raw).is_floating_point]
        for leaf in moving:
            if not leaf.requires_grad:
                leaf.requires_grad_()
        pairs = [(out, d) for out, d in zip(fn(*leaves), g, strict=False) if d is not None]
        outs, seeds = zip(*((out, d if isinstance(d, Handle) else wrap(d)) for out, d in pairs), strict=True)
        further = any(v.requires_grad for v in boxes)
        found = iter(grad(outs, moving, seeds, create_graph=further, materialize_grads=True))
    grads = [next(found) if any(leaf is m for m in moving) else None for leaf in leaves]
    return grads if boxes else [None if v is None else v.raw for v in grads]


def _several(found: Any) -> tuple[Any, ...]:
    return tuple(found) if isinstance(found, list | tuple) else (found,)


def compound(name: str, impl: Plain, shape: Plain, plain: Plain, nout: int = 1) -> Primitive:
    """See above."""

    def joint(g: Any, _out: Any, *operands: Any, **kw: Any) -> list[Any]:
        parts = g if nout != 1 else (g,)
        return pulled(lambda *xs: _several(plain(*xs, **kw)), parts, operands)

    def jvp(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        moving = [i for i, t in enumerate(tangents) if t is not None]

        def along(*some: Any) -> Any:
            full = list(primals)
            for i, x in zip(moving, some, strict=True):
                full[i] = x
            return plain(*full, **kw)

        return push(along, tuple(primals[i] for i in moving), tuple(tangents[i] for i in moving))[1]

    def batch(_size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
        return vmap(lambda *xs: plain(*xs, **kw), tuple(0 if m else None for m in mapped))(*values)

    return Primitive(name, impl, shape, joint=joint, jvp=jvp, batch=batch, nout=nout)
