"""Multi-head attention as one function of all its weights: `multi_head_attention_forward`, PyTorch's signature."""

from __future__ import annotations

import math
import warnings
from typing import Any

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.nn.functional.activation import softmax
from expkit.nn.functional.attention import scaled_dot_product_attention
from expkit.nn.functional.dropout import dropout
from expkit.nn.functional.padding import pad
from expkit.tensor import Tensor
from expkit.tensor import linear as affine

NAME = "multi_head_attention_forward"


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """(result, weights) of attention in heads (Vaswani et al., 2017).   (T, B, E), (S, B, ·), (S, B, ·) -> (T, B, E)

    Without B the operands are one sequence. weights: (B, T, S), or (B, H, T, S) unless average_attn_weights; None
    without need_weights, which is faster. attn_mask (T, S) or (B H, T, S) and key_padding_mask (B, S): True for what
    does not count, floats are added. is_causal says that attn_mask is the causal one. bias_k and bias_v are one more
    key and value, add_zero_attn adds zeros as another; static_k and static_v (B H, S, D) replace the projected ones.
    """
    batched = _check_ranks(query, key, value, key_padding_mask, attn_mask, num_heads, is_causal)
    if not batched:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    weights = [q_proj_weight, k_proj_weight, v_proj_weight] if use_separate_proj_weight else _split(in_proj_weight)
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight, weights)
    steps, batch, width = query.shape
    causal = is_causal and key_padding_mask is None and not need_weights
    masks = _checked(None if causal else attn_mask, key_padding_mask, (batch, num_heads, steps, key.shape[0]))
    made = _projected([query, key, value], weights, in_proj_bias)
    (q, k, v), more = _heads(made, num_heads, (bias_k, bias_v), (static_k, static_v), add_zero_attn)
    mask = _merged(masks, more, query.dtype)
    attend = _attended if need_weights else _attended_without_weights
    out, shares = attend(q, k, v, mask, dropout_p if training else 0.0, causal)
    out = affine(out.permute(2, 0, 1, 3).reshape(steps, batch, width), out_proj_weight, out_proj_bias)
    if shares is not None and average_attn_weights:
        shares = shares.mean(1)
    return (out, shares) if batched else (out.squeeze(1), None if shares is None else shares.squeeze(0))


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check_ranks(
    q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None, mask: Tensor | None, heads: int, causal: bool
) -> bool:
    """Whether there is a batch dimension; ShapeError unless all operands agree on it."""
    if causal and mask is None:
        raise TypeError(f"{NAME}: is_causal is a hint about attn_mask, which is not given")
    n = q.ndim
    if n not in (2, 3):
        raise ShapeError(f"{NAME}: query must be (T, E) or (T, B, E), got {tuple(q.shape)}")
    if k.ndim != n or v.ndim != n:
        raise ShapeError(f"{NAME}: key and value must have {n} dimensions as the query has, got {k.ndim} and {v.ndim}")
    if padding is not None and padding.ndim != n - 1:
        raise ShapeError(f"{NAME}: key_padding_mask must have {n - 1} dimensions, got {tuple(padding.shape)}")
    if mask is not None:
        if mask.ndim not in (2, 3):
            raise ShapeError(f"{NAME}: attn_mask must have 2 or 3 dimensions, got {tuple(mask.shape)}")
        wanted = (heads, q.shape[0], k.shape[0])
        if n == 2 and mask.ndim == 3 and tuple(mask.shape) != wanted:
            raise ShapeError(f"{NAME}: attn_mask must have shape {wanted}, got {tuple(mask.shape)}")
    return n == 3


def _check_sizes(
    q: Tensor, k: Tensor, v: Tensor, embed_dim: int, heads: int, separate: bool, weights: list[Tensor | None]
) -> None:
    width = q.shape[2]
    if width != embed_dim:
        raise ShapeError(f"{NAME}: was expecting embedding dimension of {embed_dim}, but got {width}")
    if width % heads:
        raise ShapeError(f"{NAME}: embed_dim {width} not divisible by num_heads {heads}")
    left, right = (tuple(x.shape[: 2 if separate else 3]) for x in (k, v))
    if left != right:
        raise ShapeError(f"{NAME}: key {tuple(k.shape)} and value {tuple(v.shape)} do not belong together")
    for name, weight in zip("qkv", weights, strict=True):
        if weight is None:
            raise ValueError(f"{NAME}: use_separate_proj_weight is True but {name}_proj_weight is None")


def _checked(mask: Tensor | None, padding: Tensor | None, sizes: tuple[int, int, int, int]) -> list[Tensor]:
    """attn_mask and key_padding_mask, those that are given, with four dimensions each."""
    batch, heads, steps, keys = sizes
    found = []
    for name, x in (("attn_mask", mask), ("key_padding_mask", padding)):
        if x is not None and x.dtype is not T.bool_ and not x.is_floating_point():
            raise TypeError(f"{NAME}: only bool and floating types of {name} are supported, got {x.dtype}")
    if mask is not None:
        wanted = (steps, keys) if mask.ndim == 2 else (batch * heads, steps, keys)
        if tuple(mask.shape) != wanted:
            raise ShapeError(f"{NAME}: attn_mask has shape {tuple(mask.shape)}, but should be {wanted}")
        found.append(mask.reshape(1, 1, steps, keys) if mask.ndim == 2 else mask.reshape(batch, heads, steps, keys))
    if padding is not None:
        if tuple(padding.shape) != (batch, keys):
            raise ShapeError(f"{NAME}: key_padding_mask must have shape {(batch, keys)}, got {tuple(padding.shape)}")
        found.append(padding.reshape(batch, 1, 1, keys))
    if len(found) == 2 and found[0].dtype is not found[1].dtype:
        warnings.warn(
            f"{NAME}: attn_mask is {found[0].dtype} and key_padding_mask {found[1].dtype}; use one type for both",
            stacklevel=4,
        )
    return found


# ---- parts -----------------------------------------------------------------------------------------------------------


def _split(weight: Tensor | None) -> list[Tensor | None]:
    """The weights of query, key and value, which lie one below the other."""
    if weight is None:
        raise ValueError(f"{NAME}: use_separate_proj_weight is False but in_proj_weight is None")
    return list(weight.chunk(3))


def _projected(given: list[Tensor], weights: list[Tensor | None], bias: Tensor | None) -> list[Tensor]:
    biases = [None] * 3 if bias is None else bias.chunk(3)
    return [affine(x, w, b) for x, w, b in zip(given, weights, biases, strict=True)]


def _heads(
    made: list[Tensor],
    count: int,
    biases: tuple[Tensor | None, Tensor | None],
    static: tuple[Tensor | None, Tensor | None],
    zeros: bool,
) -> tuple[tuple[Tensor, Tensor, Tensor], int]:
    """Query, key and value (B, H, ·, D), and how many keys were added to those that the masks know."""
    q, *rest = made
    more = [b for b in biases if b is not None]
    if len(more) == 2:
        if any(x is not None for x in static):
            raise ValueError(f"{NAME}: bias_k and bias_v cannot be added to static keys and values")
        rest = [T.cat([x, b.expand(1, *x.shape[1:])]) for x, b in zip(rest, more, strict=True)]
    q, *rest = (x.reshape(*x.shape[:2], count, x.shape[2] // count).permute(1, 2, 0, 3) for x in (q, *rest))
    rest = [x if given is None else _static(given, x) for x, given in zip(rest, static, strict=True)]
    if zeros:
        rest = [pad(x, (0, 0, 0, 1)) for x in rest]
    return (q, rest[0], rest[1]), (len(more) == 2) + zeros


def _static(given: Tensor, like: Tensor) -> Tensor:
    batch, heads, _, width = like.shape
    if given.ndim != 3 or given.shape[0] != batch * heads or given.shape[2] != width:
        raise ShapeError(
            f"{NAME}: static keys and values must be ({batch * heads}, S, {width}), got {tuple(given.shape)}"
        )
    return given.reshape(batch, heads, given.shape[1], width)


def _merged(masks: list[Tensor], extra: int, dtype: Any) -> Tensor | None:
    """One mask, bool (True: does not count) if all are, else floats to add; nothing masks the `extra` keys."""
    if not masks:
        return None
    if any(m.dtype is not T.bool_ for m in masks):
        masks = [T.where(m, -math.inf, 0.0).to(dtype) if m.dtype is T.bool_ else m.to(dtype) for m in masks]
    masks = [pad(m, (0, extra)) for m in masks] if extra else masks
    if len(masks) == 1:
        return masks[0]
    return masks[0] | masks[1] if masks[0].dtype is T.bool_ else masks[0] + masks[1]


def _attended(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, causal: bool
) -> tuple[Tensor, Tensor | None]:
    """(result, weights); the weights of a query for which no key counts are NaN, as in PyTorch."""
    scores = (q * math.sqrt(1 / q.shape[-1])) @ k.mT
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf) if mask.dtype is T.bool_ else scores + mask
    weights = dropout(softmax(scores, -1), p)
    return weights @ v, weights


def _attended_without_weights(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, causal: bool
) -> tuple[Tensor, Tensor | None]:
    """(result, None); the result of a query for which no key counts is 0."""
    counts = mask.logical_not() if mask is not None and mask.dtype is T.bool_ else mask
    return scaled_dot_product_attention(q, k, v, counts, p, causal), None
