"""Dropout layers: zeros at random while training, nothing in evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import expkit.nn.functional as F
from expkit.nn.module import Module
from expkit.tensor import Tensor


class _Dropout(Module):
    """Everything but the function, which says what is zeroed together."""

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zeroes each element with probability p while training, and scales the rest by 1 / (1 - p)."""

    function = staticmethod(F.dropout)


class Dropout1d(_Dropout):
    """Zeroes whole channels of (N, C, L) or (C, L) with probability p while training."""

    function = staticmethod(F.dropout1d)


class Dropout2d(_Dropout):
    """Zeroes whole channels of (N, C, H, W) with probability p while training."""

    function = staticmethod(F.dropout2d)


class Dropout3d(_Dropout):
    """Zeroes whole channels of (N, C, D, H, W) or (C, D, H, W) with probability p while training."""

    function = staticmethod(F.dropout3d)


class AlphaDropout(_Dropout):
    """Dropout for selu: mean and variance stay as they are (Klambauer et al., 2017)."""

    function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels of (N, C, ...)."""

    function = staticmethod(F.feature_alpha_dropout)
