"""Convolutional networks over (batch, channels, height, width), for expkit and PyTorch alike."""

from collections.abc import Sequence
from typing import Any

from benchmarks.training.library import F, nn


def conv_norm(fan_in: int, fan_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (at stride 1) and its batch norm."""
    conv = nn.Conv2d(fan_in, fan_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(fan_out)]


class Residual(nn.Module):
    """relu(body(x) + shortcut(x)); the shortcut is a 1x1 convolution where the shape changes (He et al. 2016)."""

    def __init__(self, body: nn.Module, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and fan_in == fan_out
        self.body = body
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv_norm(fan_in, fan_out, 1, stride))

    def forward(self, x: Any) -> Any:
        return F.relu(self.body(x) + self.shortcut(x))


def basic(fan_in: int, width: int, stride: int) -> Residual:
    first, second = conv_norm(fan_in, width, 3, stride), conv_norm(width, width, 3)
    return Residual(nn.Sequential(*first, nn.ReLU(), *second), fan_in, width, stride)


def bottleneck(fan_in: int, width: int, stride: int) -> Residual:
    """1x1 down, 3x3 with the stride, 1x1 up to four times the width."""
    down, middle, up = conv_norm(fan_in, width, 1), conv_norm(width, width, 3, stride), conv_norm(width, 4 * width, 1)
    return Residual(nn.Sequential(*down, nn.ReLU(), *middle, nn.ReLU(), *up), fan_in, 4 * width, stride)


def classifier(features: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def resnet(blocks: int, widths: Sequence[int], classes: int = 10) -> nn.Module:
    """ResNet for small images: a stage for each width, the first block of all but the first one with stride 2."""
    layers, fan_in = [*conv_norm(3, widths[0], 3), nn.ReLU()], widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(basic(fan_in, width, 2 if stage and not block else 1))
            fan_in = width
    return nn.Sequential(*layers, *classifier(fan_in, classes))


def bottlenecks(blocks: int, widths: Sequence[int], classes: int = 10) -> nn.Module:
    """ResNet for larger images: a 7x7 stem with stride 2, a max pool, stages of bottlenecks."""
    layers, fan_in = [*conv_norm(3, widths[0], 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(bottleneck(fan_in, width, 2 if stage and not block else 1))
            fan_in = 4 * width
    return nn.Sequential(*layers, *classifier(fan_in, classes))


def vgg(widths: Sequence[int], side: int, classes: int = 10, hidden: int = 256) -> nn.Module:
    """Pairs of 3x3 convolutions with biases, each pair followed by a max pool (Simonyan & Zisserman 2015)."""
    layers, fan_in = [], 3
    for width in widths:
        for _ in range(2):
            layers += [nn.Conv2d(fan_in, width, 3, padding=1), nn.ReLU()]
            fan_in = width
        layers.append(nn.MaxPool2d(2))
    features = fan_in * (side >> len(widths)) ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def mobilenet(stages: Sequence[tuple[int, int]], classes: int = 10) -> nn.Module:
    """Depthwise separable convolutions: (width, stride) a stage (Howard et al. 2017)."""
    fan_in = stages[0][0]
    layers = [*conv_norm(3, fan_in, 3), nn.ReLU6()]
    for width, stride in stages:
        depthwise, pointwise = conv_norm(fan_in, fan_in, 3, stride, groups=fan_in), conv_norm(fan_in, width, 1)
        layers += [*depthwise, nn.ReLU6(), *pointwise, nn.ReLU6()]
        fan_in = width
    return nn.Sequential(*layers, *classifier(fan_in, classes))


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise, layer norm over the channels, two linear layers with a GELU (Liu et al. 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)


def convnext(width: int, blocks: int, classes: int = 10) -> nn.Module:
    """A 4x4 stem with stride 4 and a stage of blocks."""
    layers = [nn.Conv2d(3, width, 4, 4), *(ConvNeXtBlock(width) for _ in range(blocks))]
    return nn.Sequential(*layers, *classifier(width, classes))


def autoencoder(widths: Sequence[int], channels: int = 1) -> nn.Module:
    """Convolutions with stride 2 down, transposed ones back up."""
    layers, fan_in = [], channels
    for width in widths:
        layers += [nn.Conv2d(fan_in, width, 3, 2, 1), nn.ReLU()]
        fan_in = width
    for width in (*widths[-2::-1], channels):
        layers += [nn.ConvTranspose2d(fan_in, width, 4, 2, 1), nn.ReLU()]
        fan_in = width
    return nn.Sequential(*layers[:-1])
