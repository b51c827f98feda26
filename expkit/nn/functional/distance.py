"""Vectors' lengths, angles and distances along a dimension."""

from __future__ import annotations

import expkit.tensor as T
from expkit.tensor import Tensor
from expkit.tensor.ops.kinds import broadcast_shapes


def normalize(input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖_p, eps) along `dim`."""
    return input / T.norm(input, p, dim, True).clamp_min(eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 · x2 / (max(‖x1‖, eps) max(‖x2‖, eps)) along `dim`; the shapes are broadcast.

    The gradient passes as if there were no eps, as PyTorch's does.
    """
    shape = broadcast_shapes(tuple(x1.shape), tuple(x2.shape))
    a, b = (_unit(T.broadcast_to(x, shape), dim, eps) for x in (x1, x2))
    return (a * b).sum(dim)


def _unit(x: Tensor, dim: int, eps: float) -> Tensor:
    length = T.norm(x, 2.0, dim, True)
    fixed = length.detach()
    return x / (length + (fixed.clamp_min(eps) - fixed))


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """‖x1 - x2 + eps‖_p along the last dimension; the shapes are broadcast."""
    return T.norm(x1 - x2 + eps, p, -1, keepdim)
