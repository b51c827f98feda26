"""Normalisation: batch, layer, group and RMS norm."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.errors import ShapeError
from expkit.tensor import Tensor


def _scale(normed: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        normed = normed * weight
    return normed if bias is None else normed + bias


def _per_channel(t: Tensor | None, ndim: int) -> Any:
    """(C,) as (1, C, 1, ...) of `ndim` dimensions."""
    return None if t is None else t.reshape(1, -1, *(1,) * (ndim - 2))


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
    ndim = input.ndim
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: running_mean and running_var are needed when training=False")
        mean, var = _per_channel(running_mean, ndim), _per_channel(running_var, ndim)
        return _scale((input - mean) * T.rsqrt(var + eps), _per_channel(weight, ndim), _per_channel(bias, ndim))
    count = prod(input.shape) // max(input.shape[1], 1)
    if count <= 1:
        raise ShapeError(f"Expected more than 1 value per channel when training, got input size {tuple(input.shape)}")
    dims = (0, *range(2, ndim))
    mean = input.mean(dims, keepdim=True)
    centred = input - mean
    var = (centred * centred).mean(dims, keepdim=True)
    with no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.detach().reshape(-1).to(running_mean.dtype), momentum)
        if running_var is not None:
            unbiased = var.detach().reshape(-1) * (count / (count - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    return _scale(centred * T.rsqrt(var + eps), _per_channel(weight, ndim), _per_channel(bias, ndim))


def _trailing(name: str, input: Tensor, normalized_shape: Sequence[int]) -> tuple[int, ...]:
    """The dims that `normalized_shape` names: the last ones of the input."""
    shape = tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(
            f"{name}: given normalized_shape={shape}, expected an input of shape (*, {', '.join(map(str, shape))}), "
            f"but got {tuple(input.shape)}"
        )
    return tuple(range(-len(shape), 0))


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Each sample's trailing dimensions to mean 0 and variance 1 (Ba et al., 2016)."""
    dims = _trailing("layer_norm", input, normalized_shape)
    centred = input - input.mean(dims, keepdim=True)
    var = (centred * centred).mean(dims, keepdim=True)
    return _scale(centred * T.rsqrt(var + eps), weight, bias)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x²) + eps) over the trailing dimensions (Zhang and Sennrich, 2019); eps None: the dtype's."""
    dims = _trailing("rms_norm", input, normalized_shape)
    if eps is None:
        eps = T.finfo(input.dtype).eps
    return _scale(input * T.rsqrt((input * input).mean(dims, keepdim=True) + eps), weight, None)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Each group of channels of each sample to mean 0 and variance 1 (Wu and He, 2018).   input: (N, C, ...)"""
    if input.ndim < 2:
        raise ShapeError(f"group_norm: expected at least 2 dimensions, got {tuple(input.shape)}")
    channels = input.shape[1]
    if channels % num_groups:
        raise ShapeError(
            f"group_norm: {channels} channels (input {tuple(input.shape)}) do not split in {num_groups} groups"
        )
    grouped = input.reshape(input.shape[0], num_groups, -1)
    normed = layer_norm(grouped, grouped.shape[-1:], eps=eps).reshape(*input.shape)
    return _scale(normed, _per_channel(weight, input.ndim), _per_channel(bias, input.ndim))
