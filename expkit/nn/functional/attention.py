"""Attention."""

from __future__ import annotations

import math
from functools import partial

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.nn.functional.dropout import dropout
from expkit.tensor import Tensor
from expkit.tensor.ops.attention import attention
from expkit.tensor.ops.kinds import broadcast_shapes


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale Q Kᵀ + mask) V (Vaswani et al., 2017).   (..., T, D), (..., S, D), (..., S, E) -> (..., T, E)

    attn_mask: broadcasts to (..., T, S); bools say which keys count, floats are added. is_causal: query i sees the keys
    up to i. scale: 1 / sqrt(D) if it is not given. enable_gqa: groups of query heads share a head of key and value.
    A query for which no key counts gets zeros.
    """
    _check(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        key, value = (_repeated(query, x) for x in (key, value))
    lead = tuple(query.shape[:-2])
    if not lead == tuple(key.shape[:-2]) == tuple(value.shape[:-2]):
        lead = broadcast_shapes(*(tuple(x.shape[:-2]) for x in (query, key, value)))
        query, key, value = (x.expand(*lead, *x.shape[-2:]) for x in (query, key, value))
    if attn_mask is not None:
        attn_mask = _fitted(attn_mask, (*lead, query.shape[-2], key.shape[-2]))
    factor = 1 / math.sqrt(query.shape[-1] or 1) if scale is None else float(scale)
    attend = attention if dropout_p <= 0 else partial(_with_dropout, p=dropout_p)
    dtype = query.dtype
    if dtype.itemsize > 2:
        return attend(query, key, value, attn_mask, causal=is_causal, scale=factor)
    q, k, v = (x.to(T.float32) for x in (query, key, value))
    mask = attn_mask if attn_mask is None or attn_mask.dtype is T.bool_ else attn_mask.to(T.float32)
    return attend(q, k, v, mask, causal=is_causal, scale=factor).to(dtype)


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> None:
    operands = (query, key, value)
    for x in operands:
        if not isinstance(x, Tensor):
            raise TypeError(f"scaled_dot_product_attention: expected Tensors, got a {type(x).__name__}")
    dtypes = [x.dtype for x in operands]
    if not dtypes[0] is dtypes[1] is dtypes[2] or not dtypes[0].is_floating_point:
        raise TypeError(
            f"scaled_dot_product_attention: query, key and value need one floating-point dtype, got {dtypes}"
        )
    q, k, v = shapes = [tuple(x.shape) for x in operands]
    if min(map(len, shapes)) < 2 or q[-1] != k[-1] or k[-2] != v[-2]:
        raise ShapeError(
            "scaled_dot_product_attention: expected query (..., T, D), key (..., S, D) and value (..., S, E), "
            f"got {q}, {k} and {v}"
        )
    if mask is None:
        return
    if causal:
        raise ValueError("scaled_dot_product_attention: give attn_mask or is_causal=True, not both")
    if mask.dtype not in (T.bool_, query.dtype):
        raise TypeError(
            f"scaled_dot_product_attention: attn_mask must be bool or of the query's dtype {query.dtype}, "
            f"got {mask.dtype}"
        )


def _repeated(query: Tensor, x: Tensor) -> Tensor:
    """Each head of x (..., H, S, D) as often as the query has heads for it."""
    if min(query.ndim, x.ndim) < 3 or not x.shape[-3] or query.shape[-3] % x.shape[-3]:
        raise ShapeError(
            "scaled_dot_product_attention: with enable_gqa the heads of key and value must divide those of the query, "
            f"got {tuple(x.shape)} for {tuple(query.shape)}"
        )
    return x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3)


def _with_dropout(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, scale: float, p: float
) -> Tensor:
    """Attention with dropout of the weights, softmax(scale Q Kᵀ + mask), or zeros where no key counts."""
    scores = (q * scale) @ k.mT
    if mask is not None:
        scores = T.where(mask, scores, -math.inf) if mask.dtype is T.bool_ else scores + mask
    if causal:
        scores = T.where(T.ones(*scores.shape[-2:], dtype=T.bool_, device=q.device).tril(), scores, -math.inf)
    empty = T.eq(scores, -math.inf).all(-1, keepdim=True)
    weights = T.where(empty, 0.0, T.softmax(T.where(empty, 0.0, scores), -1))
    return dropout(weights, p) @ v


def _fitted(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The mask with as many dimensions as the scores have. ShapeError where it does not broadcast to them."""
    pairs = zip(mask.shape[::-1], shape[::-1], strict=False)
    if mask.ndim > len(shape) or any(n not in (1, m) for n, m in pairs):
        raise ShapeError(
            f"scaled_dot_product_attention: attn_mask {tuple(mask.shape)} does not broadcast to the scores {shape}"
        )
    return mask.reshape(*(1,) * (len(shape) - mask.ndim), *mask.shape)
