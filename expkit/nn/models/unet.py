"""unet: a class for every pixel, from images halved several times and brought back to their size."""

from __future__ import annotations

from typing import Literal

import expkit.nn.functional as F
from expkit.errors import ConfigError
from expkit.nn.activation import ReLU
from expkit.nn.containers import ModuleList, Sequential
from expkit.nn.conv import Conv2d, ConvTranspose2d
from expkit.nn.dropout import Dropout
from expkit.nn.models.parts import choice, image_shape, probability, size, sizes
from expkit.nn.module import Module
from expkit.nn.norm import BatchNorm2d
from expkit.registry import register
from expkit.tensor import Tensor, cat, channels_last

NORMS = ("none", "batch")


@register("model", "unet")
class UNet(Module):
    """U-Net (Ronneberger, Fischer and Brox, 2015): a score of each class for each pixel.

    Two convolutions at each size, a pooling to the next; on the way back a transposed convolution doubles the size, and
    what was there on the way down is put beside it. Convolutions keep the size (the paper's do not) and are normalised.
    Images of any size: they are padded with zeros, at the bottom and on the right, to what can be halved that often.
    (N, channels, height, width) -> (N, output_size, height, width)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        channels: list[int] | tuple[int, ...] = (16, 32, 64, 128),
        norm: Literal["none", "batch"] = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = sizes("model.channels", channels)
        if not widths:
            raise ConfigError("model.channels: give at least one size: the channels of each stage, the smallest last")
        previous, *_ = image_shape("unet", input_shape, "down.0 (Conv2d)")
        self.multiple = 2 ** (len(widths) - 1)
        bare = choice("model.norm", norm, NORMS) == "none"
        self.down, self.up, self.join = ModuleList(), ModuleList(), ModuleList()
        for width in widths:
            self.down.append(_stage(previous, width, bare))
            previous = width
        self.dropout = Dropout(probability("model.dropout", dropout))
        for width in reversed(widths[:-1]):
            self.up.append(ConvTranspose2d(previous, width, kernel_size=2, stride=2))
            self.join.append(_stage(2 * width, width, bare))
            previous = width
        self.head = Conv2d(previous, size("output_size", output_size), kernel_size=1)

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[-2:]
        below, right = -height % self.multiple, -width % self.multiple
        x = F.pad(input, (0, right, 0, below)) if below or right else input
        x = x.contiguous(memory_format=channels_last)  # which convolution and pooling are fastest on
        kept: list[Tensor] = []
        for number, stage in enumerate(self.down):
            x = stage(F.max_pool2d(x, 2) if number else x)
            kept.append(x)
        x = self.dropout(kept.pop())
        for up, join in zip(self.up, self.join, strict=True):
            x = join(cat([kept.pop(), up(x)], dim=1))
        return self.head(x)[..., :height, :width]


def _stage(channels: int, width: int, bare: bool) -> Sequential:
    """Convolution, norm, ReLU, twice."""
    layers: list[Module] = []
    for taken in (channels, width):
        layers.append(Conv2d(taken, width, kernel_size=3, padding=1, bias=bare))  # a norm takes the mean off again
        layers += [] if bare else [BatchNorm2d(width)]
        layers.append(ReLU())
    return Sequential(*layers)
