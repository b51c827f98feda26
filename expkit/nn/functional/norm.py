"""Batch and instance norm with running statistics, local response norm; the others are in expkit.tensor."""

from __future__ import annotations

from math import prod
from typing import cast

import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.autograd.levels import Dual, Lift
from expkit.errors import ShapeError
from expkit.nn.functional.padding import pad
from expkit.tensor import Tensor
from expkit.tensor.ops.pool import avg_pool2d


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
    if not input.numel():
        return _of_nothing(input, weight, bias)
    count = prod(input.shape) // max(input.shape[1], 1) if input.ndim > 1 else 0
    if training and count == 1:
        raise ShapeError(
            f"Expected more than 1 value per channel when training, got input size {tuple(input.shape)}. "
            "Where it is the last batch of an epoch, drop_last=True leaves it out."
        )
    out, mean, var = T.batch_norm(input, running_mean, running_var, weight, bias, training, eps)
    if training:
        with no_grad():
            _move(running_mean, mean, momentum)
            if running_var is not None:
                _move(running_var, var.detach() * (count / (count - 1)), momentum)
    return out


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of each sample to mean 0 and variance 1 (Ulyanov et al., 2016).   input: (N, C, ...)

    By its own mean and biased variance (`use_input_stats`; running statistics then move towards their means over the
    samples by `momentum`), or by the running statistics.
    """
    if input.ndim < 3:
        raise ShapeError(f"instance_norm: expected (N, C, ...), but got an input of shape {tuple(input.shape)}")
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    count = prod(input.shape[2:])
    if count == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {tuple(input.shape)}")
    for name, v in {"mean": running_mean, "var": running_var, "weight": weight, "bias": bias}.items():
        if v is not None and tuple(v.shape) != (input.shape[1],):
            raise ShapeError(f"instance_norm: {name} has shape {tuple(v.shape)}, expected ({input.shape[1]},)")
    if running_mean is not None or running_var is not None:
        with no_grad():
            var, mean = T.var_mean(input.detach().flatten(2), 2)
            _move(running_mean, mean.mean(0), momentum)
            _move(running_var, var.mean(0), momentum)
    return T.group_norm(input, input.shape[1], weight, bias, eps)


def _of_nothing(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """No elements: nothing to normalise by, and the running statistics stay; the gradients are zeros."""
    beside = (-1, *(1,) * (input.ndim - 2))
    out = input.clone() if weight is None else input * weight.reshape(beside)
    return out if bias is None else out + bias.reshape(beside)


def _move(running: Tensor | None, value: Tensor, momentum: float) -> None:
    """A running statistic some way towards the batch's."""
    if running is not None:
        value = value.detach()
        while value.raw.__class__ in (Dual, Lift):  # the statistics of a transform's function are its plain values
            value = cast(Tensor, value.raw.value)
        running.lerp_(value.to(running.dtype), momentum)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha mean of x² over `size` neighbouring channels)^beta (Krizhevsky et al., 2012).   (N, C, *S)"""
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    if not input.numel():
        return input
    squares = T.mul(input, input).flatten(2).unsqueeze(1)
    squares = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    mean = avg_pool2d(squares, (size, 1), 1).reshape(input.shape)
    return input / T.pow(mean * alpha + k, beta)
