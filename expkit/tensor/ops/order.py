"""Order statistics: sorting and the largest elements."""

from collections import namedtuple
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.index import gather_p
from expkit.tensor.ops.movement import dim_of
from expkit.tensor.ops.reduce import INT, argmax


def _order(x: Any, *, axis: int, descending: bool) -> Any:
    """Indices of a stable sort; NaN counts as the largest."""
    xp = xp_of(x)
    x = x.astype(np.float32) if x.dtype.kind == "V" else x  # bfloat16 has no order of its own
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable").astype(np.int64)
    back = xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis)  # equal elements keep their order
    return (x.shape[axis] - 1 - back).astype(np.int64)


argsort_p = Primitive(
    "argsort",
    _order,
    lambda x, *, axis, descending: Aval(x.shape, INT, x.device),
    batch=lambda size, values, mapped, kw: argsort_p(values[0], axis=kw["axis"] + 1, descending=kw["descending"]),
)


def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The indices that sort along `dim`; always stable."""
    if input.ndim == 0:
        return argmax(input)
    return apply1(argsort_p, input, axis=dim_of(dim, input.ndim), descending=bool(descending))


_Sorted = namedtuple("sort", ["values", "indices"])
_TopK = namedtuple("topk", ["values", "indices"])


def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices), sorted along `dim`."""
    index = argsort(input, dim, descending)
    if input.ndim == 0:
        return _Sorted(input.clone(), index)
    return _Sorted(apply(gather_p, input, index, axis=dim_of(dim, input.ndim)), index)


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(values, indices) of the k largest (smallest) elements along `dim`, in order."""
    at = dim_of(dim, input.ndim)
    if not 0 <= k <= (input.shape[at] if input.ndim else 1):
        raise RuntimeError(
            f"selected index k out of range: k={k} for a dimension of size {input.shape[at] if input.ndim else 1}"
        )
    values, index = sort(input, dim, descending=largest)
    return _TopK(values, index) if input.ndim == 0 else _TopK(values.narrow(at, 0, k), index.narrow(at, 0, k))
