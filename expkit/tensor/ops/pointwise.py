"""Elementwise primitives: what each computes, and its gradient.

A primitive (`*_p`) takes operands of one dtype, raw or Tensors, and is what gradient rules use; the functions on top of
them, which promote by PyTorch's rules, are in elementwise.py.
"""

import cmath
import math
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle
from expkit.tensor.devices import xp_of
from expkit.tensor.ops import special
from expkit.tensor.ops.complex import conj_p, real_dtype
from expkit.tensor.ops.convert import convert_p
from expkit.tensor.ops.kinds import BOOL, binary, elementwise, joint_aval, unary, zeros_raw

# ---- one argument ----------------------------------------------------------------------------------------------------


def times(g: Any, c: float) -> Any:
    """g * c in g's dtype (NumPy makes bfloat16 times a Python float a float32)."""
    return g * c if isinstance(g, Handle) or g.dtype.itemsize != 2 else g * np.asarray(c, g.dtype)


def flat(g: Any, *_args: Any) -> Any:
    """The rule of a step function: its gradient is zero."""
    return zeros_raw(g)


neg_p = unary("neg", np.negative, lambda g, _out, _x: -g)


def _is_complex(x: Any) -> bool:
    return np.dtype(x.dtype).kind == "c"


def _sgn_vjp(g: Any, out: Any, x: Any) -> Any:
    """0; of a complex number x / |x|, where what moves x outward does not move it."""
    return _turned_only(g, conj_p(out), x) if _is_complex(x) else zeros_raw(g)


def _sgn_push(tangents: list[Any], out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    t, x = tangents[0], primals[0]
    return None if t is None else _turned_only(t, out, x) if _is_complex(x) else zeros_raw(t)


def _turned_only(t: Any, direction: Any, x: Any) -> Any:
    """The part of t across the direction (of length 1), divided by |x|; 0 where x is 0."""
    outward = t * conj_p(direction)
    across = direction * (outward - conj_p(outward)) * 0.5
    size = abs_p(x)
    origin = eq_p(size, 0)
    return where_p(origin, zeros_raw(across), across / where_p(origin, zeros_raw(size) + 1, size))


def _relu(x: Any) -> Any:
    """max(x, 0), which of -0.0 is -0.0; np.maximum says so of floats that follow each other, and takes a third of the
    time."""
    if x.dtype.char in "fd" and x.flags.c_contiguous:
        return np.maximum(0, x)
    return np.where(x < 0, x.dtype.type(0), x)


abs_p = unary(
    "abs",
    np.absolute,
    lambda g, _out, x: g * (conj_p(sgn_p(x)) if _is_complex(x) else sign_p(x)),
    shape=lambda x: Aval(x.shape, real_dtype(x.dtype), x.device),
)
sign_p = unary("sign", special.sign, flat)  # of real numbers, whose backward does not need them
sgn_p = unary("sgn", special.sign, _sgn_vjp, jvp=_sgn_push)
exp_p = unary("exp", np.exp, lambda g, out, _x: g * out)
exp2_p = unary("exp2", special.exp2, lambda g, out, _x: times(g * out, math.log(2)))
expm1_p = unary("expm1", np.expm1, lambda g, out, _x: g * (out + 1))
log_p = unary("log", np.log, lambda g, _out, x: g / x)
log2_p = unary("log2", np.log2, lambda g, _out, x: g / times(x, math.log(2)))
log10_p = unary("log10", np.log10, lambda g, _out, x: g / times(x, math.log(10)))
log1p_p = unary("log1p", np.log1p, lambda g, _out, x: g / (x + 1))
sqrt_p = unary("sqrt", np.sqrt, lambda g, out, _x: g / (out * 2))
rsqrt_p = unary("rsqrt", lambda x: _one(x) / np.sqrt(x), lambda g, out, _x: times(g, -0.5) * out * out * out)
reciprocal_p = unary("reciprocal", lambda x: _one(x) / x, lambda g, out, _x: -g * out * out)
square_p = unary("square", np.square, lambda g, _out, x: g * x * 2)
sin_p = unary("sin", np.sin, lambda g, _out, x: g * cos_p(x))
cos_p = unary("cos", np.cos, lambda g, _out, x: -g * sin_p(x))
tan_p = unary("tan", np.tan, lambda g, out, _x: g * (out * out + 1))
asin_p = unary("asin", np.arcsin, lambda g, _out, x: g * rsqrt_p(1 - x * x))
acos_p = unary("acos", np.arccos, lambda g, _out, x: -g * rsqrt_p(1 - x * x))
atan_p = unary("atan", np.arctan, lambda g, _out, x: g / (x * x + 1))
sinh_p = unary("sinh", np.sinh, lambda g, _out, x: g * cosh_p(x))
cosh_p = unary("cosh", np.cosh, lambda g, _out, x: g * sinh_p(x))
tanh_p = unary("tanh", np.tanh, lambda g, out, _x: g * (1 - out * out))
asinh_p = unary("asinh", np.arcsinh, lambda g, _out, x: g * rsqrt_p(x * x + 1))
acosh_p = unary("acosh", np.arccosh, lambda g, _out, x: g * rsqrt_p(x - 1) * rsqrt_p(x + 1))
atanh_p = unary("atanh", np.arctanh, lambda g, _out, x: g / (1 - x * x))
sigmoid_p = unary("sigmoid", special.sigmoid, lambda g, out, _x: g * out * (1 - out))
erf_p = unary("erf", special.erf, lambda g, _out, x: times(g * exp_p(-x * x), 2 / math.sqrt(math.pi)))
erfc_p = unary("erfc", special.erfc, lambda g, _out, x: times(g * exp_p(-x * x), -2 / math.sqrt(math.pi)))
relu_p = unary("relu", _relu, lambda g, out, _x: g * positive_p(out))
softplus_p = unary("softplus", lambda x: np.logaddexp(x, 0), lambda g, _out, x: g * sigmoid_p(x))
floor_p = unary("floor", np.floor, flat)
ceil_p = unary("ceil", np.ceil, flat)
trunc_p = unary("trunc", np.trunc, flat)
round_p = unary("round", np.rint, flat)
positive_p = unary("positive", lambda x: np.logical_not(x <= 0).astype(x.dtype))  # 1 where x > 0 or NaN, else 0
clamp_p = unary(  # low, high: numbers or None
    "clamp", special.clip, lambda g, _out, x, *, low, high: where_p(_within(x, low, high), g, zeros_raw(g))
)
isfinite_p = unary("isfinite", np.isfinite, dtype=BOOL)
isinf_p = unary("isinf", np.isinf, dtype=BOOL)
isnan_p = unary("isnan", np.isnan, dtype=BOOL)
logical_not_p = unary("logical_not", np.logical_not, dtype=BOOL)
bitwise_not_p = unary("bitwise_not", np.invert)


def _one(x: Any) -> Any:
    return x.dtype.type(1)


# ---- several arguments -----------------------------------------------------------------------------------------------


def same(g: Any, *_args: Any) -> Any:
    """The rule of an operand whose slope is 1."""
    return g


eq_p, ne_p, lt_p, le_p, gt_p, ge_p, logical_and_p, logical_or_p, logical_xor_p = (
    binary(name, fn, dtype=BOOL)
    for name, fn in {
        "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
        "ge": np.greater_equal,
        "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
    }.items()
)  # fmt: skip
add_p = binary("add", np.add, (same, same))
sub_p = binary("sub", np.subtract, (lambda g, _out, _x, _y: g, lambda g, _out, _x, _y: -g))
mul_p = binary("mul", np.multiply, (lambda g, _out, _x, y: g * y, lambda g, _out, x, _y: g * x))
div_p = binary("div", np.true_divide, (lambda g, _out, _x, y: g / y, lambda g, _out, x, y: -g * (x / y / y)))
pow_p = binary(
    "pow",
    special.power,
    (lambda g, _out, x, y: g * _pow_x(x, y), lambda g, out, x, y: g * _pow_y(out, x, y)),
)
atan2_p = binary(
    "atan2",
    np.arctan2,
    (lambda g, _out, x, y: g * y * _inverse_square(x, y), lambda g, _out, x, y: -g * x * _inverse_square(x, y)),
)
maximum_p = binary(
    "maximum", np.maximum, (lambda g, _out, x, y: _won(g, x, y, lt_p), lambda g, _out, x, y: _won(g, y, x, lt_p))
)
minimum_p = binary(
    "minimum", np.minimum, (lambda g, _out, x, y: _won(g, x, y, gt_p), lambda g, _out, x, y: _won(g, y, x, gt_p))
)
logaddexp_p = binary(
    "logaddexp",
    special.logaddexp,
    (lambda g, _out, x, y: g * sigmoid_p(x - y), lambda g, _out, x, y: g * sigmoid_p(y - x)),
)
logaddexp2_p = binary(
    "logaddexp2",
    special.logaddexp2,
    (
        lambda g, _out, x, y: g * sigmoid_p(times(x - y, math.log(2))),
        lambda g, _out, x, y: g * sigmoid_p(times(y - x, math.log(2))),
    ),
)
hypot_p = binary("hypot", np.hypot, (lambda g, out, x, _y: g * (x / out), lambda g, out, _x, y: g * (y / out)))
fmax_p, fmin_p = (  # a tie goes to x
    binary(
        name,
        fn,
        (
            lambda g, _out, x, y, kept=kept: where_p(_stays(x, y, kept), g, zeros_raw(g)),
            lambda g, _out, x, y, kept=kept: where_p(_stays(x, y, kept), zeros_raw(g), g),
        ),
    )
    for name, fn, kept in (("fmax", np.fmax, ge_p), ("fmin", np.fmin, le_p))
)
floor_divide_p = binary("floor_divide", special.whole_division(np.floor_divide), (flat, flat))
trunc_divide_p = binary("trunc_divide", special.whole_division(special.trunc_divide), (flat, flat))
remainder_p = binary(
    "remainder", special.whole_division(np.remainder), (same, lambda g, _out, x, y: -g * floor_divide_p(x, y))
)
fmod_p = binary("fmod", special.whole_division(np.fmod), (same, lambda g, _out, x, y: -g * trunc_divide_p(x, y)))
bitwise_and_p, bitwise_or_p, bitwise_xor_p = (
    binary(f"bitwise_{name}", fn)
    for name, fn in {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}.items()
)
where_p = elementwise(
    "where",
    lambda c, x, y: xp_of(c).where(c, x, y),
    (
        None,
        lambda g, _out, c, _x, _y: where_p(c, g, zeros_raw(g)),
        lambda g, _out, c, _x, _y: where_p(c, zeros_raw(g), g),
    ),
    shape=lambda c, x, y: joint_aval((c, x, y), (x if isinstance(x, Aval) else y).dtype),
)


def _pow_x(x: Any, y: Any) -> Any:
    """d(x**y)/dx; 0 where y is 0, also at x = 0."""
    if isinstance(y, int | float | complex):
        return zeros_raw(x) if y == 0 else pow_p(x, y - 1) * y
    constant = eq_p(y, 0)
    slope = pow_p(x, where_p(constant, zeros_raw(y) + 1, y) - 1) * y
    return where_p(constant, zeros_raw(slope), slope)


def _pow_y(out: Any, x: Any, y: Any) -> Any:
    """d(x**y)/dy; 0 where x is 0 and y is not negative."""
    if isinstance(x, int | float | complex):
        slope = out * _log_number(x, _is_complex(out))
        return slope if x else where_p(_not_below_zero(y), zeros_raw(slope), slope)
    still = logical_and_p(eq_p(x, 0), _not_below_zero(y))
    slope = out * log_p(where_p(still, zeros_raw(out) + 1, x))
    return where_p(still, zeros_raw(slope), slope)


def _not_below_zero(y: Any) -> Any:
    """Whether the real part of each exponent is 0 or more."""
    return ge_p(convert_p(y, dtype=real_dtype(y.dtype)) if _is_complex(y) else y, 0)


def _log_number(x: Any, plane: bool) -> Any:
    """The logarithm of a Python number, complex where `plane`."""
    if not x:
        return -math.inf
    return cmath.log(x) if plane else math.log(x) if x > 0 else math.nan


def _inverse_square(x: Any, y: Any) -> Any:
    """1 / (x² + y²); 0 at the origin."""
    square = x * x + y * y
    origin = eq_p(square, 0)
    return where_p(origin, zeros_raw(square), 1 / where_p(origin, zeros_raw(square) + 1, square))


def _within(x: Any, low: Any, high: Any) -> Any:
    if low is None or high is None:
        return ge_p(x, low) if high is None else le_p(x, high)
    return logical_and_p(ge_p(x, low), le_p(x, high))


def _stays(x: Any, y: Any, kept: Any) -> Any:
    """Where the result is x: it won, or y is NaN."""
    return logical_or_p(kept(x, y), isnan_p(y))


def _won(g: Any, x: Any, y: Any, lost: Any) -> Any:
    """The share of the gradient that goes to x: none where it lost against y, half at a tie."""
    return where_p(lost(x, y), zeros_raw(g), where_p(eq_p(x, y), times(g, 0.5), g))
