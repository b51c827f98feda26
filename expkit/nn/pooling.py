"""Pooling layers, one row each: the module's arguments and defaults are those of its function."""

from __future__ import annotations

from typing import Any

import expkit.nn.functional as F
from expkit.nn.function_module import FunctionModule, module_of


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


AvgPool1d = module_of("AvgPool1d", F.avg_pool1d, __name__, _AvgPool)
AvgPool2d = module_of("AvgPool2d", F.avg_pool2d, __name__, _AvgPool)
AvgPool3d = module_of("AvgPool3d", F.avg_pool3d, __name__, _AvgPool)
MaxPool1d = module_of("MaxPool1d", F.max_pool1d, __name__, _Pool, last="ceil_mode")
MaxPool2d = module_of("MaxPool2d", F.max_pool2d, __name__, _Pool, last="ceil_mode")
MaxPool3d = module_of("MaxPool3d", F.max_pool3d, __name__, _Pool, last="ceil_mode")
AdaptiveAvgPool1d = module_of("AdaptiveAvgPool1d", F.adaptive_avg_pool1d, __name__)
AdaptiveAvgPool2d = module_of("AdaptiveAvgPool2d", F.adaptive_avg_pool2d, __name__)
AdaptiveAvgPool3d = module_of("AdaptiveAvgPool3d", F.adaptive_avg_pool3d, __name__)
AdaptiveMaxPool1d = module_of("AdaptiveMaxPool1d", F.adaptive_max_pool1d, __name__)
AdaptiveMaxPool2d = module_of("AdaptiveMaxPool2d", F.adaptive_max_pool2d, __name__)
AdaptiveMaxPool3d = module_of("AdaptiveMaxPool3d", F.adaptive_max_pool3d, __name__)
