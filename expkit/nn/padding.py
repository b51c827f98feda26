"""Padding layers by mode and number of dimensions, and the layers that move between channels and places."""

from __future__ import annotations

import expkit.nn.functional as F
from expkit.errors import ShapeError
from expkit.nn.function_module import module_of
from expkit.nn.module import Module
from expkit.tensor import Tensor
from expkit.tensor.ops.windows import check_rank

PixelShuffle = module_of("PixelShuffle", F.pixel_shuffle, __name__)
PixelUnshuffle = module_of("PixelUnshuffle", F.pixel_unshuffle, __name__)
ChannelShuffle = module_of("ChannelShuffle", F.channel_shuffle, __name__)


class _Pad(Module):
    """`padding`: a number for all sides, or (before, after) of each dimension, the last one first."""

    spatial: int
    mode: str

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__()
        pads = (padding,) * (2 * self.spatial) if isinstance(padding, int) else tuple(padding)
        if len(pads) != 2 * self.spatial:
            raise ValueError(f"{self._get_name()}: expected {2 * self.spatial} numbers for padding, got {padding}")
        self.padding = pads

    def forward(self, input: Tensor) -> Tensor:
        check_rank(self._get_name(), input, self.spatial)
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim < self.spatial:
            raise ShapeError(f"{self._get_name()}: an input of shape {tuple(input.shape)} has too few dimensions")
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


def _classes(name: str, base: type[_Pad], doc: str, mode: str = "constant") -> list[type[_Pad]]:
    """The class for one, two and three dimensions."""
    return [
        type(f"{name}{n}d", (base,), {"spatial": n, "mode": mode, "__doc__": doc, "__module__": __name__})
        for n in (1, 2, 3)
    ]


ConstantPad1d, ConstantPad2d, ConstantPad3d = _classes("ConstantPad", _ConstantPad, "Pads with a value.")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _classes("ZeroPad", _ZeroPad, "Pads with zeros.")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _classes(
    "ReflectionPad", _Pad, "Pads with the reflection about the edge elements.", "reflect"
)
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _classes(
    "ReplicationPad", _Pad, "Pads with the edge elements.", "replicate"
)
CircularPad1d, CircularPad2d, CircularPad3d = _classes(
    "CircularPad", _Pad, "Pads with the elements of the other end.", "circular"
)
