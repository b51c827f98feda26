"""convnext: a convolutional network in the manner of transformers, with torchvision's names and shapes."""

from __future__ import annotations

from expkit.errors import ConfigError, ShapeError
from expkit.nn import init
from expkit.nn.activation import GELU
from expkit.nn.containers import Sequential
from expkit.nn.conv import Conv2d
from expkit.nn.linear import Flatten, Linear
from expkit.nn.models.blocks import LayerNorm2d, Permute, StochasticDepth
from expkit.nn.models.parts import image_shape, size, sizes
from expkit.nn.module import Module
from expkit.nn.norm import LayerNorm
from expkit.nn.parameter import Parameter
from expkit.nn.pooling import AdaptiveAvgPool2d
from expkit.registry import register
from expkit.tensor import Tensor, channels_last, full

EPS = 1e-6
STEMS = ((64, 4), (32, 2), (1, 1))  # from so many pixels of the shorter side on, patches of so many


class Block(Module):
    """7x7 in each channel, layer norm, a dense layer to four times the channels and one back, beside x."""

    def __init__(self, channels: int, layer_scale: float, drop: float) -> None:
        super().__init__()
        self.block = Sequential(
            Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute([0, 2, 3, 1]),
            LayerNorm(channels, eps=EPS),
            Linear(channels, 4 * channels),
            GELU(),
            Linear(4 * channels, channels),
            Permute([0, 3, 1, 2]),
        )
        self.layer_scale = Parameter(full((channels, 1, 1), layer_scale))
        self.stochastic_depth = StochasticDepth(drop, "model.stochastic_depth")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.layer_scale * self.block(x))


@register("model", "convnext")
class ConvNeXt(Module):
    """ConvNeXt (Liu et al., 2022, arXiv:2201.03545): stages of blocks of `depths` and `widths`, halvings between them.

    stochastic_depth: of the last block; it rises from 0 with the depth.
    (N, channels, height, width) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        depths: list[int] | tuple[int, ...] = (3, 3, 9, 3),
        widths: list[int] | tuple[int, ...] = (96, 192, 384, 768),
        patch_size: int | None = None,
        layer_scale: float = 1e-6,
        stochastic_depth: float = 0.1,
    ) -> None:
        super().__init__()
        channels, *image = image_shape("convnext", input_shape, "features.0.0 (Conv2d)")
        depths, widths = sizes("model.depths", depths), sizes("model.widths", widths)
        if len(depths) != len(widths) or not depths:
            raise ConfigError(f"model.depths {list(depths)} and model.widths {list(widths)} need one entry per stage")
        side = _patch(image, patch_size, len(depths))
        stem = Sequential(Conv2d(channels, widths[0], side, side), LayerNorm2d(widths[0], eps=EPS))
        self.features = Sequential(stem)
        blocks = sum(depths)
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            first = sum(depths[:stage])
            drops = [stochastic_depth * (first + number) / max(blocks - 1, 1) for number in range(depth)]
            self.features.append(Sequential(*(Block(width, layer_scale, drop) for drop in drops)))
            if stage + 1 < len(depths):
                self.features.append(Sequential(LayerNorm2d(width, eps=EPS), Conv2d(width, widths[stage + 1], 2, 2)))
        self.avgpool = AdaptiveAvgPool2d(1)
        head = Linear(widths[-1], size("output_size", output_size))
        self.classifier = Sequential(LayerNorm2d(widths[-1], eps=EPS), Flatten(1), head)
        for layer in self.modules():
            if isinstance(layer, Conv2d | Linear):
                init.trunc_normal_(layer.weight, std=0.02)
                init.zeros_(layer.bias)

    def forward(self, input: Tensor) -> Tensor:
        images = input.contiguous(memory_format=channels_last)  # their channels are side by side, as layer norm wants
        return self.classifier(self.avgpool(self.features(images)))


def _patch(image: list[int], given: int | None, stages: int) -> int:
    """The side of the first layer's patches. ShapeError for images of which the last stage would see nothing."""
    side = next(side for least, side in STEMS if min(image) >= least) if given is None else given
    if min(image) // size("model.patch_size", side) < 2 ** (stages - 1):
        raise ShapeError(
            f"model convnext: images of {image[0]}x{image[1]} are too small for patches of {side}x{side} "
            f"(model.patch_size) and {stages - 1} halvings, one before each stage but the first. "
            "Give fewer stages in model.depths and model.widths, or a smaller model.patch_size."
        )
    return side
