"""Distances between rows."""

import math
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, wrap
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import as_device, xp_for, xp_of
from expkit.tensor.ops.arguments import require_tensor
from expkit.tensor.ops.convert import cast_p, in_float32, number, promote
from expkit.tensor.ops.elementwise import sub
from expkit.tensor.ops.index import take_p
from expkit.tensor.ops.kinds import expand_p, keep, reduced, sum_p
from expkit.tensor.ops.linalg.matrices import aligned, along, column, own_batch, row, same_batch
from expkit.tensor.ops.matmul import matmul_p, swap
from expkit.tensor.ops.movement import unsqueeze
from expkit.tensor.ops.pointwise import abs_p, eq_p, sign_p, where_p

MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
MANY = 25  # rows from which a matrix product is used for Euclidean distances, as PyTorch does

# ---- the length of each difference -----------------------------------------------------------------------------------


def _lengths(x: Any, *, p: float) -> Any:
    xp, size = xp_of(x), abs(x)
    if not x.shape[-1]:
        return xp.zeros(x.shape[:-1], x.dtype)
    if p == 0:
        return (x != 0).sum(-1).astype(x.dtype)
    if p == math.inf:
        return size.max(-1)
    return size.sum(-1) if p == 1 else xp.sqrt((size * size).sum(-1)) if p == 2 else (size**p).sum(-1) ** (1 / p)


def _nonzero(x: Any) -> Any:
    return where_p(eq_p(x, 0.0), 1.0, x)


def _slopes(out: Any, x: Any, p: float) -> Any:
    """The derivative of each length along its elements; 0 where the length, or the element, is 0."""
    sign, out = sign_p(x), expand_p(keep(out, x, (len(x.shape) - 1,)), shape=tuple(x.shape))
    if p == 0:
        return x * 0.0
    if p == 1:
        return sign
    if p == math.inf:
        return sign * cast_p(eq_p(abs_p(x), out), dtype=(x.raw if hasattr(x, "raw") else x).dtype)
    if p == 2:
        return x / _nonzero(out)
    return sign * (_nonzero(abs_p(x)) / _nonzero(out)) ** (p - 1.0)


def _lengths_vjp(g: Any, out: Any, x: Any, *, p: float) -> Any:
    return expand_p(keep(g, x, (len(x.shape) - 1,)), shape=tuple(x.shape)) * _slopes(out, x, p)


lengths_p = Primitive(  # of the rows of x, by the p-norm
    "lengths",
    _lengths,
    lambda x, *, p: reduced(x, (len(x.shape) - 1,)),
    _lengths_vjp,
    jvp=along(lambda t, out, x, *, p: sum_p(t * _slopes(out, x, p), axes=(len(x.shape) - 1,))),
    batch=own_batch("lengths"),
)

# ---- Euclidean distances by a matrix product -------------------------------------------------------------------------


def _euclidean(x: Any, y: Any) -> Any:
    """|x - y|² = |x|² - 2 xᵀy + |y|²: less exact for rows that are close, but no array of all differences."""
    xp = xp_of(x)
    squares = (x * x).sum(-1)[..., :, None] + (y * y).sum(-1)[..., None, :]
    return xp.sqrt(xp.maximum(squares - 2 * (x @ y.swapaxes(-1, -2)), 0))


def _euclidean_joint(g: Any, out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    share = where_p(eq_p(out, 0.0), 0.0, g / _nonzero(out))
    last = len(out.shape) - 1
    return (
        x * column(sum_p(share, axes=(last,))) - matmul_p(share, y),
        y * column(sum_p(share, axes=(last - 1,))) - matmul_p(swap(share), x),
    )


def _euclidean_push(tangents: list[Any], out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    (tx, ty), (x, y), last, total = tangents, primals, len(primals[0].shape) - 1, None
    for t, own, other, place in ((tx, x, y, column), (ty, y, x, row)):
        if t is not None:
            crossed = matmul_p(t, swap(other))
            part = place(sum_p(t * own, axes=(last,))) - (crossed if place is column else swap(crossed))
            total = part if total is None else total + part
    return None if total is None else where_p(eq_p(out, 0.0), 0.0, total / _nonzero(out))


euclidean_p = Primitive(
    "euclidean",
    _euclidean,
    lambda x, y: Aval((*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-2]), x.dtype, x.device),
    joint=_euclidean_joint,
    jvp=_euclidean_push,
    batch=lambda size, values, mapped, kw: euclidean_p(*aligned(values, mapped)),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def _order(what: str, p: Any) -> float:
    p = float(number(p))
    if not p >= 0:
        raise ValueError(f"{what} only supports non-negative p values, got {p}")
    return p


def _rows(what: str, *xs: Any) -> list[Any]:
    for x in xs:
        d = dtypes.of(require_tensor(x, what).raw)
        if not d.is_floating_point:
            raise TypeError(f"{what} only supports floating-point dtypes, got {d}")
    return promote(*xs)


@in_float32
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str = MODES[0]) -> Any:
    """The p-norm distance of each row of x1 to each of x2.   x1: (*, n, k), x2: (*, m, k) -> (*, n, m)"""
    p = _order("cdist", p)
    if compute_mode not in MODES:
        raise ValueError(f"cdist: {compute_mode!r} is no compute_mode; there are {', '.join(MODES)}")
    x, y = _rows("cdist", x1, x2)
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"cdist: X1 of {tuple(x.shape)} and X2 of {tuple(y.shape)} must be rows of one length")
    x, y = same_batch(x, y)
    always, never = compute_mode == MODES[1], compute_mode == MODES[2]
    if p == 2 and (always or (not never and max(x.shape[-2], y.shape[-2]) > MANY)):
        return apply(euclidean_p, x, y)
    return apply(lengths_p, sub(unsqueeze(x, -2), unsqueeze(y, -3)), p=p)


@in_float32
def pdist(input: Any, p: float = 2.0) -> Any:
    """The p-norm distances of all pairs of rows: what is above the diagonal of cdist(input, input), as a vector."""
    p = _order("pdist", p)
    (x,) = _rows("pdist", input)
    if x.ndim != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {x.ndim}D")
    first, second = map(wrap, xp_for(as_device(x.device)).triu_indices(x.shape[0], 1))
    return apply(lengths_p, sub(apply(take_p, x, first, axes=(0,)), apply(take_p, x, second, axes=(0,))), p=p)
