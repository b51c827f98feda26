"""Initialisation in place: `nn.init.kaiming_uniform_(w)`. Distributions and arguments are PyTorch's.

Every function fills its tensor without recording, returns it, and draws from `generator` (default: the global one).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.errors import ShapeError
from expkit.tensor import Generator, Tensor

Mode = Literal["fan_in", "fan_out"]
REACH = 5.5  # deviations: a float32 that is uniform in [-1, 1] tells no values beyond apart (2^-25 of a normal's)

_GAINS: dict[str, float] = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0, "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4,
}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity; `param` is leaky_relu's slope (default 0.01)."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}: expected leaky_relu, {', '.join(_GAINS)}")
    return _GAINS[nonlinearity]


def _fill(tensor: Tensor, values: Tensor) -> Tensor:
    with no_grad():
        tensor.copy_(values)
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform between a and b."""
    draws = T.rand(tuple(tensor.shape), dtype=tensor.dtype, device=tensor.device, generator=generator)
    return _fill(tensor, draws * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with the given mean and standard deviation."""
    draws = T.randn(tuple(tensor.shape), dtype=tensor.dtype, device=tensor.device, generator=generator)
    return _fill(tensor, draws * std + mean)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal, given that it lies in [a, b]: the inverse distribution function of a uniform draw.

    Not drawn again until it fits, so that it takes no look at values, which a model without memory has none of.
    """
    low, high = (a - mean) / std, (b - mean) / std
    if not low < high:
        raise ValueError(f"trunc_normal_: the interval [{a}, {b}] is empty or std {std} is not positive")
    if _mass(high) - _mass(low) < 0.01:
        raise ValueError(f"trunc_normal_: [{a}, {b}] holds under 1 % of a normal of mean {mean} and std {std}")
    uniform_(tensor, 2 * _mass(low) - 1, 2 * _mass(high) - 1, generator)
    with no_grad():
        draws = tensor.erfinv_().mul_(math.sqrt(2)).clamp_(max(low, -REACH), min(high, REACH))
        return draws.mul_(std).add_(mean)


def _mass(x: float) -> float:
    """The normal distribution function."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element `val`."""
    with no_grad():
        tensor.fill_(val)
    return tensor


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix (2 dimensions only): a linear layer that passes its input on."""
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: only tensors with 2 dimensions are supported, got {tuple(tensor.shape)}")
    return _fill(tensor, T.eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution that passes its input channels on, as far as there are output channels; each group on its own."""
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError(f"dirac_: only tensors with 3, 4 or 5 dimensions are supported, got {tuple(tensor.shape)}")
    if groups < 1 or tensor.shape[0] % groups:
        raise ShapeError(f"dirac_: dimension 0 ({tensor.shape[0]}) must be divisible by groups ({groups})")
    channels = tensor.shape[0] // groups
    values = np.zeros(tuple(tensor.shape), np.float32)
    middle = tuple(n // 2 for n in tensor.shape[2:])
    for group in range(groups):
        for d in range(min(channels, tensor.shape[1])):
            values[(group * channels + d, d, *middle)] = 1
    return _fill(tensor, T.tensor(values, dtype=tensor.dtype, device=tensor.device))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Normal, but a share `sparsity` of each column, rounded up, is 0 (Martens, 2010)."""
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: only tensors with 2 dimensions are supported, got {tuple(tensor.shape)}")
    zeros = math.ceil(sparsity * tensor.shape[0])
    normal_(tensor, 0.0, std, generator)
    order = T.rand(tuple(tensor.shape), device=tensor.device, generator=generator).argsort(0)
    rank = order.argsort(0)
    return _fill(tensor, T.where(rank < zeros, 0.0, tensor.detach()))


def _fans(tensor: Tensor) -> tuple[int, int]:
    """(fan in, fan out): how many inputs one output sums, and how many outputs one input reaches."""
    if tensor.ndim < 2:
        raise ShapeError(f"fan in and fan out need at least 2 dimensions, got {tuple(tensor.shape)}")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform in ±gain sqrt(6 / (fan in + fan out)) (Glorot and Bengio, 2010)."""
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal of std gain sqrt(2 / (fan in + fan out)) (Glorot and Bengio, 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of 'fan_in', 'fan_out'")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform of std gain / sqrt(fan) (He et al., 2015); `a` is leaky_relu's slope."""
    if 0 in tensor.shape:
        return tensor
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal of std gain / sqrt(fan) (He et al., 2015); `a` is leaky_relu's slope."""
    if 0 in tensor.shape:
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Rows (or columns, where there are fewer) orthonormal, times gain (Saxe et al., 2014); later dims flattened."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"orthogonal_: only tensors with 2 or more dimensions are supported, got {tuple(tensor.shape)}"
        )
    if 0 in tensor.shape:
        return tensor
    rows, cols = tensor.shape[0], math.prod(tensor.shape[1:])
    draws = T.randn((max(rows, cols), min(rows, cols)), dtype=T.float64, generator=generator).numpy()
    q, r = np.linalg.qr(draws)
    q = q * np.sign(np.diagonal(r))  # makes the distribution uniform (Mezzadri, 2007)
    q = q if rows >= cols else q.T
    values = T.tensor(np.ascontiguousarray(q) * gain, dtype=tensor.dtype, device=tensor.device)
    return _fill(tensor, values.reshape(*tensor.shape))
