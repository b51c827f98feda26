"""mlp: fully connected layers."""

from __future__ import annotations

import math
from typing import Literal

from expkit.nn.containers import Sequential
from expkit.nn.models.parts import dense, sizes
from expkit.nn.module import Module
from expkit.registry import register
from expkit.tensor import Tensor


@register("model", "mlp")
class MLP(Module):
    """Multi-layer perceptron: samples of any shape are flattened and go through hidden layers to the outputs.

    Each hidden layer is Linear, norm, activation, dropout.   (N, *input_shape) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        hidden: list[int] | tuple[int, ...] = (256, 256),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: Literal["none", "batch", "layer"] = "layer",
        bias: bool = True,
    ) -> None:
        super().__init__()
        features = math.prod(sizes("input_shape", input_shape))
        self.layers = Sequential(
            *dense(features, hidden, output_size, activation=activation, dropout=dropout, norm=norm, bias=bias)
        )

    def forward(self, input: Tensor) -> Tensor:
        return self.layers(input.flatten(1))
