"""mlp_mixer: dense layers over the patches of an image and over their channels, in turns, by timm's names."""

from __future__ import annotations

from expkit.nn import init
from expkit.nn.activation import GELU
from expkit.nn.containers import Sequential
from expkit.nn.conv import Conv2d
from expkit.nn.dropout import Dropout
from expkit.nn.linear import Linear
from expkit.nn.models.parts import image_shape, probability, size
from expkit.nn.models.patches import patch_size as fitting_patch_size
from expkit.nn.module import Module
from expkit.nn.norm import LayerNorm
from expkit.registry import register
from expkit.tensor import Tensor, channels_last

EPS = 1e-6


def _mlp(features: int, hidden: int, dropout: float) -> Sequential:
    """Dense, GELU, dense, over the last dimension."""
    fc1, fc2 = Linear(features, hidden), Linear(hidden, features)
    for layer in (fc1, fc2):
        init.xavier_uniform_(layer.weight)
        init.normal_(layer.bias, std=1e-6)
    return Sequential({"fc1": fc1, "act": GELU(), "drop1": Dropout(dropout), "fc2": fc2, "drop2": Dropout(dropout)})


class Block(Module):
    """Dense layers over the patches, then over the channels, each behind a norm and beside its input."""

    def __init__(self, length: int, width: int, tokens: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width, eps=EPS)
        self.mlp_tokens = _mlp(length, tokens, dropout)
        self.norm2 = LayerNorm(width, eps=EPS)
        self.mlp_channels = _mlp(width, channels, dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


@register("model", "mlp_mixer")
class MLPMixer(Module):
    """MLP-Mixer (Tolstikhin et al., 2021, arXiv:2105.01601): no convolution but the patches', no attention.

    patch_size: None infers one that divides the images, see `models/patches.py`.
    (N, channels, height, width) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        patch_size: int | None = None,
        hidden_dim: int = 128,
        num_blocks: int = 6,
        tokens_mlp_dim: int = 64,
        channels_mlp_dim: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape("mlp_mixer", input_shape, "stem.proj (Conv2d)")
        side = fitting_patch_size((height, width), patch_size)
        block = (
            height * width // side**2,
            size("model.hidden_dim", hidden_dim),
            size("model.tokens_mlp_dim", tokens_mlp_dim),
            size("model.channels_mlp_dim", channels_mlp_dim),
            probability("model.dropout", dropout),
        )
        self.stem = Sequential({"proj": Conv2d(channels, hidden_dim, side, side)})
        self.blocks = Sequential(*(Block(*block) for _ in range(size("model.num_blocks", num_blocks))))
        self.norm = LayerNorm(hidden_dim, eps=EPS)
        self.head = Linear(hidden_dim, size("output_size", output_size))
        init.zeros_(self.head.weight)
        init.zeros_(self.head.bias)

    def forward(self, input: Tensor) -> Tensor:
        images = input.contiguous(memory_format=channels_last)  # the values of a patch's vector lie side by side
        patches = self.stem(images).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(patches)).mean(1))
