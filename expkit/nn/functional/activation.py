"""Activations: elementwise functions and the softmax family. Formulas, defaults and subgradients are PyTorch's.

Each formula is written once, plainly; @fused makes kernels of it and of its gradient. `inplace=True` overwrites the
input, as in PyTorch. Where a branch may overflow it is fed a harmless value, so that the zero that backward sends it
never meets an infinity.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.tensor import Tensor
from expkit.tensor.composite import fused
from expkit.tensor.ops.arguments import require_floating

SELU_ALPHA = 1.6732632423543772848170429916717  # Klambauer et al., 2017: the fixed point of mean 0, variance 1
SELU_SCALE = 1.0507009873554804934193349852946


def _overwrite(input: Tensor, fn: Callable[..., Tensor], *args: Any) -> Tensor:
    """The in-place form: backward keeps what it needs of a copy."""
    return input.copy_(fn(input.clone(), *args))


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return T.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return T.tanh(input)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); its gradient at 0 is 0."""
    return _overwrite(input, T.relu) if inplace else T.relu(input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x cut to [min_val, max_val]; the gradient is 0 at both ends."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} is greater than max_val {max_val}")
    if not input.is_floating_point():
        min_val, max_val = _whole_bounds(input.dtype, min_val, max_val)
    return _overwrite(input, _hardtanh, min_val, max_val) if inplace else _hardtanh(input, min_val, max_val)


def _whole_bounds(dtype: Any, low: float, high: float) -> tuple[int, int]:
    """The bounds for whole numbers, towards 0."""
    if dtype.is_complex or dtype is T.bool_:
        raise TypeError(f"hardtanh: the input must be a real number type, got {dtype}")
    if dtype is T.uint8 and low < 0:
        raise ValueError(f"hardtanh: numbers without a sign cannot be cut at the negative {low}")
    return int(low), int(high)


@fused
def _hardtanh(input: Tensor, min_val: float, max_val: float) -> Tensor:
    return T.where(input <= min_val, min_val, T.where(input >= max_val, max_val, input))


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x cut to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where positive, negative_slope * x elsewhere."""
    require_floating(input, "leaky_relu")
    return _overwrite(input, _leaky_relu, negative_slope) if inplace else _leaky_relu(input, negative_slope)


@fused
def _leaky_relu(input: Tensor, negative_slope: float) -> Tensor:
    return T.where(input > 0, input, input * negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """leaky_relu with learned slopes: one, or a vector of one for each channel (dim 1)."""
    if weight.ndim > 1:
        raise ShapeError(f"prelu: expected weight to be a scalar or a vector, got {tuple(weight.shape)}")
    if input.dtype is not weight.dtype:
        raise TypeError(f"prelu: input and weight need one dtype, got {input.dtype} and {weight.dtype}")
    if weight.numel() != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if channels != weight.shape[0]:
            raise ShapeError(f"prelu: {weight.shape[0]} slopes for {channels} channels (input {tuple(input.shape)})")
        weight = weight.reshape(-1, *(1,) * (input.ndim - 2))
    elif weight.ndim > input.ndim:
        weight = weight.reshape(())
    return _prelu(input, weight)


@fused
def _prelu(input: Tensor, weight: Tensor) -> Tensor:
    return T.where(input > 0, input, weight * input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where positive, alpha (exp(x) - 1) elsewhere."""
    require_floating(input, "elu")
    return _overwrite(input, _elu, alpha) if inplace else _elu(input, alpha)


@fused
def _elu(input: Tensor, alpha: float, scale: float = 1.0, slope: float = 1.0) -> Tensor:
    """scale * (x where positive, alpha (exp(slope x) - 1) elsewhere)."""
    positive = input > 0
    low = T.where(positive, 0.0, input)
    out = T.where(positive, input, alpha * T.expm1(low if slope == 1 else low * slope))
    return out if scale == 1 else out * scale


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Self-normalising: scale * elu(x, alpha) with the two constants of Klambauer et al., 2017."""
    require_floating(input, "selu")
    return _overwrite(input, selu) if inplace else _elu(input, SELU_ALPHA, SELU_SCALE)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where positive, alpha (exp(x / alpha) - 1) elsewhere: smooth for every alpha."""
    require_floating(input, "celu")
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")
    return _overwrite(input, celu, alpha) if inplace else _elu(input, alpha, 1.0, 1 / alpha)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x; `approximate="tanh"` is the tanh form."""
    return T.gelu(input, approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x), also called swish."""
    of = _complex_silu if input.is_complex() else T.silu
    return _overwrite(input, of) if inplace else of(input)


def _complex_silu(input: Tensor) -> Tensor:
    return input * T.sigmoid(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x))."""
    require_floating(input, "mish")
    return _overwrite(input, _mish) if inplace else _mish(input)


@fused
def _mish(input: Tensor) -> Tensor:
    return input * T.tanh(_softplus.plain(input, 1.0, 20.0))


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""
    require_floating(input, "softplus")
    return _softplus(input, beta, threshold)


@fused
def _softplus(input: Tensor, beta: float, threshold: float) -> Tensor:
    scaled = input * beta
    linear = scaled > threshold
    return T.where(linear, input, T.log1p(T.exp(T.where(linear, 0.0, scaled))) / beta)


@fused
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    require_floating(input, "logsigmoid")
    negative = input < 0
    low = T.where(negative, input, -input)  # -|x|, with the slope that makes the gradient at 0 exactly 1/2
    return T.where(negative, input, 0.0) - T.log1p(T.exp(low))


@fused
def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (1 + T.abs(input))


@fused
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd; 0 where |x| <= lambd."""
    require_floating(input, "softshrink")
    if isinstance(lambd, int | float) and lambd < 0:
        raise ValueError(f"softshrink: lambd must be at least 0, got {lambd}")
    return T.where(input > lambd, input - lambd, T.where(input < -lambd, input + lambd, input * 0))


@fused
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x, but 0 where |x| <= lambd."""
    require_floating(input, "hardshrink")
    return T.where(T.abs(input) <= lambd, 0.0, input)


@fused
def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - T.tanh(input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """(x + 3) / 6 cut to [0, 1]."""
    require_floating(input, "hardsigmoid")
    return _overwrite(input, _hardsigmoid) if inplace else _hardsigmoid(input)


@fused
def _hardsigmoid(input: Tensor) -> Tensor:
    return _hardtanh.plain(input + 3, 0.0, 6.0) / 6


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x hardsigmoid(x)."""
    require_floating(input, "hardswish")
    return _overwrite(input, _hardswish) if inplace else _hardswish(input)


@fused
def _hardswish(input: Tensor) -> Tensor:
    return T.where(input <= -3, 0.0, T.where(input >= 3, input, input * (input + 3) / 6))


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where it is above the threshold, `value` elsewhere."""
    return _overwrite(input, _threshold, threshold, value) if inplace else _threshold(input, threshold, value)


@fused
def _threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    if input.is_complex() or input.dtype is T.bool_:
        raise TypeError(f"threshold: the input must be a real number type, got {input.dtype}")
    return T.where(input <= threshold, value, input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second half."""
    require_floating(input, "glu")
    if input.shape[dim] % 2:
        raise ShapeError(f"glu: size {input.shape[dim]} of dim {dim} is odd, it must split in two halves")
    return _gated(*T.chunk(input, 2, dim))


@fused
def _gated(value: Tensor, gate: Tensor) -> Tensor:
    return value * T.sigmoid(gate)


# ---- the softmax family ----------------------------------------------------------------------------------------------


def _implicit_dim(name: str, ndim: int) -> int:
    warnings.warn(f"{name}: choosing dim implicitly; pass dim=...", stacklevel=3)
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    return T.softmax(input, _implicit_dim("softmax", input.ndim) if dim is None else dim, dtype=dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along `dim`, without overflow."""
    return T.log_softmax(input, _implicit_dim("log_softmax", input.ndim) if dim is None else dim, dtype=dtype)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """softmax(-x) along `dim`."""
    return T.softmax(-input, _implicit_dim("softmin", input.ndim) if dim is None else dim, dtype=dtype)
