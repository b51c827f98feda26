"""linear: one linear layer."""

from __future__ import annotations

import math

from expkit.nn.linear import Linear
from expkit.nn.models.parts import size, sizes
from expkit.nn.module import Module
from expkit.registry import register
from expkit.tensor import Tensor


@register("model", "linear")
class LinearModel(Module):
    """Linear or logistic regression: samples of any shape are flattened.   (N, *input_shape) -> (N, output_size)"""

    def __init__(self, input_shape: tuple[int, ...], output_size: int, bias: bool = True) -> None:
        super().__init__()
        features = math.prod(sizes("input_shape", input_shape))
        self.linear = Linear(features, size("output_size", output_size), bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return self.linear(input.flatten(1))
