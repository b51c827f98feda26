"""cnn: convolution stages and a dense head."""

from __future__ import annotations

import math
from typing import Any, Literal

from expkit.errors import ConfigError, ShapeError
from expkit.nn.activation import by_name
from expkit.nn.containers import Sequential
from expkit.nn.conv import Conv2d
from expkit.nn.models.parts import choice, dense, image_shape, size, sizes
from expkit.nn.module import Module
from expkit.nn.norm import BatchNorm2d
from expkit.nn.pooling import MaxPool2d
from expkit.registry import register
from expkit.tensor import Tensor, channels_last

Sizes = tuple[int, ...]
NORMS = ("none", "batch")


@register("model", "cnn")
class CNN(Module):
    """Convolutional network: one stage for each entry of `channels`, then dense layers of the sizes `hidden`.

    A stage is Conv2d, norm, activation, MaxPool2d.   (N, channels, height, width) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        channels: list[int] | tuple[int, ...] = (32, 64),
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | Literal["same", "valid"] = "same",
        pool: int = 2,
        norm: Literal["none", "batch"] = "batch",
        activation: str = "relu",
        hidden: list[int] | tuple[int, ...] = (128,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_shape = image_shape("cnn", input_shape, "features.0 (Conv2d)")
        self.channels = sizes("model.channels", channels)
        self.pool = size("model.pool", pool)
        if padding == "same" and stride != 1:
            raise ConfigError(f"model.padding: 'same' needs model.stride=1, got {stride}; give the padding as a number")
        window: dict[str, Any] = {
            "kernel_size": size("model.kernel_size", kernel_size),
            "stride": size("model.stride", stride),
            "padding": padding if isinstance(padding, str) else size("model.padding", padding, least=0),
            "bias": choice("model.norm", norm, NORMS) == "none",  # a norm takes the mean off again
        }
        make_activation = by_name(activation, "model.activation")
        self.features = Sequential()
        previous = self.input_shape[0]
        image: Sizes = self.input_shape[1:]
        for stage, width in enumerate(self.channels):
            image = self._add(Conv2d(previous, width, **window), image, stage, "model.kernel_size")
            if norm == "batch":
                self.features.append(BatchNorm2d(width))
            self.features.append(make_activation())
            if pool > 1:
                image = self._add(MaxPool2d(pool), image, stage, "model.pool")
            previous = width
        flat = previous * math.prod(image)
        self.head = Sequential(*dense(flat, hidden, output_size, activation=activation, dropout=dropout))

    def _add(self, layer: Module, image: Sizes, stage: int, key: str) -> Sizes:
        """Append a layer; the image that it makes of `image`. ShapeError where nothing would be left."""
        smaller = tuple(_after(layer, length) for length in image)
        if min(smaller) < 1:
            height, width = self.input_shape[1:]
            raise ShapeError(
                f"model cnn: stage {stage + 1} of {len(self.channels)} does not fit images of {height}x{width}: "
                f"features.{len(self.features)} ({layer.brief()}) would get {image[0]}x{image[1]}. "
                f"Give fewer stages in model.channels {list(self.channels)}, or a smaller {key}."
            )
        self.features.append(layer)
        return smaller

    def forward(self, input: Tensor) -> Tensor:
        images = input.contiguous(memory_format=channels_last)  # which convolution and pooling are fastest on
        return self.head(self.features(images).flatten(1))


def _after(layer: Module, length: int) -> int:
    """The height or width that a convolution or pooling with equal sides makes of `length`."""
    if layer.padding == "same":
        return length
    kernel, stride, padding = (
        value[0] if isinstance(value, tuple) else value for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    padding = 0 if padding == "valid" else padding
    return (length + 2 * padding - kernel) // stride + 1
