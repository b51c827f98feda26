"""vit: the vision transformer, with torchvision's names and shapes of parameters."""

from __future__ import annotations

import math

from expkit.nn import init
from expkit.nn.activation import GELU
from expkit.nn.attention import MultiheadAttention
from expkit.nn.containers import Sequential
from expkit.nn.conv import Conv2d
from expkit.nn.dropout import Dropout
from expkit.nn.linear import Linear
from expkit.nn.models.parts import heads, image_shape, probability, size
from expkit.nn.models.patches import patch_size as fitting_patch_size
from expkit.nn.module import Module
from expkit.nn.norm import LayerNorm
from expkit.nn.parameter import Parameter
from expkit.registry import register
from expkit.tensor import Tensor, cat, channels_last, empty, zeros

EPS = 1e-6


class Block(Module):
    """Self-attention, then two dense layers, each behind a norm and beside its input.   (N, T, width) -> the same"""

    def __init__(self, width: int, count: int, mlp_dim: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(width, eps=EPS)
        self.self_attention = MultiheadAttention(width, count, dropout=attention_dropout, batch_first=True)
        self.dropout = Dropout(dropout)
        self.ln_2 = LayerNorm(width, eps=EPS)
        layers = [Linear(width, mlp_dim), GELU(), Dropout(dropout), Linear(mlp_dim, width), Dropout(dropout)]
        self.mlp = Sequential(*layers)
        for layer in layers:
            if isinstance(layer, Linear):
                init.xavier_uniform_(layer.weight)
                init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.dropout(self.self_attention(y, y, y, need_weights=False)[0])
        return x + self.mlp(self.ln_2(x))


class Encoder(Module):
    """Blocks, before them learned positions and behind them a norm.   (N, T, width) -> the same"""

    def __init__(self, length: int, width: int, dropout: float, blocks: list[Block]) -> None:
        super().__init__()
        self.pos_embedding = Parameter(init.normal_(empty((1, length, width)), std=0.02))
        self.dropout = Dropout(dropout)
        self.layers = Sequential({f"encoder_layer_{number}": block for number, block in enumerate(blocks)})
        self.ln = LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


@register("model", "vit")
class ViT(Module):
    """Vision transformer (Dosovitskiy et al., 2021, arXiv:2010.11929): patches and a class token through an encoder.

    patch_size: None infers one that divides the images, see `models/patches.py`.
    (N, channels, height, width) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        patch_size: int | None = None,
        hidden_dim: int = 192,
        num_layers: int = 6,
        num_heads: int = 3,
        mlp_dim: int = 768,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape("vit", input_shape, "conv_proj (Conv2d)")
        side = fitting_patch_size((height, width), patch_size)
        heads("model.hidden_dim", hidden_dim, "model.num_heads", num_heads)
        probability("model.dropout", dropout)
        probability("model.attention_dropout", attention_dropout)
        block = hidden_dim, num_heads, size("model.mlp_dim", mlp_dim), dropout, attention_dropout
        blocks = [Block(*block) for _ in range(size("model.num_layers", num_layers))]
        self.class_token = Parameter(zeros(1, 1, hidden_dim))
        self.conv_proj = Conv2d(channels, hidden_dim, side, side)
        self.encoder = Encoder(height * width // side**2 + 1, hidden_dim, dropout, blocks)
        head = Linear(hidden_dim, size("output_size", output_size))
        self.heads = Sequential({"head": head})
        init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / (channels * side**2)))
        for start in (self.conv_proj.bias, head.weight, head.bias):
            init.zeros_(start)

    def forward(self, input: Tensor) -> Tensor:
        images = input.contiguous(memory_format=channels_last)  # the values of a patch's vector lie side by side
        patches = self.conv_proj(images).flatten(2).transpose(1, 2)
        first = self.class_token.expand(patches.shape[0], -1, -1)
        return self.heads(self.encoder(cat([first, patches], 1))[:, 0])
