"""Activation modules, one row each: the module's arguments and defaults are those of its function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.errors import ConfigError, did_you_mean
from expkit.nn.function_module import module_of
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor

CELU = module_of("CELU", F.celu, __name__)
ELU = module_of("ELU", F.elu, __name__)
GELU = module_of("GELU", F.gelu, __name__)
GLU = module_of("GLU", F.glu, __name__)
Hardshrink = module_of("Hardshrink", F.hardshrink, __name__)
Hardsigmoid = module_of("Hardsigmoid", F.hardsigmoid, __name__)
Hardswish = module_of("Hardswish", F.hardswish, __name__)
Hardtanh = module_of("Hardtanh", F.hardtanh, __name__)
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
Softshrink = module_of("Softshrink", F.softshrink, __name__)
Softsign = module_of("Softsign", F.softsign, __name__)
Tanh = module_of("Tanh", F.tanh, __name__)
Tanhshrink = module_of("Tanhshrink", F.tanhshrink, __name__)
Threshold = module_of("Threshold", F.threshold, __name__)


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
    "celu": CELU, "elu": ELU, "gelu": GELU, "hardsigmoid": Hardsigmoid, "hardswish": Hardswish, "hardtanh": Hardtanh,
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
