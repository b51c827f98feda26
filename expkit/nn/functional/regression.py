"""Losses on numbers: mse, l1, smooth l1, huber."""

from __future__ import annotations

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.nn.functional.reduction import broadcast, chosen, elementwise_loss, reduced, require
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
    difference = input - target
    distance = T.abs(difference)
    far = distance >= beta
    return T.where(far, distance - 0.5 * beta, _square_unless(far, difference) * (0.5 / beta))


@elementwise_loss
def _huber(input: Tensor, target: Tensor, delta: float) -> Tensor:
    difference = input - target
    distance = T.abs(difference)
    far = distance >= delta
    return T.where(far, delta * (distance - 0.5 * delta), 0.5 * _square_unless(far, difference))


def _square_unless(far: Tensor, difference: Tensor) -> Tensor:
    """Squares, 0 where it is far: no gradient times an infinite distance would be NaN."""
    near = T.where(far, 0.0, difference)
    return near * near


def _weighted(loss: Tensor, weight: Tensor, reduction: str) -> Tensor:
    """Reduced with a weight for each element; the mean is the weighted one."""
    if weight.shape != loss.shape:
        raise ShapeError(f"the weights must have the input's shape {tuple(loss.shape)}, got {tuple(weight.shape)}")
    if reduction == "mean":
        return (loss * weight).sum() / weight.sum()
    return reduced(loss, reduction, weight)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(x - y)²; with weights for the elements, "mean" is the weighted mean."""
    reduction = chosen(reduction, size_average, reduce)
    require("mse_loss", input, target)
    input, target = broadcast("mse_loss", input, target)
    if weight is not None:
        return _weighted(_squared(input, target, reduction="none"), weight, reduction)
    if reduction in ("mean", "sum"):
        return T.mse_loss(input, target, reduction)
    return _squared(input, target, reduction=reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|x - y|; with weights for the elements, "mean" is the weighted mean."""
    reduction = chosen(reduction, size_average, reduce)
    require("l1_loss", input, target, floating=False)
    input, target = broadcast("l1_loss", input, target)
    if weight is not None:
        return _weighted(_absolute(input, target, reduction="none"), weight, reduction)
    return _absolute(input, target, reduction=reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """(x - y)² / (2 beta) where |x - y| < beta, |x - y| - beta / 2 beyond."""
    reduction = chosen(reduction, size_average, reduce)
    if beta < 0:
        raise ValueError("smooth_l1_loss does not support negative values for beta")
    require("smooth_l1_loss", input, target)
    input, target = broadcast("smooth_l1_loss", input, target)
    if beta == 0:
        return _absolute(input, target, reduction=reduction)
    return _smooth(input, target, beta, reduction=reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """(x - y)² / 2 where |x - y| <= delta, delta (|x - y| - delta / 2) beyond (Huber, 1964)."""
    if not isinstance(delta, int | float):
        raise TypeError(f"huber_loss: delta must be a float or int, got {type(delta).__name__}")
    if delta <= 0:
        raise ValueError("huber_loss does not support non-positive values for delta.")
    require("huber_loss", input, target)
    input, target = broadcast("huber_loss", input, target)
    if weight is not None and weight.shape != input.shape:
        raise ShapeError(f"the weights must have the input's shape {tuple(input.shape)}, got {tuple(weight.shape)}")
    return _huber(input, target.to(input.dtype), delta, reduction=reduction, weight=weight)
