"""Collective operations as primitives: linear maps over all ranks at once, so they have gradients like any other.

The gradient is that of the sum of all ranks' results. Every rank must run the same operations in the same order, in
backward too: each rule is a collective operation itself.
"""

from collections.abc import Callable
from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.tensor.ops.kinds import linear
from expkit.tensor.ops.movement import permute_p


def _same(x: Aval, **_kw: Any) -> Aval:
    return x


def _all_parts(x: Aval, *, comm: Any) -> Aval:
    return Aval((comm.size, *x.shape), x.dtype, x.device)


def _one_part(x: Aval, *, comm: Any) -> Aval:
    return Aval(x.shape[1:], x.dtype, x.device)


def _unchanged(_size: int, kw: dict[str, Any]) -> dict[str, Any]:
    return kw


def _swapped(x: Any) -> Any:
    """x with its first two axes exchanged."""
    return permute_p(x, axes=(1, 0, *range(2, len(x.shape))))


def _parted(name: str, shape: Any, transpose: Callable[..., Any], *, takes: bool, gives: bool) -> Primitive:
    """A primitive with an axis of ranks in front of what it takes or gives; a batch comes before it."""
    prim = linear(
        name, lambda x, *, comm: getattr(comm, name)(x), shape, lambda g, _x, *, comm: transpose(g, comm),
        batch_kw=_unchanged,
    )  # fmt: skip

    def batch(_size: int, values: list[Any], _mapped: list[bool], kw: dict[str, Any]) -> Any:
        out = prim(_swapped(values[0]) if takes else values[0], **kw)
        return _swapped(out) if gives else out

    prim.batch = batch
    return prim


all_reduce_p = linear(
    "all_reduce", lambda x, *, comm: comm.all_reduce(x), _same, lambda g, _x, *, comm: all_reduce_p(g, comm=comm),
    batch_kw=_unchanged,
)  # fmt: skip
broadcast_p = linear(
    "broadcast", lambda x, *, comm, source: comm.broadcast(x, source), _same,
    lambda g, _x, *, comm, source: reduce_p(g, comm=comm, target=source), batch_kw=_unchanged,
)  # fmt: skip
reduce_p = linear(
    "reduce", lambda x, *, comm, target: comm.reduce(x, target), _same,
    lambda g, _x, *, comm, target: broadcast_p(g, comm=comm, source=target), batch_kw=_unchanged,
)  # fmt: skip
all_gather_p = _parted(
    "all_gather", _all_parts, lambda g, comm: reduce_scatter_p(g, comm=comm), takes=False, gives=True
)  # fmt: skip
reduce_scatter_p = _parted(
    "reduce_scatter", _one_part, lambda g, comm: all_gather_p(g, comm=comm), takes=True, gives=False
)
all_to_all_p = _parted("all_to_all", _same, lambda g, comm: all_to_all_p(g, comm=comm), takes=True, gives=True)
