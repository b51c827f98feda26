"""Losses on numbers: mse, l1, smooth l1, huber. Input and target have one shape."""

from __future__ import annotations

import expkit.tensor as T
from expkit.nn.functional.reduction import REDUCTIONS, reduce, same_shape
from expkit.tensor import Tensor


def _difference(name: str, input: Tensor, target: Tensor) -> Tensor:
    same_shape(name, input, target)
    return input - target


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """(x - y)²."""
    if weight is None and reduction in REDUCTIONS:
        same_shape("mse_loss", input, target)
        return T.mse_loss(input, target, reduction)
    difference = _difference("mse_loss", input, target)
    return reduce(difference * difference, reduction, weight)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """|x - y|."""
    return reduce(T.abs(_difference("l1_loss", input, target)), reduction, weight)


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """(x - y)² / (2 beta) where |x - y| < beta, |x - y| - beta / 2 beyond."""
    if beta < 0:
        raise ValueError("smooth_l1_loss does not support negative values for beta")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    distance = T.abs(_difference("smooth_l1_loss", input, target))
    return reduce(T.where(distance < beta, distance * distance * (0.5 / beta), distance - 0.5 * beta), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """(x - y)² / 2 where |x - y| <= delta, delta (|x - y| - delta / 2) beyond (Huber, 1964)."""
    if delta <= 0:
        raise ValueError("huber_loss does not support non-positive values for delta.")
    distance = T.abs(_difference("huber_loss", input, target))
    loss = T.where(distance <= delta, 0.5 * distance * distance, delta * (distance - 0.5 * delta))
    return reduce(loss, reduction, weight)
