"""Losses on classes and probabilities: cross entropy, nll, binary cross entropy (with logits), KL divergence."""

from __future__ import annotations

import numpy as np

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.nn.functional.activation import logsigmoid
from expkit.nn.functional.reduction import (
    TargetError,
    TargetRangeError,
    chosen,
    elementwise_loss,
    reduced,
    require,
    same_shape,
)
from expkit.tensor import Tensor
from expkit.tensor.ops.cross_entropy import nll


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(logits) at the target.   input: (N, C), (N, C, d1, ...) or (C,)

    target: class indices (integers) of the input's shape without C, or probabilities of the input's shape. `weight`
    (C,) scales the classes; the mean over indices is over their weights, and an index `ignore_index` counts nothing.
    """
    reduction = chosen(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    require("cross_entropy", input, target, floating=False)
    dim = _class_dim("cross_entropy", input)
    if target.dtype.is_floating_point:
        if ignore_index >= 0:
            raise ValueError("cross_entropy: ignore_index is not supported for floating-point targets")
        return _soft(T.log_softmax(input, dim), target, weight, reduction, label_smoothing, dim)
    _check_indices("cross_entropy", input, target, dim)
    try:
        if weight is None and label_smoothing == 0.0:
            return T.nll_from_logits(input, target, ignore_index, reduction)
        return _hard(T.log_softmax(input, dim), target, weight, ignore_index, reduction, label_smoothing, dim)
    except IndexError:
        raise _no_class("cross_entropy", target, input.shape[dim], ignore_index) from None


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-input at the target class.   input: log-probabilities shaped as for `cross_entropy`, target: class indices"""
    reduction = chosen(reduction, size_average, reduce)
    require("nll_loss", input, target, floating=False)
    dim = _class_dim("nll_loss", input)
    _check_indices("nll_loss", input, target, dim)
    try:
        if weight is None:
            return nll(input, target, ignore_index, reduction)
        return _hard(input, target, weight, ignore_index, reduction, 0.0, dim)
    except IndexError:
        raise _no_class("nll_loss", target, input.shape[dim], ignore_index) from None


def _class_dim(name: str, input: Tensor) -> int:
    if input.ndim == 0:
        raise ShapeError(f"{name}: the input needs a dimension of classes, got a scalar")
    if not input.dtype.is_floating_point:
        raise TypeError(f"{name}: the input must be floating-point, got {input.dtype}. Use .float().")
    return 0 if input.ndim == 1 else 1


def _along(weight: Tensor, like: Tensor, dim: int) -> Tensor:
    """Class weights (C,), broadcastable against `like`, which has its classes in `dim`."""
    if weight.dtype is not like.dtype:
        raise TypeError(f"weight must have the input's dtype {like.dtype}, got {weight.dtype}")
    if tuple(weight.shape) != (like.shape[dim],):
        raise ShapeError(
            f"weight must have one entry per class: expected ({like.shape[dim]},), got {tuple(weight.shape)}"
        )
    return weight.reshape(-1, *(1,) * (like.ndim - dim - 1))


def _hard(
    logp: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
    dim: int,
) -> Tensor:
    """The loss for class indices; smoothing gives every class the share smoothing / C of the target."""
    valid = T.ne(target, ignore_index)
    index = T.where(valid, target, 0)
    weighted = logp if weight is None else logp * _along(weight, logp, dim)
    loss = -T.gather(weighted, dim, index.unsqueeze(dim)).squeeze(dim)
    if smoothing:
        loss = (1 - smoothing) * loss - (smoothing / logp.shape[dim]) * weighted.sum(dim)
    loss = T.where(valid, loss, 0.0)
    if reduction != "mean":
        return reduced(loss, reduction)
    return loss.sum() / (valid if weight is None else T.where(valid, weight[index], 0.0)).sum()


def _check_indices(name: str, logp: Tensor, target: Tensor, dim: int) -> None:
    expected = (*logp.shape[:dim], *logp.shape[dim + 1 :])
    if target.dtype.is_floating_point or target.dtype == T.bool_:
        raise TargetError(f"{name}: class indices must be integers (int64), got {target.dtype} {tuple(target.shape)}")
    if tuple(target.shape) != expected:
        raise ShapeError(
            f"{name}: an input of shape {tuple(logp.shape)} (classes in dim {dim}) needs class indices of shape "
            f"{expected}, got {tuple(target.shape)}"
        )


def _no_class(name: str, target: Tensor, classes: int, ignore_index: int) -> TargetRangeError:
    """The error for a target that is no class, naming the first such value."""
    values = target.numpy(force=True)
    wrong = values[((values < 0) | (values >= classes)) & (values != ignore_index)]
    return TargetRangeError(
        f"{name}: class index {wrong.flat[0]} is out of range for {classes} classes: targets must lie in "
        f"[0, {classes - 1}]. Is the model's output_size the number of classes?"
    )


def _soft(logp: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float, dim: int) -> Tensor:
    """The loss for class probabilities; its mean is over the samples."""
    if target.shape != logp.shape:
        raise TargetError(
            f"cross_entropy: a floating-point target ({target.dtype}) holds probabilities and must have the input's "
            f"shape {tuple(logp.shape)}, got {tuple(target.shape)}. Class indices must be integers: target.long()."
        )
    if smoothing:
        target = target * (1 - smoothing) + smoothing / logp.shape[dim]
    weighted = logp if weight is None else logp * _along(weight, logp, dim)
    return reduced(-(weighted * target).sum(dim), reduction)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)) of probabilities p; each logarithm is at least -100, as in PyTorch."""
    reduction = chosen(reduction, size_average, reduce)
    require("binary_cross_entropy", input, target)
    same_shape("binary_cross_entropy", input, target)
    raw = input.raw
    if raw.__class__ is np.ndarray and raw.size and not (raw.min() >= 0 and raw.max() <= 1):
        raise ValueError("binary_cross_entropy: all elements of the input should be between 0 and 1. Are they logits?")
    return _binary(input, target, reduction=reduction, weight=weight)


@elementwise_loss
def _binary(input: Tensor, target: Tensor) -> Tensor:
    return -(target * _log(input) + (1 - target) * _log(1 - input))


def _log(p: Tensor) -> Tensor:
    """log p, but -100 (without a gradient) where p is 0 or as good as; NaN where p is no probability."""
    zero = (p >= 0) & (p < SMALLEST)
    return T.where(zero, -100.0, T.log(T.where(zero, 1.0, p)))


SMALLEST = 3.7835e-44  # exp(-100)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of sigmoid(x), without overflow; `pos_weight` scales the positive term."""
    reduction = chosen(reduction, size_average, reduce)
    require("binary_cross_entropy_with_logits", input, target)
    same_shape("binary_cross_entropy_with_logits", input, target)
    if pos_weight is None:
        return _binary_of_logits(input, target, reduction=reduction, weight=weight)
    return _weighted_binary(input, target, pos_weight, reduction=reduction, weight=weight)


@elementwise_loss
def _binary_of_logits(input: Tensor, target: Tensor) -> Tensor:
    return (1 - target) * input - logsigmoid.plain(input)


@elementwise_loss
def _weighted_binary(input: Tensor, target: Tensor, pos_weight: Tensor) -> Tensor:
    return (1 - target) * input - (1 + (pos_weight - 1) * target) * logsigmoid.plain(input)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target (log target - input), input: log-probabilities; "batchmean" (sum / N) is the divergence itself."""
    reduction = chosen(reduction, size_average, reduce)
    require("kl_div", input, target)
    if not input.is_floating_point() or not target.is_floating_point():
        raise TypeError(f"kl_div: input and target must be floating-point, got {input.dtype} and {target.dtype}")
    batch = input.shape[0] if input.ndim else 1
    if input.shape != target.shape:
        input, target = T.broadcast_tensors(input, target)
    loss = _divergence_of_logs if log_target else _divergence
    if reduction == "batchmean":
        return loss(input, target, reduction="sum") / batch
    return loss(input, target, reduction=reduction)


@elementwise_loss
def _divergence_of_logs(input: Tensor, target: Tensor) -> Tensor:
    return T.exp(target) * (target - input)


@elementwise_loss
def _divergence(input: Tensor, target: Tensor) -> Tensor:
    zero = target == 0  # what is negative gives NaN
    return T.where(zero, 0.0, target * T.log(T.where(zero, 1.0, target))) - target * input
