"""Layers that several architectures are made of and that nn has no name for."""

from __future__ import annotations

from collections.abc import Sequence

import expkit.nn.functional as F
from expkit.nn.models.parts import probability
from expkit.nn.module import Module
from expkit.nn.norm import LayerNorm
from expkit.tensor import Tensor, ones


class LayerNorm2d(LayerNorm):
    """Layer norm over the channels of each pixel.   (N, C, H, W) -> the same"""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Permute(Module):
    """The dimensions in another order."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, input: Tensor) -> Tensor:
        return input.permute(self.dims)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.dims))


class StochasticDepth(Module):
    """Zeroes whole samples with probability p while training, scales the rest by 1 / (1 - p) (Huang et al., 2016).

    A residual block ends with it: for the samples that it zeroes, the block is left out.
    """

    def __init__(self, p: float, key: str = "p") -> None:
        super().__init__()
        self.p = probability(key, p)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p:
            return input
        rows = ones((input.shape[0], *(1,) * (input.ndim - 1)), dtype=input.dtype, device=input.device)
        return input * F.dropout(rows, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
