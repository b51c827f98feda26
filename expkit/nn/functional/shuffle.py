"""Moving between channels and places: pixel_shuffle, pixel_unshuffle, channel_shuffle."""

from __future__ import annotations

from expkit.errors import ShapeError
from expkit.tensor import Tensor


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C r², H, W) -> (*, C, H r, W r): channels become places (Shi et al., 2016)."""
    r = _factor("pixel_shuffle", input, upscale_factor)
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise ShapeError(f"pixel_shuffle: {c} channels are not divisible by upscale_factor² = {r * r}")
    n = len(lead)
    parts = input.reshape(*lead, c // (r * r), r, r, h, w)
    order = (*range(n + 1), n + 3, n + 1, n + 4, n + 2)
    return parts.permute(*order).reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H r, W r) -> (*, C r², H, W): the inverse of pixel_shuffle."""
    r = _factor("pixel_unshuffle", input, downscale_factor)
    *lead, c, h, w = input.shape
    if h % r or w % r:
        raise ShapeError(f"pixel_unshuffle: the height {h} and width {w} must be divisible by downscale_factor {r}")
    n = len(lead)
    parts = input.reshape(*lead, c, h // r, r, w // r, r)
    order = (*range(n + 1), n + 2, n + 4, n + 1, n + 3)
    return parts.permute(*order).reshape(*lead, c * r * r, h // r, w // r)


def _factor(name: str, x: Tensor, r: int) -> int:
    if x.ndim < 3:
        raise ShapeError(f"{name} expects input to have at least 3 dimensions, but got input with {x.ndim}")
    if r < 1:
        raise ValueError(f"{name}: the factor must be positive, got {r}")
    return r


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(N, C, *): the channels of `groups` groups in turns (Zhang et al., 2018)."""
    if input.ndim < 3:
        raise ShapeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {tuple(input.shape)}")
    n, c, *rest = input.shape
    if groups < 1 or c % groups:
        raise ShapeError(f"channel_shuffle: {c} channels must be divisible by groups={groups}")
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)
