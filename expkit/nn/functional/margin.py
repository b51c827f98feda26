"""Losses on order, similarity and distance, and likelihoods with a spread."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.nn.functional.activation import logsigmoid
from expkit.nn.functional.distance import pairwise_distance
from expkit.nn.functional.reduction import TargetError, chosen, reduced, require, same_shape
from expkit.tensor import Tensor
from expkit.tensor.ops.kinds import broadcast_shapes


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -y (x1 - x2) + margin): which of both is to be larger (y = 1: the first, y = -1: the second)."""
    reduction = chosen(reduction, size_average, reduce)
    require("margin_ranking_loss", input1, input2, target, floating=False)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            "margin_ranking_loss: all tensors need the same number of dimensions, got "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    return reduced((-target * (input1 - input2) + margin).clamp_min(0.0), reduction)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """x where y = 1, max(0, margin - x) where y = -1, for distances x."""
    reduction = chosen(reduction, size_average, reduce)
    require("hinge_embedding_loss", input, target, floating=False)
    near, far = input, (margin - input).clamp_min(0.0)
    return reduced(T.where(target != 1, far, 0.0) + T.where(target != -1, near, 0.0), reduction)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x1, x2) where y = 1, max(0, cos(x1, x2) - margin) where y = -1."""
    reduction = chosen(reduction, size_average, reduce)
    require("cosine_embedding_loss", input1, input2, target, floating=False)
    if input1.ndim != input2.ndim or input1.ndim not in (1, 2) or tuple(target.shape) != tuple(input1.shape[:-1]):
        raise ShapeError(
            f"cosine_embedding_loss: the target has shape {tuple(target.shape)}, "
            f"but the inputs are {tuple(input1.shape)} and {tuple(input2.shape)}: expected (N,) for (N, D), () for (D,)"
        )
    squares = [(x * x).sum(-1) + 1e-12 for x in (input1, input2)]
    cos = (input1 * input2).sum(-1) / (squares[0] * squares[1]).sqrt()
    zero = T.zeros_like(cos)
    loss = T.where(target == 1, 1 - cos, zero) + T.where(target == -1, (cos - margin).clamp_min(0.0), zero)
    return reduced(loss, reduction)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-y x)), y = 1 or -1."""
    reduction = chosen(reduction, size_average, reduce)
    require("soft_margin_loss", input, target, floating=False)
    if broadcast_shapes(tuple(input.shape), tuple(target.shape)) != tuple(input.shape):
        same_shape("soft_margin_loss", input, target)
    return reduced(-logsigmoid(input * target.to(input.dtype)), reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over the other classes i of w_y max(0, margin - x_y + x_i)^p / C.   input: (N, C), target: (N,)"""
    reduction = chosen(reduction, size_average, reduce)
    require("multi_margin_loss", input, target, floating=False)
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: only p == 1 and p == 2 are supported, got {p}")
    x, y = _rows("multi_margin_loss", input, target, 1)
    own = T.gather(x, 1, y.unsqueeze(1))
    loss = (margin - own + x).clamp_min(0.0)
    loss = loss if p == 1 else loss * loss
    if weight is not None:
        if tuple(weight.shape) != (x.shape[1],):
            raise ShapeError(f"multi_margin_loss: weight must be ({x.shape[1]},), got {tuple(weight.shape)}")
        loss = loss * weight[y].unsqueeze(1)
    is_target = T.zeros(x.shape, dtype=T.bool_, device=x.device).scatter(1, y.unsqueeze(1), True)
    loss = T.where(is_target, 0.0, loss).sum(1) / x.shape[1]
    return reduced(loss if input.ndim == 2 or target.ndim else loss.squeeze(0), reduction)


def _rows(name: str, input: Tensor, target: Tensor, lacking: int) -> tuple[Tensor, Tensor]:
    """(N, C) logits, or (C,), or one, and their targets, which have `lacking` dimensions less; a batch of one may be
    left out of the logits alone."""
    have, rank = tuple(target.shape), input.ndim
    fits = [tuple(input.shape[: rank - lacking])] if rank else [(), (1,)]
    fits += [(1,)] if rank == 1 and lacking else []
    if rank > 2 or have not in fits:
        raise ShapeError(f"{name}: inconsistent target shape {have} for an input {tuple(input.shape)}")
    if rank == 2:
        return input, target
    return input.reshape(1, -1), target.reshape(1) if lacking else target.reshape(1, -1)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over targets j and other classes i of max(0, 1 - (x_j - x_i)) / C.

    target: (N, C) or (C,) class indices, those in front of the first -1 count.
    """
    reduction = chosen(reduction, size_average, reduce)
    require("multilabel_margin_loss", input, target, floating=False)
    x, y = _rows("multilabel_margin_loss", input, target, 0)
    counts = (y < 0).to(y.dtype).cumsum(1) == 0
    index = T.where(counts, y, 0)
    if index.raw.__class__ is np.ndarray and (index.raw >= x.shape[1]).any():  # elsewhere it is not looked at
        raise TargetError(f"multilabel_margin_loss: a target is no class below {x.shape[1]}")
    is_target = T.zeros(x.shape, dtype=T.int64, device=x.device).scatter_add(1, index, counts.to(T.int64)) > 0
    gaps = (1 - T.gather(x, 1, index).unsqueeze(2) + x.unsqueeze(1)).clamp_min(0.0)
    pairs = counts.unsqueeze(2).logical_and(is_target.logical_not().unsqueeze(1))
    loss = T.where(pairs, gaps, 0.0).sum((1, 2)) / x.shape[1]
    return reduced(loss if input.ndim == 2 else loss.squeeze(0), reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(y log σ(x) + (1 - y) log σ(-x)), averaged over the classes.   input, target: (*, C), target 0 or 1"""
    reduction = chosen(reduction, size_average, reduce)
    require("multilabel_soft_margin_loss", input, target, floating=False)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    return reduced((loss if weight is None else loss * weight).mean(-1), reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(a, p) - d(a, n) + margin); swap: with the smaller of d(a, n) and d(p, n) (Balntas et al., 2016)."""
    reduction = chosen(reduction, size_average, reduce)
    require("triplet_margin_loss", anchor, positive, negative, floating=False)
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            "triplet_margin_loss: all tensors need the same number of dimensions, got "
            f"{tuple(anchor.shape)}, {tuple(positive.shape)} and {tuple(negative.shape)}"
        )
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda x, y: pairwise_distance(x, y, p, eps),
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """triplet_margin_loss with any distance."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = distance_function or pairwise_distance
    far = distance(anchor, negative)
    if swap:
        far = T.minimum(far, distance(positive, negative))
    return reduced((distance(anchor, positive) - far + margin).clamp_min(0.0), reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log var + (x - y)² / var) / 2 with var at least eps (Nix and Weigend, 1994).

    full: with the constant log(2π) / 2.
    var: a number, or the input's shape, or that with one dimension of 1, or without its last.
    """
    spread = var if isinstance(var, Tensor) else T.full(input.shape, var, dtype=input.dtype, device=input.device)
    if tuple(spread.shape) != tuple(input.shape):
        pairs = zip(spread.shape, input.shape, strict=False)
        if tuple(spread.shape) == tuple(input.shape[:-1]):
            spread = spread.unsqueeze(-1)
        elif spread.ndim != input.ndim or [n for n, m in pairs if n != m] != [1]:
            raise ShapeError(f"gaussian_nll_loss: var is of incorrect size {tuple(spread.shape)}")
    fixed = spread.detach()
    if fixed.raw.__class__ is np.ndarray and (fixed.raw < 0).any():  # not looked at on a GPU or under a transform
        raise ValueError("gaussian_nll_loss: var has negative entry/entries")
    bounded = spread + (fixed.clamp_min(eps) - fixed)  # the gradient passes as if there were no bound
    difference = input - target
    loss = (bounded.log() + difference * difference / bounded) * 0.5
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """exp(x) - y x (log_input) or x - y log(x + eps); full: with Stirling's approximation of log(y!) for y > 1."""
    reduction = chosen(reduction, size_average, reduce)
    require("poisson_nll_loss", input, target, floating=False)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        y = T.where(target > 1, target, 1.0)
        loss = loss + T.where(target > 1, y * y.log() - y + 0.5 * (2 * math.pi * y).log(), 0.0)
    return reduced(loss, reduction)
