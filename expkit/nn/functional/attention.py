"""Attention."""

from __future__ import annotations

import math

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
    lead = broadcast_shapes(*(tuple(x.shape[:-2]) for x in (query, key, value)))
    query, key, value = (x.expand(*lead, *x.shape[-2:]) for x in (query, key, value))
    shape = (*lead, query.shape[-2], key.shape[-2])
    if attn_mask is not None:
        attn_mask = _fitted(attn_mask, shape)
    factor = 1 / math.sqrt(query.shape[-1] or 1) if scale is None else float(scale)
    wide = T.float32 if query.dtype.itemsize == 2 else query.dtype
    q, k, v = (x.to(wide) for x in (query, key, value))
    mask = attn_mask if attn_mask is None or attn_mask.dtype is T.bool_ else attn_mask.to(wide)
    if dropout_p > 0:
        return (dropout(_weights(q, k, mask, is_causal, factor), dropout_p) @ v).to(query.dtype)
    return attention(q, k, v, mask, causal=is_causal, scale=factor).to(query.dtype)


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> None:
    operands = {"query": query, "key": key, "value": value}
    for name, x in operands.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"scaled_dot_product_attention: {name} must be a Tensor, got {type(x).__name__}")
    dtypes = {name: x.dtype for name, x in operands.items()}
    if len(set(dtypes.values())) > 1 or not query.dtype.is_floating_point:
        raise TypeError(f"scaled_dot_product_attention: query, key and value need one floating dtype, got {dtypes}")
    shapes = {name: tuple(x.shape) for name, x in operands.items()}
    if any(x.ndim < 2 for x in operands.values()):
        raise ShapeError(
            f"scaled_dot_product_attention: query, key and value need two dimensions or more, got {shapes}"
        )
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            "scaled_dot_product_attention: query (..., T, D), key (..., S, D) and value (..., S, E) do not fit "
            f"together: {shapes}"
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


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """softmax(scale Q Kᵀ + mask), zeros where no key counts: what dropout acts on."""
    scores = (q * scale) @ k.mT
    if mask is not None:
        scores = T.where(mask, scores, -math.inf) if mask.dtype is T.bool_ else scores + mask
    if causal:
        scores = T.where(T.ones(*scores.shape[-2:], dtype=T.bool_, device=q.device).tril(), scores, -math.inf)
    empty = T.eq(scores, -math.inf).all(-1, keepdim=True)
    return T.where(empty, 0.0, T.softmax(T.where(empty, 0.0, scores), -1))


def _fitted(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The mask with as many dimensions as the scores have. ShapeError where it does not broadcast to them."""
    pairs = zip(mask.shape[::-1], shape[::-1], strict=False)
    if mask.ndim > len(shape) or any(n not in (1, m) for n, m in pairs):
        raise ShapeError(
            f"scaled_dot_product_attention: attn_mask {tuple(mask.shape)} does not broadcast to the scores {shape}"
        )
    return mask.reshape(*(1,) * (len(shape) - mask.ndim), *mask.shape)
