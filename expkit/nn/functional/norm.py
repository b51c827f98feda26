"""Batch norm with running statistics; layer, group and RMS norm are functions of tensors as they are."""

from __future__ import annotations

from math import prod

import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.errors import ShapeError
from expkit.tensor import Tensor


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel (dim 1) to mean 0 and variance 1 (Ioffe and Szegedy, 2015).   input: (N, C, ...)

    With `training` by the batch's own biased variance, and the running statistics move towards the batch's (unbiased)
    by `momentum`; otherwise by the running statistics.
    """
    count = prod(input.shape) // max(input.shape[1], 1) if input.ndim > 1 else 0
    if training and count == 1:
        raise ShapeError(
            f"Expected more than 1 value per channel when training, got input size {tuple(input.shape)}. "
            "Where it is the last batch of an epoch, drop_last=True leaves it out."
        )
    out, mean, var = T.batch_norm(input, running_mean, running_var, weight, bias, training, eps)
    if training:
        with no_grad():
            if running_mean is not None:
                running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
            if running_var is not None:
                running_var.lerp_((var.detach() * (count / (count - 1))).to(running_var.dtype), momentum)
    return out
