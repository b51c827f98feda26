"""Pooling layers, one row each: the module's arguments and defaults are those of its function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import expkit.nn.functional as F
from expkit.nn.function_module import FunctionModule, module_of
from expkit.nn.module import Module
from expkit.tensor import Tensor
from expkit.tensor.ops.windows import per_axis


class _Pool(FunctionModule):
    """A stride that is not given is the kernel's size."""

    stride: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.stride is None:
            self.stride = self.kernel_size

    def brief(self) -> str:
        return f"{self._get_name()}({self.kernel_size})"


class _AvgPool(_Pool):
    def extra_repr(self) -> str:
        return ", ".join(f"{name}={self.__dict__[name]!r}" for name in ("kernel_size", "stride", "padding"))


class _AvgPool1d(_AvgPool):
    """Keeps its one size of each kind in a tuple, as the convolutions do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sizes = {name: self.__dict__[name] for name in ("kernel_size", "stride", "padding")}
        self.__dict__.update(zip(sizes, per_axis(self._get_name(), 1, **sizes), strict=True))


class _MaxPool(_Pool):
    def extra_repr(self) -> str:
        shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return ", ".join(f"{name}={self.__dict__[name]!r}" for name in shown)


AvgPool1d = module_of("AvgPool1d", F.avg_pool1d, __name__, _AvgPool1d)
AvgPool2d = module_of("AvgPool2d", F.avg_pool2d, __name__, _AvgPool)
AvgPool3d = module_of("AvgPool3d", F.avg_pool3d, __name__, _AvgPool)
MaxPool1d = module_of("MaxPool1d", F.max_pool1d, __name__, _MaxPool, last="ceil_mode")
MaxPool2d = module_of("MaxPool2d", F.max_pool2d, __name__, _MaxPool, last="ceil_mode")
MaxPool3d = module_of("MaxPool3d", F.max_pool3d, __name__, _MaxPool, last="ceil_mode")
AdaptiveAvgPool1d = module_of("AdaptiveAvgPool1d", F.adaptive_avg_pool1d, __name__)
AdaptiveAvgPool2d = module_of("AdaptiveAvgPool2d", F.adaptive_avg_pool2d, __name__)
AdaptiveAvgPool3d = module_of("AdaptiveAvgPool3d", F.adaptive_avg_pool3d, __name__)
AdaptiveMaxPool1d = module_of("AdaptiveMaxPool1d", F.adaptive_max_pool1d, __name__)
AdaptiveMaxPool2d = module_of("AdaptiveMaxPool2d", F.adaptive_max_pool2d, __name__)
AdaptiveMaxPool3d = module_of("AdaptiveMaxPool3d", F.adaptive_max_pool3d, __name__)
LPPool1d = module_of("LPPool1d", F.lp_pool1d, __name__)
LPPool2d = module_of("LPPool2d", F.lp_pool2d, __name__)
LPPool3d = module_of("LPPool3d", F.lp_pool3d, __name__)


class _FractionalMaxPool(FunctionModule):
    """One of output_size and output_ratio is given; `_random_samples` fixes where the windows lie."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = [name for name in ("output_size", "output_ratio") if self.__dict__[name] is not None]
        if len(given) != 1:
            raise ValueError(f"{self._get_name()}: give one of output_size and output_ratio, and not both")
        ratio = self.__dict__["output_ratio"]
        ratios = ratio if isinstance(ratio, Sequence) else (ratio,)
        if ratio is not None and not all(0 < r < 1 for r in ratios):
            raise ValueError(f"{self._get_name()}: output_ratio must be between 0 and 1, got {ratio!r}")
        samples = self.__dict__.pop("_random_samples")
        self.register_buffer("_random_samples", samples)

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]
        own = {name: getattr(self, name) for name in self.arguments}
        return type(self).function(input, **own)

    def extra_repr(self) -> str:
        return ""  # as PyTorch prints it


FractionalMaxPool2d = module_of("FractionalMaxPool2d", F.fractional_max_pool2d, __name__, _FractionalMaxPool)
FractionalMaxPool3d = module_of("FractionalMaxPool3d", F.fractional_max_pool3d, __name__, _FractionalMaxPool)


class _MaxUnpool(Module):
    """Puts maxima back at their places: the partial inverse of MaxPool with return_indices=True."""

    spatial: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = per_axis(
            self._get_name(),
            self.spatial,
            kernel_size=kernel_size,
            stride=kernel_size if stride is None else stride,
            padding=padding,
        )

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return type(self).function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The maxima at their places, zeros elsewhere.   (N, C, L) or (C, L), indices alike -> (N, C, L')"""

    spatial = 1
    function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """The maxima at their places, zeros elsewhere.   (N, C, H, W) or (C, H, W), indices alike -> (N, C, H', W')"""

    spatial = 2
    function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """The maxima at their places, zeros elsewhere.   (N, C, D, H, W) or (C, D, H, W) -> (N, C, D', H', W')"""

    spatial = 3
    function = staticmethod(F.max_unpool3d)
