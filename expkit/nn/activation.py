"""Activation modules, most of them a row: the module's arguments and defaults are those of its function."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.errors import ConfigError, ShapeError, did_you_mean
from expkit.nn.function_module import FunctionModule, module_of
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor


class _Terse(FunctionModule):
    """Prints its arguments without their names."""

    def extra_repr(self) -> str:
        return ", ".join(str(self.__dict__[name]) for name in self.arguments)


CELU = module_of("CELU", F.celu, __name__)
ELU = module_of("ELU", F.elu, __name__)
GELU = module_of("GELU", F.gelu, __name__)
GLU = module_of("GLU", F.glu, __name__)
Hardshrink = module_of("Hardshrink", F.hardshrink, __name__, _Terse)
Hardsigmoid = module_of("Hardsigmoid", F.hardsigmoid, __name__)
Hardswish = module_of("Hardswish", F.hardswish, __name__)
LeakyReLU = module_of("LeakyReLU", F.leaky_relu, __name__)
LogSigmoid = module_of("LogSigmoid", F.logsigmoid, __name__)
LogSoftmax = module_of("LogSoftmax", F.log_softmax, __name__)
Mish = module_of("Mish", F.mish, __name__)
ReLU = module_of("ReLU", F.relu, __name__)
ReLU6 = module_of("ReLU6", F.relu6, __name__)
SELU = module_of("SELU", F.selu, __name__)
SiLU = module_of("SiLU", F.silu, __name__)
Sigmoid = module_of("Sigmoid", F.sigmoid, __name__)
Softmax = module_of("Softmax", F.softmax, __name__)
Softmin = module_of("Softmin", F.softmin, __name__)
Softplus = module_of("Softplus", F.softplus, __name__)
Softshrink = module_of("Softshrink", F.softshrink, __name__, _Terse)
Softsign = module_of("Softsign", F.softsign, __name__)
Tanh = module_of("Tanh", F.tanh, __name__)
Tanhshrink = module_of("Tanhshrink", F.tanhshrink, __name__)
Threshold = module_of("Threshold", F.threshold, __name__)


class Hardtanh(Module):
    """x cut to [min_val, max_val]; min_value and max_value are older names."""

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        for new, old in {"min_val": min_value, "max_val": max_value}.items():
            if old is not None:
                warnings.warn(f"Hardtanh: {new}ue is deprecated, please use {new} instead", FutureWarning, stacklevel=2)
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace
        if not self.max_val > self.min_val:
            raise ValueError(f"Hardtanh: max_val {self.max_val} must be larger than min_val {self.min_val}")

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}{', inplace=True' if self.inplace else ''}"


class RReLU(Module):
    """leaky_relu with random slopes in [lower, upper] while it trains, else with their mean (Xu et al., 2015)."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}{', inplace=True' if self.inplace else ''}"


class Softmax2d(Module):
    """softmax over the channels of (N, C, H, W) or (C, H, W)"""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: expected input to be 3D or 4D, got {tuple(input.shape)}")
        return F.softmax(input, -3)


class PReLU(Module):
    """leaky_relu with learned slopes, one for all or one for each channel (dim 1)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(T.full((num_parameters,), init, device=device, dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Identity(Module):
    """Passes its input on; takes and ignores any arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


# What a model's `activation` argument may name.
BY_NAME: dict[str, Callable[[], Module]] = {
    "celu": CELU, "elu": ELU, "gelu": GELU, "gelu_tanh": partial(GELU, approximate="tanh"),
    "hardsigmoid": Hardsigmoid, "hardswish": Hardswish, "hardtanh": Hardtanh,
    "identity": Identity, "leaky_relu": LeakyReLU, "logsigmoid": LogSigmoid, "mish": Mish, "none": Identity,
    "prelu": PReLU, "relu": ReLU, "relu6": ReLU6, "selu": SELU, "sigmoid": Sigmoid, "silu": SiLU,
    "softplus": Softplus, "softsign": Softsign, "swish": SiLU, "tanh": Tanh, "tanhshrink": Tanhshrink,
}  # fmt: skip


def by_name(name: str, key: str = "activation") -> Callable[[], Module]:
    """The activation of that name in configs; ConfigError names the config key, close matches, legal names."""
    if name not in BY_NAME:
        hint = did_you_mean(name, BY_NAME)
        raise ConfigError(f"{key}: unknown activation {name!r}.{hint}\n  Activations: {', '.join(BY_NAME)}.")
    return BY_NAME[name]
