"""transformer: an encoder over a sequence of tokens or vectors, then a linear layer."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

from expkit.errors import ConfigError, ShapeError
from expkit.nn import init
from expkit.nn.containers import ModuleList
from expkit.nn.dropout import Dropout
from expkit.nn.linear import Linear
from expkit.nn.models.parts import choice, heads, probability, size
from expkit.nn.models.sequences import SequenceInput, pool
from expkit.nn.module import Module
from expkit.nn.norm import LayerNorm
from expkit.nn.parameter import Parameter
from expkit.nn.transformer import TransformerEncoderLayer
from expkit.registry import register
from expkit.tensor import Tensor, arange, cat, empty, float64, get_default_dtype, stack, zeros

POSITIONS = ("sinusoidal", "learned", "none")
POOLINGS = ("cls", "mean", "max", "last")


@register("model", "transformer")
class TransformerClassifier(Module):
    """Transformer encoder (Vaswani et al., 2017, arXiv:1706.03762) whose result is pooled for a linear layer.

    Samples: see `models/sequences.py`; vectors are mapped to d_model by a linear layer. positions: added to them.
    pooling: "cls" is what the encoder makes of a learned vector before the sequence.
    (N, *input_shape) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        d_model: int = 128,
        nhead: int = 4,
        num_layers: int = 2,
        dim_feedforward: int = 256,
        dropout: float = 0.1,
        activation: Literal["relu", "gelu"] = "gelu",
        norm_first: bool = True,
        positions: Literal["sinusoidal", "learned", "none"] = "sinusoidal",
        pooling: Literal["cls", "mean", "max", "last"] = "cls",
        vocab_size: int | None = None,
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        self.pooling = choice("model.pooling", pooling, POOLINGS)
        heads("model.d_model", d_model, "model.nhead", nhead)
        self.input = SequenceInput("transformer", input_shape, vocab_size, d_model, padding_idx)
        self.project = Linear(self.input.features, d_model) if vocab_size is None else None
        self.cls = Parameter(init.normal_(empty((1, 1, d_model)), std=0.02)) if pooling == "cls" else None
        self._add_positions(choice("model.positions", positions, POSITIONS), d_model)
        self.dropout = Dropout(probability("model.dropout", dropout))
        choice("model.activation", activation, ("relu", "gelu"))
        layer = partial(TransformerEncoderLayer, d_model, nhead, size("model.dim_feedforward", dim_feedforward))
        layer = partial(layer, dropout, activation, batch_first=True, norm_first=norm_first)
        self.layers = ModuleList([layer() for _ in range(size("model.num_layers", num_layers))])
        self.norm = LayerNorm(d_model) if norm_first else None
        self.fc = Linear(d_model, size("output_size", output_size))

    def _add_positions(self, kind: str, width: int) -> None:
        """`positions`, (length, width): a parameter, a buffer of waves, or None."""
        length = self.input.length + (self.cls is not None)
        if kind == "sinusoidal":
            self.register_buffer("positions", sinusoids(length, width), persistent=False)
        else:
            learned = Parameter(init.normal_(empty((length, width)), std=0.02)) if kind == "learned" else None
            self.register_parameter("positions", learned)

    def forward(self, input: Tensor) -> Tensor:
        x, padding = self.input(input), self.input.padding(input)
        x = x if self.project is None else self.project(x)
        if self.cls is not None:
            x = cat([self.cls.expand(x.shape[0], -1, -1), x], 1)
            if padding is not None:
                padding = cat([zeros((x.shape[0], 1), dtype=padding.dtype, device=padding.device), padding], 1)
        if self.positions is not None:
            x = x + self._positions(x.shape[1])
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        x = x if self.norm is None else self.norm(x)
        return self.fc(x[:, 0] if self.cls is not None else pool(x, self.pooling, padding))

    def _positions(self, steps: int) -> Tensor:
        if steps > len(self.positions):
            most = len(self.positions) - (self.cls is not None)
            raise ShapeError(f"model transformer: it was made for sequences of up to {most} steps, got longer ones")
        return self.positions[:steps]


def sinusoids(length: int, width: int) -> Tensor:
    """sin and cos, side by side, of the place times 10000^(-2i / width).   (length, width)"""
    if width % 2:
        raise ConfigError(f"model.positions=sinusoidal are pairs of sin and cos: model.d_model={width} must be even")
    places, pairs = arange(length, dtype=float64), arange(0, width, 2, dtype=float64)
    angles = places.unsqueeze(1) * (pairs * (-math.log(10000.0) / width)).exp()
    return stack([angles.sin(), angles.cos()], 2).flatten(1).to(get_default_dtype())
