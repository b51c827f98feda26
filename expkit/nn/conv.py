"""Convolution layers: Conv1d, Conv2d."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.nn import init
from expkit.nn.linear import uniform_bias_
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor
from expkit.tensor.ops.windows import per_axis

Size = int | tuple[int, ...] | list[int]


class _Conv(Module):
    """Everything but the number of spatial dimensions, which `spatial` says."""

    spatial: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]

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
    ) -> None:
        super().__init__()
        name, n = self._get_name(), self.spatial
        self.in_channels, self.out_channels = in_channels, out_channels
        self.groups, self.padding_mode = groups, padding_mode
        self.kernel_size, self.stride, self.dilation = per_axis(
            name, n, kernel_size=kernel_size, stride=stride, dilation=dilation
        )
        self.padding = padding if isinstance(padding, str) else per_axis(name, n, padding=padding)[0]
        self._check()
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(T.empty(shape, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(T.empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

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
        if self.padding_mode != "zeros":
            raise ValueError(f"padding_mode {self.padding_mode!r} is not supported: only 'zeros' is")

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform in ±1/sqrt(fan in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        uniform_bias_(self.bias, math.prod(self.weight.shape[1:]))

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.spatial:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.spatial:
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else f"{text}, bias=False"

    def brief(self) -> str:
        size = "x".join(map(str, self.kernel_size))
        return f"{self._get_name()}({self.in_channels} -> {self.out_channels}, {size})"


class Conv1d(_Conv):
    """Cross-correlation over lines.   (N, in_channels, L) or (in_channels, L) -> (N, out_channels, L')"""

    spatial = 1
    function = staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Cross-correlation over images.   (N, in_channels, H, W) or (in_channels, H, W) -> (N, out_channels, H', W')"""

    spatial = 2
    function = staticmethod(F.conv2d)
