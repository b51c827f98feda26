"""resnet20, 32, 56 for small images; resnet18, 34, 50 with torchvision's names and shapes of parameters."""

from __future__ import annotations

from typing import ClassVar, Literal

import expkit.nn.functional as F
from expkit.nn import init
from expkit.nn.activation import Identity
from expkit.nn.containers import Sequential
from expkit.nn.conv import Conv2d
from expkit.nn.linear import Linear
from expkit.nn.models.parts import choice, image_shape, initialise_convolutions, size
from expkit.nn.models.stem import Stem, halves_at_once
from expkit.nn.module import Module
from expkit.nn.norm import BatchNorm2d
from expkit.nn.pooling import AdaptiveAvgPool2d, MaxPool2d
from expkit.registry import register
from expkit.tensor import Tensor, channels_last


class BasicBlock(Module):
    """Two 3x3 convolutions and a way around them.   (N, ins, H, W) -> (N, width, H / stride, W / stride)"""

    expansion = 1

    def __init__(self, ins: int, width: int, stride: int, shortcut: Module) -> None:
        super().__init__()
        self.conv1 = Conv2d(ins, width, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.downsample = shortcut

    @property
    def last_norm(self) -> BatchNorm2d:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class Bottleneck(Module):
    """1x1, 3x3 (with the stride), 1x1 convolutions and a way around them.   (N, ins, H, W) -> (N, 4 width, ...)"""

    expansion = 4

    def __init__(self, ins: int, width: int, stride: int, shortcut: Module) -> None:
        super().__init__()
        self.conv1 = Conv2d(ins, width, 1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.conv3 = Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = BatchNorm2d(width * self.expansion)
        self.downsample = shortcut

    @property
    def last_norm(self) -> BatchNorm2d:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class PaddedShortcut(Module):
    """Option A: every stride-th pixel, and channels of zeros behind those that are there; no parameters."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))

    def extra_repr(self) -> str:
        return f"more={self.more}, stride={self.stride}"


class ResNet(Module):
    """Residual network: a stem, stages of blocks that halve the image and double the width, mean over the pixels.

    `block` and `depths` (blocks of each stage) are the subclass's.   (N, channels, height, width) -> (N, output_size)
    """

    block: ClassVar[type[BasicBlock] | type[Bottleneck]] = BasicBlock
    depths: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        width: int,
        large_stem: bool,
        shortcut: str,
        zero_init_residual: bool,
    ) -> None:
        super().__init__()
        channels = image_shape(type(self).__name__.lower(), input_shape, "conv1 (Conv2d)")[0]
        width = size("model.width", width)
        self.conv1 = Conv2d(channels, width, 7, 2, 3, bias=False) if large_stem else _conv3x3(channels, width)
        self.bn1 = BatchNorm2d(width)
        self.maxpool = MaxPool2d(3, 2, 1) if large_stem else Identity()
        ins = width
        for stage, depth in enumerate(self.depths):
            outs = width * 2**stage
            layer = Sequential()
            for number in range(depth):
                layer.append(self._block(ins, outs, 2 if stage and not number else 1, shortcut))
                ins = outs * self.block.expansion
            setattr(self, f"layer{stage + 1}", layer)
        self.avgpool = AdaptiveAvgPool2d(1)
        self.fc = Linear(ins, size("output_size", output_size))
        initialise_convolutions(self)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, BasicBlock | Bottleneck):
                    init.zeros_(module.last_norm.weight)

    def _block(self, ins: int, width: int, stride: int, shortcut: str) -> Module:
        outs = width * self.block.expansion
        around: Module = Identity()
        if (stride, ins) != (1, outs):
            projection = Sequential(Conv2d(ins, outs, 1, stride, bias=False), BatchNorm2d(outs))
            around = projection if shortcut == "B" else PaddedShortcut(outs - ins, stride)
        return self.block(ins, width, stride, around)

    def forward(self, input: Tensor) -> Tensor:
        images = input.contiguous(memory_format=channels_last)  # which convolution and pooling are fastest on
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        for stage in range(len(self.depths)):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def _conv3x3(ins: int, outs: int) -> Conv2d:
    return Conv2d(ins, outs, 3, 1, 1, bias=False)


class SmallResNet(ResNet):
    """Residual network for small images (He et al., 2016, section 4.2): three stages of 16, 32 and 64 channels.

    shortcut: where a stage begins, "A" pads with channels of zeros, as the paper; "B" is a 1x1 convolution.
    (N, channels, height, width) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        width: int = 16,
        shortcut: Literal["A", "B"] = "A",
        zero_init_residual: bool = False,
    ) -> None:
        choice("model.shortcut", shortcut, ("A", "B"))
        super().__init__(input_shape, output_size, width, False, shortcut, zero_init_residual)


class LargeResNet(ResNet):
    """Residual network (He et al., 2016) with torchvision's names of parameters: four stages, 64 channels and more.

    stem: see `models/stem.py`.   (N, channels, height, width) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        width: int = 64,
        stem: Stem = "auto",
        zero_init_residual: bool = False,
    ) -> None:
        large = halves_at_once(stem, input_shape)
        super().__init__(input_shape, output_size, width, large, "B", zero_init_residual)


@register("model", "resnet20")
class ResNet20(SmallResNet):
    """Residual network of 20 layers for small images: 0.27 million parameters (He et al., 2016, arXiv:1512.03385)."""

    depths = (3, 3, 3)


@register("model", "resnet32")
class ResNet32(SmallResNet):
    """Residual network of 32 layers for small images: 0.46 million parameters (He et al., 2016, arXiv:1512.03385)."""

    depths = (5, 5, 5)


@register("model", "resnet56")
class ResNet56(SmallResNet):
    """Residual network of 56 layers for small images: 0.85 million parameters (He et al., 2016, arXiv:1512.03385)."""

    depths = (9, 9, 9)


@register("model", "resnet18")
class ResNet18(LargeResNet):
    """Residual network of 18 layers, torchvision's: 11.7 million parameters (He et al., 2016, arXiv:1512.03385)."""

    depths = (2, 2, 2, 2)


@register("model", "resnet34")
class ResNet34(LargeResNet):
    """Residual network of 34 layers, torchvision's: 21.8 million parameters (He et al., 2016, arXiv:1512.03385)."""

    depths = (3, 4, 6, 3)


@register("model", "resnet50")
class ResNet50(LargeResNet):
    """Residual network of 50 layers, torchvision's: 25.6 million parameters (He et al., 2016, arXiv:1512.03385)."""

    block = Bottleneck
    depths = (3, 4, 6, 3)
