"""Dropout: random zeros while training, the rest scaled up so that the expectation stays."""

from __future__ import annotations

import math
import warnings

from expkit.errors import ShapeError
from expkit.nn.functional.activation import SELU_ALPHA, SELU_SCALE
from expkit.tensor import Tensor
from expkit.tensor.ops.fused import masked
from expkit.tensor.ops.random import survivors


def _check_p(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _drop(input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]) -> Tensor:
    """Zeros by one draw for each element of `shape`, which broadcasts against the input."""
    _check_p(p)
    if not training or p == 0:
        return input
    if p == 1:
        out = input * 0
    else:
        out = masked(input, survivors(shape, p, input.device), 1 / (1 - p))
    return input.copy_(out) if inplace else out


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes each element with probability p (Srivastava et al., 2014)."""
    return _drop(input, p, training, inplace, tuple(input.shape))


# ---- whole channels --------------------------------------------------------------------------------------------------


def _drop_channels(input: Tensor, p: float, training: bool, inplace: bool, channel: int) -> Tensor:
    """One draw for each channel, which are all dimensions up to `channel`."""
    _check_channels(input, p, training, channel)
    return _drop(input, p, training, inplace, (*input.shape[: channel + 1], *(1,) * (input.ndim - channel - 1)))


def _check_channels(input: Tensor, p: float, training: bool, channel: int = 1) -> None:
    """ShapeError for an input that has none, if they are to be drawn for."""
    if training and 0 < p < 1 and input.ndim <= channel:
        raise ShapeError(f"dropout of channels: expected (N, C, ...), got an input of shape {tuple(input.shape)}")


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels.   input: (N, C, L) or (C, L)"""
    if input.ndim not in (2, 3):
        raise ShapeError(f"dropout1d: expected 2 or 3 dimensions, got {tuple(input.shape)}")
    return _drop_channels(input, p, training, inplace, input.ndim - 2)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels.   input: (N, C, H, W); (N, C, L) with a warning, as PyTorch understands 3 dimensions"""
    if input.ndim == 3:
        warnings.warn(
            f"dropout2d: an input of 3 dimensions, {tuple(input.shape)}, is understood as (N, C, L), as PyTorch does; "
            "dropout1d is meant for it",
            stacklevel=2,
        )
    elif input.ndim != 4:
        _warn_of_rank("dropout2d", input, "3 or 4")
    return _drop_channels(input, p, training, inplace, 1)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels.   input: (N, C, D, H, W) or (C, D, H, W)"""
    if input.ndim not in (4, 5):
        _warn_of_rank("dropout3d", input, "4 or 5")
    return _drop_channels(input, p, training, inplace, 0 if input.ndim == 4 else 1)


def _warn_of_rank(name: str, input: Tensor, expected: str) -> None:
    warnings.warn(
        f"{name}: expected {expected} dimensions, got {tuple(input.shape)}; use dropout for others", stacklevel=3
    )


# ---- for selu --------------------------------------------------------------------------------------------------------


def _drop_alpha(input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]) -> Tensor:
    """What selu tends to in place of zeros, then scaled and moved so that mean and variance stay those of the input."""
    _check_p(p)
    if not training or p == 0 or not input.numel():
        return input
    if p == 1:
        out = input * 0
    else:
        low = -SELU_ALPHA * SELU_SCALE
        scale = 1 / math.sqrt((low * low * p + 1) * (1 - p))
        kept = survivors(shape, p, input.device)
        out = masked(input - low, kept, scale) + low * scale * (1 - p)
    return input.copy_(out) if inplace else out


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1 (Klambauer et al., 2017): with the lower end of selu for zeros."""
    return _drop_alpha(input, p, training, inplace, tuple(input.shape))


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """alpha_dropout of whole channels.   input: (N, C, ...)"""
    _check_channels(input, p, training)
    return _drop_alpha(input, p, training, inplace, (*input.shape[:2], *(1,) * (input.ndim - 2)))
