"""Convolution layers and their transposes over one to three spatial dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.nn import init
from expkit.nn.linear import uniform_bias_
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor
from expkit.tensor.ops.windows import check_rank, per_axis

Size = int | tuple[int, ...] | list[int]
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class ConvNd(Module):
    """Everything but the number of spatial dimensions, which `spatial` says, and the direction."""

    spatial: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]
    transposed: ClassVar[bool] = False
    padding_modes: ClassVar[tuple[str, ...]] = PADDING_MODES

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        output_padding: Size = 0,
    ) -> None:
        super().__init__()
        name, n = self._get_name(), self.spatial
        self.in_channels, self.out_channels = in_channels, out_channels
        self.groups, self.padding_mode = groups, padding_mode
        self.kernel_size, self.stride, self.dilation, self.output_padding = per_axis(
            name, n, kernel_size=kernel_size, stride=stride, dilation=dilation, output_padding=output_padding
        )
        self.padding = padding if isinstance(padding, str) else per_axis(name, n, padding=padding)[0]
        self._check()
        self.weight = Parameter(T.empty(self._weight_shape(), device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(T.empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _weight_shape(self) -> tuple[int, ...]:
        outer, inner = self.out_channels, self.in_channels
        if self.transposed:
            outer, inner = inner, outer
        return (outer, inner // self.groups, *self.kernel_size)

    def _check(self) -> None:
        if self.groups <= 0:
            raise ValueError("groups must be a positive integer")
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(f"{name} must be divisible by groups: {getattr(self, name)} by {self.groups}")
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same', 'valid' or numbers, got {self.padding!r}")
        if self.padding == "same" and any(step != 1 for step in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        if self.padding_mode not in self.padding_modes:
            known = ", ".join(map(repr, self.padding_modes))
            raise ValueError(f"padding_mode must be one of {known}, got {self.padding_mode!r}")

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform in ±1/sqrt(fan in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        uniform_bias_(self.bias, math.prod(self.weight.shape[1:]))

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._around(), self.padding_mode), (0,) * self.spatial
        return type(self).function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _around(self) -> list[int]:
        """The padding as F.pad takes it: (before, after) of the last axis, then of the one before it, ..."""
        sides: list[int] = []
        for axis in reversed(range(self.spatial)):
            if isinstance(self.padding, str):
                total = self.dilation[axis] * (self.kernel_size[axis] - 1) if self.padding == "same" else 0
                sides += [total // 2, total - total // 2]
            else:
                sides += [self.padding[axis]] * 2
        return sides

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        shown = {
            "padding": (0,) * self.spatial,
            "dilation": (1,) * self.spatial,
            "output_padding": (0,) * self.spatial,
            "groups": 1,
        }
        for name, usual in shown.items():
            if getattr(self, name) != usual:
                text += f", {name}={getattr(self, name)}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"

    def brief(self) -> str:
        size = "x".join(map(str, self.kernel_size))
        return f"{self._get_name()}({self.in_channels} -> {self.out_channels}, {size})"


class Conv1d(ConvNd):
    """Cross-correlation over lines.   (N, in_channels, L) or (in_channels, L) -> (N, out_channels, L')"""

    spatial = 1
    function = staticmethod(F.conv1d)


class Conv2d(ConvNd):
    """Cross-correlation over images.   (N, in_channels, H, W) or (in_channels, H, W) -> (N, out_channels, H', W')"""

    spatial = 2
    function = staticmethod(F.conv2d)


class Conv3d(ConvNd):
    """Cross-correlation over volumes.   (N, in_channels, D, H, W) or unbatched -> (N, out_channels, D', H', W')"""

    spatial = 3
    function = staticmethod(F.conv3d)


class ConvTransposeNd(ConvNd):
    """The gradients of convolutions by their input, as layers; a call may ask for an `output_size`."""

    transposed = True
    padding_modes = ("zeros",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if isinstance(padding, str):
            raise TypeError(f"{type(self).__name__}: padding must be numbers, got {padding!r}")
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            device, dtype, output_padding,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        more = self.output_padding if output_size is None else self._more(input, list(output_size))
        return type(self).function(
            input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )

    def _more(self, input: Tensor, wanted: list[int]) -> tuple[int, ...]:
        """The output_padding that gives the size `wanted`. ValueError where none does."""
        n = self.spatial
        check_rank(self._get_name(), input, n)
        if len(wanted) == input.ndim:
            wanted = wanted[-n:]
        if len(wanted) != n:
            raise ValueError(
                f"{self._get_name()}: output_size must have {n} or {input.ndim} elements (got {len(wanted)})"
            )
        axes: Any = zip(input.shape[-n:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        least = [(m - 1) * s - 2 * p + d * (k - 1) + 1 for m, s, p, d, k in axes]
        most = [m + s - 1 for m, s in zip(least, self.stride, strict=True)]
        if any(not a <= m <= b for m, a, b in zip(wanted, least, most, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} "
                f"(for an input of {list(input.shape[-n:])})"
            )
        return tuple(m - a for m, a in zip(wanted, least, strict=True))


class ConvTranspose1d(ConvTransposeNd):
    """Transposed convolution over lines.   (N, in_channels, L) or (in_channels, L) -> (N, out_channels, L')"""

    spatial = 1
    function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(ConvTransposeNd):
    """Transposed convolution over images.   (N, in_channels, H, W) or unbatched -> (N, out_channels, H', W')"""

    spatial = 2
    function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(ConvTransposeNd):
    """Transposed convolution over volumes.   (N, in_channels, D, H, W) or unbatched -> (N, out_channels, D', H', W')"""

    spatial = 3
    function = staticmethod(F.conv_transpose3d)
