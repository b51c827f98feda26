"""Dropout: random zeros while training, the rest scaled up so that the expectation stays."""

from __future__ import annotations

from expkit.errors import ShapeError
from expkit.tensor import Tensor
from expkit.tensor.ops.fused import masked
from expkit.tensor.ops.random import survivors


def _drop(input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]) -> Tensor:
    """Zeros by one draw for each element of `shape`, which broadcasts against the input."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
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


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels.   input: (N, C, L) or (C, L)"""
    return _drop_channels(input, p, training, inplace, 1)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels.   input: (N, C, H, W) or (C, H, W)"""
    return _drop_channels(input, p, training, inplace, 2)


def _drop_channels(input: Tensor, p: float, training: bool, inplace: bool, spatial: int) -> Tensor:
    if input.ndim not in (spatial + 1, spatial + 2):
        raise ShapeError(
            f"dropout{spatial}d: expected {spatial + 1} or {spatial + 2} dimensions, got {tuple(input.shape)}"
        )
    return _drop(input, p, training, inplace, (*input.shape[:-spatial], *(1,) * spatial))
