"""Attention: softmax(scale Q Kᵀ + mask) V, one primitive that keeps of the weights only the sums of their exponentials.

The plain code below is its definition; `generated/attention.py` computes the same block by block.
"""

import math
from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import attention as by_kernel
from expkit.tensor.ops.compound import compound
from expkit.tensor.ops.kinds import keep, materialize, sum_p
from expkit.tensor.ops.matmul import matmul_p, swap
from expkit.tensor.ops.pointwise import exp_p, where_p
from expkit.tensor.ops.windows import recordable

INF = math.inf


def _scores(q: Any, k: Any, mask: tuple[Any, ...], causal: bool, scale: float) -> Any:
    """scale Q Kᵀ, masked (raw, or anything a rule may meet). A bool mask is true where a key counts."""
    s = matmul_p(q * scale, swap(k))
    for m in mask:
        s = where_p(m, s, -INF) if dtypes.get(m.dtype) is dtypes.bool_ else s + m
    return where_p(xp_of(q).tri(s.shape[-2], s.shape[-1], dtype=bool), s, -INF) if causal else s


def _plain(q: Any, k: Any, v: Any, *mask: Any, causal: bool, scale: float) -> tuple[Any, Any]:
    xp, s = xp_of(q), _scores(q, k, mask, causal, scale)
    if not s.shape[-1]:
        return xp.zeros((*q.shape[:-1], v.shape[-1]), q.dtype), xp.full(q.shape[:-1], INF, q.dtype)
    top = s.max(-1, keepdims=True)
    top = xp.where(top == -INF, 0, top).astype(q.dtype)
    weights = xp.exp(s - top)
    total = weights.sum(-1, keepdims=True)
    empty = total == 0  # no key counts: the result is 0
    total = xp.where(empty, 1, total).astype(q.dtype)
    lse = xp.where(empty, INF, top + xp.log(total)).astype(q.dtype)
    return xp.matmul(weights / total, v), lse[..., 0]


def _impl(q: Any, k: Any, v: Any, *mask: Any, causal: bool, scale: float, learned: bool) -> tuple[Any, Any]:
    found = by_kernel.attention(q, k, v, *mask, causal=causal, scale=scale) if by_kernel.worth(q, k, v) else None
    return _plain(q, k, v, *mask, causal=causal, scale=scale) if found is None else found


def _shape(q: Aval, _k: Aval, v: Aval, *_mask: Aval, **_: Any) -> tuple[Aval, Aval]:
    return Aval((*q.shape[:-1], v.shape[-1]), q.dtype, q.device), Aval(q.shape[:-1], q.dtype, q.device)


def _weights(q: Any, k: Any, mask: tuple[Any, ...], lse: Any, causal: bool, scale: float) -> Any:
    s = _scores(q, k, mask, causal, scale)
    return exp_p(s - keep(lse, s, (len(s.shape) - 1,)))


def _slopes(
    gy: Any, gl: Any, y: Any, lse: Any, q: Any, k: Any, v: Any, *mask: Any, causal: bool, scale: float
) -> tuple[Any, Any, Any, Any]:
    """The gradients of q, k, v (None: nothing comes by it) and of the scores; gy or gl may be None."""
    p = _weights(q, k, mask, lse, causal, scale)
    last = (len(p.shape) - 1,)
    through, rise = gl, None
    if gy is not None:
        rise, back = matmul_p(gy, swap(v)), sum_p(gy * y, axes=last)
        through = -back if gl is None else gl - back
    through = keep(through, p, last)
    slope = p * (through if rise is None else rise + through)
    of_v = None if gy is None else matmul_p(swap(p), gy)
    return matmul_p(slope, k) * scale, matmul_p(swap(slope), q) * scale, of_v, slope


def _grad_plain(gy: Any, *saved: Any, **kw: Any) -> tuple[Any, Any, Any]:
    return _slopes(gy, None, *saved, **kw)[:3]


def _grad_impl(gy: Any, *saved: Any, **kw: Any) -> Any:
    found = by_kernel.attention_grad(gy, *saved, **kw) if by_kernel.worth(*saved[2:5]) else None
    return _grad_plain(gy, *saved, **kw) if found is None else found


attention_grad_p = compound(  # (gradient, result, lse, q, k, v, mask?) -> the gradients of q, k and v
    "attention_grad", _grad_impl, lambda _gy, _y, _lse, q, k, v, *_mask, **_kw: (q, k, v), _grad_plain, nout=3
)


def _joint(
    g: Any, out: Any, q: Any, k: Any, v: Any, *mask: Any, causal: bool, scale: float, learned: bool
) -> list[Any]:
    """The gradients of q, k, v and, where `learned`, of an added mask."""
    (gy, gl), operands = g, (*out, q, k, v, *mask)
    if gl is None and not learned and recordable(gy, *operands):
        return [*attention_grad_p(gy, *operands, causal=causal, scale=scale), *(None for _ in mask)]
    *grads, slope = _slopes(gy, gl, *operands, causal=causal, scale=scale)
    return [*grads, *(slope if learned else None for _ in mask)]


def _push(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> list[Any]:
    (q, k, v, *mask), scale = primals, kw["scale"]
    tq, tk, tv, *tmask = tangents
    p = _weights(q, k, tuple(mask), out[1], kw["causal"], scale)
    last = (len(p.shape) - 1,)
    parts = [
        None if tq is None else matmul_p(tq * scale, swap(k)),
        None if tk is None else matmul_p(q * scale, swap(tk)),
    ]
    moved = rise = None
    for part in (*parts, *tmask):
        if part is not None:
            moved = part if moved is None else moved + part
    if moved is not None:
        rise = sum_p(p * moved, axes=last)
        moved = matmul_p(p * (moved - keep(rise, p, last)), v)
    if tv is not None:
        moved = matmul_p(p, tv) if moved is None else moved + matmul_p(p, tv)
    return [moved, rise]


def _batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    return attention_p(*(materialize(size, v, m) for v, m in zip(values, mapped, strict=True)), **kw)


attention_p = Primitive(  # (..., T, D), (..., S, D), (..., S, E), mask? that broadcasts to (..., T, S) -> (result, lse)
    "attention", _impl, _shape, joint=_joint, jvp=_push, batch=_batch, nout=2, materialize=False
)


def attention(q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float) -> Any:
    """softmax(scale Q Kᵀ + mask) V for operands of equal leading dimensions and one dtype.

    mask: of their rank, broadcast to the scores, or None. The weights of a query without any key that counts are zeros.
    """
    learned = mask is not None and mask.is_floating_point() and (mask.requires_grad or hasattr(mask.raw, "level"))
    operands = (q, k, v) if mask is None else (q, k, v, mask)
    return apply(attention_p, *operands, causal=causal, scale=scale, learned=learned)[0]
