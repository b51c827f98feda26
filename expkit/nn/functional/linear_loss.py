"""Cross entropy of a linear map: `linear_cross_entropy`, PyTorch's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.nn.functional.classification import cross_entropy
from expkit.tensor import Tensor
from expkit.tensor import linear as affine


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How PyTorch cuts the batch of `linear_cross_entropy` to save memory; accepted here, where nothing is cut."""

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """cross_entropy(input Wᵀ + b, target, ...).   input: (N, D) or (D,), W: (C, *, D), b: (C, *)

    target: classes (N, *), or probabilities (N, C, *). ignore_index is -100 for classes unless given. `options` change
    nothing in the result: see LinearCrossEntropyOptions.
    """
    _check(input, linear_weight, target, linear_bias)
    classes, *rest = linear_weight.shape[:-1]
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = affine(input, linear_weight.reshape(-1, linear_weight.shape[-1]), bias)
    logits = logits.reshape(*input.shape[:-1], classes, *rest)
    ignored = -100 if ignore_index is None else ignore_index
    return cross_entropy(
        logits, target, weight, ignore_index=ignored, reduction=reduction, label_smoothing=label_smoothing
    )


def _check(input: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None) -> None:
    name = "linear_cross_entropy"
    if input.ndim not in (1, 2) or weight.ndim < 2:
        raise ShapeError(
            f"{name}: expected input (N, D) or (D,) and linear_weight (C, *, D), got {tuple(input.shape)} and "
            f"{tuple(weight.shape)}"
        )
    if input.ndim == 1 and weight.ndim != 2:
        raise ShapeError(f"{name}: one sample needs a linear_weight (C, D), got {tuple(weight.shape)}")
    if input.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"{name}: expected equal input and linear_weight last dimensions (in_features), got {input.shape[-1]} and "
            f"{weight.shape[-1]}"
        )
    if bias is not None and tuple(bias.shape) != tuple(weight.shape[:-1]):
        raise ShapeError(f"{name}: expected linear_bias of shape {tuple(weight.shape[:-1])}, got {tuple(bias.shape)}")
    if input.ndim == 2 and (target.ndim == 0 or target.shape[0] != input.shape[0]):
        raise ShapeError(
            f"{name}: expected input batch_size ({input.shape[0]}) to match the target's, {tuple(target.shape)}"
        )
    wanted = (*input.shape[:-1], *weight.shape[:-1])
    if tuple(target.shape) == wanted and not target.is_floating_point():
        raise TypeError(f"{name}: a target of the logits' shape {wanted} holds probabilities, got {target.dtype}")
    if target.dtype is T.bool_:
        raise TypeError(f"{name}: targets must be class indices or probabilities, got bools")
