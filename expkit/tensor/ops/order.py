"""Order statistics: sorting, the largest elements, single ones by rank.

One primitive gives the elements start to stop of the sorted order along an axis, with their places. It moves elements,
so its derivatives gather and scatter by the places.
"""

from collections import namedtuple
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import RangeError
from expkit.tensor.devices import xp_of
from expkit.tensor.generated.sort import ordering, returned
from expkit.tensor.ops.arguments import BOOLS, COMPLEX, dim_of, refuse
from expkit.tensor.ops.index import gather_p, scatter_p
from expkit.tensor.ops.kinds import zeros_raw
from expkit.tensor.ops.reduce import INT

# ---- the primitive ---------------------------------------------------------------------------------------------------


def _order(x: Any, axis: int, descending: bool) -> Any:
    """Indices of a stable sort; NaN counts as the largest."""
    xp = xp_of(x)
    x = x.astype(np.float32) if x.dtype.kind == "V" else x  # bfloat16 has no order of its own
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable").astype(np.int64)
    back = xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis)  # equal elements keep their order
    return (x.shape[axis] - 1 - back).astype(np.int64)


def _ordered(x: Any, *, axis: int, descending: bool, start: int, stop: int) -> tuple[Any, Any]:
    places = _order(x, axis, descending)[(slice(None),) * axis + (slice(start, stop),)]
    return gather_p.impl(x, places, axis=axis), places


def _shape(x: Aval, *, axis: int, descending: bool, start: int, stop: int) -> tuple[Aval, Aval]:
    shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
    return Aval(shape, x.dtype, x.device), Aval(shape, INT, x.device)


def _joint(g: Any, out: Any, _x: Any, *, axis: int, **_: Any) -> tuple[Any]:
    found = returned(g[0], out[1], _x.shape[axis], axis)
    return (scatter_p(zeros_raw(g[0], tuple(_x.shape)), out[1], g[0], axis=axis) if found is None else found,)


def _push(tangents: list[Any], out: Any, _primals: list[Any], kw: dict[str, Any]) -> Any:
    return None if tangents[0] is None else [gather_p(tangents[0], out[1], axis=kw["axis"]), None]


order_p = Primitive(  # x -> (values, places)
    "order",
    ordering(_ordered),
    _shape,
    joint=_joint,
    jvp=_push,
    batch=lambda size, values, mapped, kw: order_p(values[0], **{**kw, "axis": kw["axis"] + 1}),
    nout=2,
    saves=(1,),
)

# ---- functions -------------------------------------------------------------------------------------------------------

_Sorted, _TopK, _Kth = (namedtuple(name, ["values", "indices"]) for name in ("sort", "topk", "kthvalue"))


def ranked(x: Any, dim: int, start: int, stop: int | None, descending: bool) -> tuple[Any, Any]:
    """Elements start to stop (None: all) of the order along a dimension; a number is a line of one."""
    at = dim_of(dim, x.ndim)
    line = x if x.ndim else x.reshape(1)
    end = line.shape[at] if stop is None else stop
    return apply(order_p, line, axis=at, descending=bool(descending), start=start, stop=end)


def _reshaped(x: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
    return found if x.ndim or found[0].shape != (1,) else (found[0].reshape(()), found[1].reshape(()))


def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices), sorted along `dim`; always stable."""
    refuse(input, "sort", COMPLEX)
    return _Sorted(*_reshaped(input, ranked(input, dim, 0, None, descending)))


def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The indices that sort along `dim`; always stable."""
    return sort(input, dim, descending).indices


def msort(input: Any) -> Any:
    """The values, sorted along the first dimension."""
    return sort(input, 0).values


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(values, indices) of the k largest (smallest) elements along `dim`, in order."""
    refuse(input, "topk", BOOLS + COMPLEX)
    size = size_along(input, dim)
    if not 0 <= k <= size:
        raise RuntimeError(f"topk: selected index k out of range: k={k} for a dimension of size {size}")
    return _TopK(*_reshaped(input, ranked(input, dim, 0, int(k), largest)))


def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the kth smallest element along `dim`, counted from 1."""
    refuse(input, "kthvalue", BOOLS + COMPLEX)
    size = nonempty_size(input, dim, "kthvalue")
    if not 1 <= k <= size:
        raise RuntimeError(f"kthvalue: k={k} is out of range for a dimension of size {size}")
    return _Kth(*dropped(input, ranked(input, dim, int(k) - 1, int(k), False), dim, keepdim))


def size_along(x: Any, dim: int) -> int:
    """The size of a dimension; a number is a line of one."""
    at = dim_of(dim, x.ndim)
    return int(x.shape[at]) if x.ndim else 1


def nonempty_size(x: Any, dim: int, what: str) -> int:
    """The size of a dimension, which must not be 0."""
    size = size_along(x, dim)
    if not size:
        raise RangeError(f"{what}(): dimension {dim} of shape {tuple(x.shape)} has no elements to reduce")
    return size


def dropped(x: Any, found: tuple[Any, Any], dim: int, keepdim: bool) -> tuple[Any, Any]:
    """Results without the dimension in which they have one element, unless it is to stay."""
    if not x.ndim:
        return _reshaped(x, found)
    return found if keepdim else (found[0].squeeze(dim), found[1].squeeze(dim))
