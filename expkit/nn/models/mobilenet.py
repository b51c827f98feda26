"""mobilenet: MobileNetV2, with torchvision's names and shapes of parameters."""

from __future__ import annotations

from typing import NamedTuple

from expkit.errors import ConfigError
from expkit.nn import init
from expkit.nn.activation import ReLU6
from expkit.nn.containers import Sequential
from expkit.nn.conv import Conv2d
from expkit.nn.dropout import Dropout
from expkit.nn.linear import Linear
from expkit.nn.models.parts import image_shape, initialise_convolutions, probability, size
from expkit.nn.models.stem import Stem, halves_at_once
from expkit.nn.module import Module
from expkit.nn.norm import BatchNorm2d
from expkit.nn.pooling import AdaptiveAvgPool2d
from expkit.registry import register
from expkit.tensor import Tensor, channels_last


class Stage(NamedTuple):
    """Blocks of one width; the first of them has the stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int


# Table 2 of the paper; a small stem takes the first two halvings away.
STAGES = (
    Stage(1, 16, 1, 1), Stage(6, 24, 2, 2), Stage(6, 32, 3, 2), Stage(6, 64, 4, 2), Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2), Stage(6, 320, 1, 1),
)  # fmt: skip
FIRST, LAST = 32, 1280  # channels before and behind the stages


def _convolution(ins: int, outs: int, kernel: int, stride: int = 1, groups: int = 1) -> Sequential:
    conv = Conv2d(ins, outs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return Sequential(conv, BatchNorm2d(outs), ReLU6())


class InvertedResidual(Module):
    """1x1 to more channels, 3x3 in each of them, 1x1 to few.   (N, ins, H, W) -> (N, outs, H / stride, W / stride)"""

    def __init__(self, ins: int, outs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = ins * expansion
        self.conv = Sequential()
        if expansion != 1:
            self.conv.append(_convolution(ins, wide, 1))
        self.conv.append(_convolution(wide, wide, 3, stride, groups=wide))
        self.conv.extend([Conv2d(wide, outs, 1, bias=False), BatchNorm2d(outs)])
        self.residual = stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


@register("model", "mobilenet")
class MobileNet(Module):
    """MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381): inverted residual blocks with linear bottlenecks.

    width_mult: multiplies all channels, to multiples of 8. stem: see `models/stem.py`.
    (N, channels, height, width) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        width_mult: float = 1.0,
        stem: Stem = "auto",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        channels = image_shape("mobilenet", input_shape, "features.0.0 (Conv2d)")[0]
        if not width_mult > 0:
            raise ConfigError(f"model.width_mult: must be above 0, got {width_mult!r}")
        halving = 2 if halves_at_once(stem, input_shape) else 1
        ins, last = _divisible(FIRST * width_mult), _divisible(LAST * max(1.0, width_mult))
        self.features = Sequential(_convolution(channels, ins, 3, halving))
        for number, stage in enumerate(STAGES):
            outs, stride = _divisible(stage.channels * width_mult), halving if number == 1 else stage.stride
            for block in range(stage.blocks):
                self.features.append(InvertedResidual(ins, outs, 1 if block else stride, stage.expansion))
                ins = outs
        self.features.append(_convolution(ins, last, 1))
        self.avgpool = AdaptiveAvgPool2d(1)
        head = Linear(last, size("output_size", output_size))
        self.classifier = Sequential(Dropout(probability("model.dropout", dropout)), head)
        initialise_convolutions(self)
        init.normal_(head.weight, 0, 0.01)
        init.zeros_(head.bias)

    def forward(self, input: Tensor) -> Tensor:
        images = input.contiguous(memory_format=channels_last)  # which convolution and pooling are fastest on
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


def _divisible(channels: float, by: int = 8) -> int:
    """The multiple of `by` that is nearest, at least `by`, and not more than a tenth below."""
    nearest = max(by, int(channels + by / 2) // by * by)
    return nearest if nearest >= 0.9 * channels else nearest + by
