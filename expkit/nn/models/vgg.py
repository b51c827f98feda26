"""vgg: plain stacks of 3x3 convolutions, with torchvision's names and shapes of parameters."""

from __future__ import annotations

from typing import Literal

from expkit.errors import ConfigError
from expkit.nn import init
from expkit.nn.activation import Identity, ReLU
from expkit.nn.containers import Sequential
from expkit.nn.conv import Conv2d
from expkit.nn.dropout import Dropout
from expkit.nn.linear import Linear
from expkit.nn.models.parts import choice, image_shape, initialise_convolutions, probability, size, sizes
from expkit.nn.module import Module
from expkit.nn.norm import BatchNorm2d
from expkit.nn.pooling import AdaptiveAvgPool2d, MaxPool2d
from expkit.registry import register
from expkit.tensor import Tensor, channels_last

# Convolutions of each stage, by the number of layers with weights: configurations A, B, D and E of the paper.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
MOST_PIXELS = 7  # height and width of what the dense layers see


@register("model", "vgg")
class VGG(Module):
    """VGG networks (Simonyan and Zisserman, 2015, arXiv:1409.1556): five stages of 3x3 convolutions, each then pooled.

    A stage whose image has a side of one pixel is not pooled (an Identity keeps torchvision's numbering). What is left
    is averaged to at most 7x7 pixels for the dense layers.   (N, channels, height, width) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        depth: Literal[11, 13, 16, 19] = 16,
        norm: Literal["none", "batch"] = "batch",
        width: int = 64,
        hidden: list[int] | tuple[int, ...] = (4096, 4096),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels, *image = image_shape("vgg", input_shape, "features.0 (Conv2d)")
        norms = choice("model.norm", norm, ("none", "batch")) == "batch"
        widths = [min(size("model.width", width) * 2**stage, width * 8) for stage in range(5)]
        self.features = Sequential()
        for outs, count in zip(widths, _stages(depth), strict=True):
            for _ in range(count):
                self.features.append(Conv2d(channels, outs, 3, padding=1))
                if norms:
                    self.features.append(BatchNorm2d(outs))
                self.features.append(ReLU())
                channels = outs
            pooled = min(image) > 1
            self.features.append(MaxPool2d(2, 2) if pooled else Identity())
            image = [length // 2 if pooled else length for length in image]
        pixels = [min(length, MOST_PIXELS) for length in image]
        self.avgpool = AdaptiveAvgPool2d(tuple(pixels))
        self.classifier = _dense(channels * pixels[0] * pixels[1], hidden, output_size, dropout)
        initialise_convolutions(self)

    def forward(self, input: Tensor) -> Tensor:
        images = input.contiguous(memory_format=channels_last)  # which convolution and pooling are fastest on
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


def _stages(depth: int) -> tuple[int, ...]:
    if depth not in STAGES:
        raise ConfigError(f"model.depth: must be one of {', '.join(map(str, STAGES))}, got {depth!r}")
    return STAGES[depth]


def _dense(features: int, hidden: list[int] | tuple[int, ...], output_size: int, dropout: float) -> Sequential:
    """Linear, ReLU and Dropout for each hidden size (dropout stays when it is 0: torchvision's numbering)."""
    layers = Sequential()
    probability("model.dropout", dropout)
    for outs in sizes("model.hidden", hidden):
        layers.extend([Linear(features, outs), ReLU(), Dropout(dropout)])
        features = outs
    layers.append(Linear(features, size("output_size", output_size)))
    for layer in layers:
        if isinstance(layer, Linear):
            init.normal_(layer.weight, 0, 0.01)
            init.zeros_(layer.bias)
    return layers
