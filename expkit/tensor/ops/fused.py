"""Composites that are primitives of their own, since one pass is faster than ten: gelu, silu, masks, squared error."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.mode import MODE, open_trace
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.tensor.generated.one_pass import one_pass
from expkit.tensor.generated.pointwise import elementwise as by_kernel
from expkit.tensor.ops.arguments import require_floating
from expkit.tensor.ops.convert import floating, promote
from expkit.tensor.ops.elementwise import mul, square, sub
from expkit.tensor.ops.kinds import (
    elementwise,
    joint_aval,
    keep,
    materialize,
    reduced,
    shifted,
    sum_p,
    unary,
    zeros_raw,
)
from expkit.tensor.ops.pointwise import exp_p, sigmoid_p, tanh_p, where_p
from expkit.tensor.ops.special import erf, erfc, in_blocks, widened

# ---- activations -----------------------------------------------------------------------------------------------------


def _smooth(
    name: str, value: Callable[[Any], Any], slope: Callable[[Any], Any], curve: Callable[[Any], Any]
) -> Primitive:
    """An activation by its value and slope on arrays, and its second derivative in primitives."""
    impls = {n: by_kernel(n, in_blocks(widened(f))) for n, f in ((name, value), (f"{name}_slope", slope))}
    slope_p = unary(f"{name}_slope", impls[f"{name}_slope"], lambda g, _out, x: g * curve(x))
    return unary(name, impls[name], lambda g, _out, x: g * slope_p(x))


_DENSITY = 1 / math.sqrt(2 * math.pi)  # of the normal distribution at 0
_ROOT, _CUBIC = math.sqrt(2 / math.pi), 0.044715  # of the tanh form


def _normal_cdf(x: Any) -> Any:
    kind = x.dtype.type
    if x.dtype == np.float64:  # erfc keeps the digits of the left tail
        return erfc(x * -math.sqrt(0.5)) * 0.5
    out = erf(x * kind(math.sqrt(0.5)))
    out += kind(1)
    out *= kind(0.5)
    return out


def _gelu_slope(x: Any) -> Any:
    kind = x.dtype.type
    return _normal_cdf(x) + x * np.exp(x * x * kind(-0.5)) * kind(_DENSITY)


def _tanh_parts(x: Any, tanh: Callable[[Any], Any]) -> tuple[Any, Any]:
    """(tanh u, du/dx) of u = sqrt(2 / pi) (x + 0.044715 x³); on arrays and in primitives."""
    squared = x * x
    return tanh(x * (squared * (_ROOT * _CUBIC) + _ROOT)), squared * (3 * _ROOT * _CUBIC) + _ROOT


def _gelu_tanh_slope(x: Any) -> Any:
    t, du = _tanh_parts(x, np.tanh)
    return (t + 1) * 0.5 + x * (1 - t * t) * du * 0.5


def _gelu_tanh_curve(x: Any) -> Any:
    t, du = _tanh_parts(x, tanh_p)
    return (1 - t * t) * (du - x * t * du * du + x * x * (3 * _ROOT * _CUBIC))


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))  # exp overflows to infinity, the quotient to 0


def _silu_slope(x: Any) -> Any:
    s = _sigmoid(x)
    return s * (x * (1 - s) + 1)


def _silu_curve(x: Any) -> Any:
    s = sigmoid_p(x)
    return s * (1 - s) * (x * (1 - s * 2) + 2)


gelu_p = _smooth(
    "gelu", lambda x: x * _normal_cdf(x), _gelu_slope, lambda x: (2 - x * x) * exp_p(x * x * -0.5) * _DENSITY
)
gelu_tanh_p = _smooth(
    "gelu_tanh", lambda x: x * (_tanh_parts(x, np.tanh)[0] + 1) * 0.5, _gelu_tanh_slope, _gelu_tanh_curve
)
silu_p = _smooth("silu", lambda x: x * _sigmoid(x), _silu_slope, _silu_curve)


def gelu(input: Any, approximate: str = "none") -> Any:
    """x times the normal distribution function (Hendrycks and Gimpel, 2016); approximate="tanh" is the tanh form."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return apply1(gelu_p if approximate == "none" else gelu_tanh_p, require_floating(input, "gelu"))


def silu(input: Any) -> Any:
    """x sigmoid(x), also called swish."""
    return apply1(silu_p, require_floating(input, "silu"))


# ---- masks -----------------------------------------------------------------------------------------------------------


@one_pass
def _where_kept(x: Any, keep: Any, scale: Any) -> Any:
    return where_p(keep, x * scale, zeros_raw(x))


def _masked(x: Any, keep: Any, *, scale: float) -> Any:
    """The scale becomes an operand of arrays: there is one kernel for all."""
    return _where_kept(x, keep, np.asarray(scale, x.dtype) if x.__class__ is np.ndarray else scale)


masked_p = elementwise(  # the input's values are not kept for the gradient
    "masked",
    _masked,
    (lambda g, _out, _x, keep, *, scale: _masked(g, keep, scale=scale), None),
    shape=lambda x, keep, **_: joint_aval((x, keep), x.dtype),
)


def masked(input: Any, keep: Any, scale: float) -> Any:
    """input * scale where `keep` is true, 0 elsewhere."""
    trace = open_trace() if MODE.special else None
    if trace is not None and trace.live:  # in parts, which a compiled program joins with their neighbours
        return apply(where_p, keep, input * scale, 0.0)
    return apply(masked_p, input, keep, scale=scale)


# ---- squared error ---------------------------------------------------------------------------------------------------


@one_pass
def _sum_of_squares(x: Any, y: Any, *, axes: tuple[int, ...]) -> Any:
    d = x - y
    return sum_p(d * d, axes=axes)


def _squared(x: Any, y: Any, *, axes: tuple[int, ...], scale: float) -> Any:
    return _sum_of_squares(x, y, axes=axes) * x.dtype.type(scale)


@one_pass
def _stretched(factor: Any, x: Any, y: Any) -> Any:
    return (x - y) * factor


def _squared_slope(g: Any, x: Any, y: Any, axes: tuple[int, ...], scale: float) -> Any:
    return _stretched(keep(g, x, axes) * (2 * scale), x, y)


def _squared_push(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    x, y = primals
    t, s = tangents
    moved = t if s is None else -s if t is None else t - s
    return sum_p(moved * (x - y), axes=kw["axes"]) * (2 * kw["scale"])


def _squared_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    x, y = (materialize(size, v, m) for v, m in zip(values, mapped, strict=True))
    return squared_error_p(x, y, axes=shifted(kw["axes"]), scale=kw["scale"])


squared_error_p = Primitive(  # scale * sum((x - y)²) over the axes; x and y of one shape
    "squared_error",
    _squared,
    lambda x, y, *, axes, scale: reduced(x, axes),
    (
        lambda g, _out, x, y, *, axes, scale: _squared_slope(g, x, y, axes, scale),
        lambda g, _out, x, y, *, axes, scale: _squared_slope(g, x, y, axes, -scale),
    ),
    jvp=_squared_push,
    batch=_squared_batch,
)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """(input - target)², its mean, its sum or ("none") itself. ShapeError unless both have one shape."""
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(f"mse_loss: input {tuple(input.shape)} and target {tuple(target.shape)} must have one shape")
    x, y = promote(floating(input), floating(target))
    if reduction == "none":
        return square(sub(x, y))
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction: expected one of 'mean', 'sum', 'none'")
    count = math.prod(x.shape)
    if not count:
        return mul(sub(x, y).sum(), math.nan if reduction == "mean" else 1.0)
    scale = 1 / count if reduction == "mean" else 1.0
    return apply(squared_error_p, x, y, axes=tuple(range(x.ndim)), scale=scale)
