"""Losses on numbers: mse, l1, smooth l1, huber. Input and target have one shape."""

from __future__ import annotations

import expkit.tensor as T
from expkit.nn.functional.reduction import elementwise_loss, same_shape
from expkit.tensor import Tensor


@elementwise_loss
def _squared(input: Tensor, target: Tensor) -> Tensor:
    difference = input - target
    return difference * difference


@elementwise_loss
def _absolute(input: Tensor, target: Tensor) -> Tensor:
    return T.abs(input - target)


@elementwise_loss
def _smooth(input: Tensor, target: Tensor, beta: float) -> Tensor:
    distance = T.abs(input - target)
    far = distance >= beta
    return T.where(far, distance - 0.5 * beta, _square_unless(far, distance) * (0.5 / beta))


@elementwise_loss
def _huber(input: Tensor, target: Tensor, delta: float) -> Tensor:
    distance = T.abs(input - target)
    far = distance > delta
    return T.where(far, delta * (distance - 0.5 * delta), 0.5 * _square_unless(far, distance))


def _square_unless(far: Tensor, distance: Tensor) -> Tensor:
    """Squares, 0 where it is far: no gradient times an infinite distance would be NaN."""
    distance = T.where(far, 0.0, distance)
    return distance * distance


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """(x - y)²."""
    if weight is None and reduction in ("mean", "sum"):
        same_shape("mse_loss", input, target)
        return T.mse_loss(input, target, reduction)
    return _squared("mse_loss", input, target, reduction=reduction, weight=weight)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """|x - y|."""
    return _absolute("l1_loss", input, target, reduction=reduction, weight=weight)


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """(x - y)² / (2 beta) where |x - y| < beta, |x - y| - beta / 2 beyond."""
    if beta < 0:
        raise ValueError("smooth_l1_loss does not support negative values for beta")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    return _smooth("smooth_l1_loss", input, target, beta, reduction=reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """(x - y)² / 2 where |x - y| <= delta, delta (|x - y| - delta / 2) beyond (Huber, 1964)."""
    if delta <= 0:
        raise ValueError("huber_loss does not support non-positive values for delta.")
    return _huber("huber_loss", input, target, delta, reduction=reduction, weight=weight)
