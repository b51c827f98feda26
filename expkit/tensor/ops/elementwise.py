"""Elementwise primitives of one and several arguments, and the functions on top of them.

A function takes Tensors and Python numbers, promotes them by PyTorch's rules and applies the primitive; a primitive
(`*_p`) takes operands of one dtype, raw or Tensors, and is what gradient rules use.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle
from expkit.autograd.tape import apply, apply1, apply2
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import elementwise as fast
from expkit.tensor.ops import special
from expkit.tensor.ops.convert import as_dtype, constant, floating, promote, promote2, require_tensor
from expkit.tensor.ops.kinds import BOOL, binary, elementwise, joint_aval, unary, zeros_raw
from expkit.tensor.ops.movement import clone

F32, F64 = dtypes.float32.dtype, dtypes.float64.dtype

# ---- one argument ----------------------------------------------------------------------------------------------------


def flat(g: Any, *_args: Any) -> Any:
    """The rule of a step function: its gradient is zero."""
    return zeros_raw(g)


neg_p = unary("neg", np.negative, lambda g, _out, _x: -g)
abs_p = unary(
    "abs", np.absolute, lambda g, _out, x: g * sign_p(x), shape=lambda x: Aval(x.shape, _real(x.dtype), x.device)
)
sign_p = unary("sign", special.sign, flat)
exp_p = unary("exp", fast("exp", np.exp), lambda g, out, _x: g * out)
expm1_p = unary("expm1", fast("expm1", np.expm1), lambda g, out, _x: g * (out + 1))
log_p = unary("log", fast("log", np.log), lambda g, _out, x: g / x)
log2_p = unary("log2", fast("log2", np.log2), lambda g, _out, x: g / (x * math.log(2)))
log10_p = unary("log10", fast("log10", np.log10), lambda g, _out, x: g / (x * math.log(10)))
log1p_p = unary("log1p", fast("log1p", np.log1p), lambda g, _out, x: g / (x + 1))
sqrt_p = unary("sqrt", np.sqrt, lambda g, out, _x: g / (out * 2))
rsqrt_p = unary("rsqrt", lambda x: _one(x) / np.sqrt(x), lambda g, out, _x: g * -0.5 * out * out * out)
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
tanh_p = unary("tanh", fast("tanh", np.tanh), lambda g, out, _x: g * (1 - out * out))
sigmoid_p = unary("sigmoid", fast("sigmoid", special.sigmoid), lambda g, out, _x: g * out * (1 - out))
erf_p = unary("erf", fast("erf", special.erf), lambda g, _out, x: g * exp_p(-x * x) * (2 / math.sqrt(math.pi)))
erfc_p = unary("erfc", fast("erfc", special.erfc), lambda g, _out, x: g * exp_p(-x * x) * (-2 / math.sqrt(math.pi)))
relu_p = unary("relu", lambda x: np.maximum(x, 0), lambda g, out, _x: g * positive_p(out))
softplus_p = unary("softplus", fast("softplus", lambda x: np.logaddexp(x, 0)), lambda g, _out, x: g * sigmoid_p(x))
floor_p = unary("floor", np.floor, flat)
ceil_p = unary("ceil", np.ceil, flat)
trunc_p = unary("trunc", np.trunc, flat)
round_p = unary("round", np.rint, flat)
positive_p = unary("positive", lambda x: (x > 0).astype(x.dtype))  # 1 where x > 0, else 0
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


def _real(d: Any) -> Any:
    return np.dtype({"c8": "f4", "c16": "f8"}.get(d.str[1:], d))


# ---- several arguments -----------------------------------------------------------------------------------------------



def same(g: Any, *_args: Any) -> Any:
    """The rule of an operand whose slope is 1."""
    return g


add_p = binary("add", np.add, (same, same))
sub_p = binary("sub", np.subtract, (lambda g, _out, _x, _y: g, lambda g, _out, _x, _y: -g))
mul_p = binary("mul", np.multiply, (lambda g, _out, _x, y: g * y, lambda g, _out, x, _y: g * x))
div_p = binary("div", np.true_divide, (lambda g, _out, _x, y: g / y, lambda g, _out, x, y: -g * (x / y) / y))
pow_p = binary(
    "pow",
    special.power,
    (lambda g, _out, x, y: g * _pow_x(x, y), lambda g, out, x, y: g * _pow_y(out, x, y)),
)
atan2_p = binary(
    "atan2", np.arctan2, (lambda g, _out, x, y: g * y / (x * x + y * y), lambda g, _out, x, y: -g * x / (x * x + y * y))
)
maximum_p = binary(
    "maximum", np.maximum, (lambda g, _out, x, y: _won(g, x, y, lt_p), lambda g, _out, x, y: _won(g, y, x, lt_p))
)
minimum_p = binary(
    "minimum", np.minimum, (lambda g, _out, x, y: _won(g, x, y, gt_p), lambda g, _out, x, y: _won(g, y, x, gt_p))
)
logaddexp_p = binary(
    "logaddexp",
    np.logaddexp,
    (lambda g, _out, x, y: g * sigmoid_p(x - y), lambda g, _out, x, y: g * sigmoid_p(y - x)),
)
floor_divide_p = binary("floor_divide", special.whole_division(np.floor_divide), (flat, flat))
trunc_divide_p = binary("trunc_divide", special.whole_division(special.trunc_divide), (flat, flat))
remainder_p = binary(
    "remainder", special.whole_division(np.remainder), (same, lambda g, _out, x, y: -g * floor_p(x / y))
)
fmod_p = binary("fmod", special.whole_division(np.fmod), (same, lambda g, _out, x, y: -g * trunc_p(x / y)))
eq_p, ne_p, lt_p, le_p, gt_p, ge_p, logical_and_p, logical_or_p, logical_xor_p = (
    binary(name, fn, dtype=BOOL)
    for name, fn in {
        "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
        "ge": np.greater_equal,
        "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
    }.items()
)  # fmt: skip
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
    if isinstance(y, int | float):
        return zeros_raw(x) if y == 0 else pow_p(x, y - 1) * y
    constant = eq_p(y, 0)
    slope = pow_p(x, where_p(constant, zeros_raw(y) + 1, y) - 1) * y
    return where_p(constant, zeros_raw(slope), slope)


def _pow_y(out: Any, x: Any, y: Any) -> Any:
    """d(x**y)/dy; 0 where x is 0 and y is not negative."""
    if isinstance(x, int | float):
        slope = out * (math.log(x) if x > 0 else -math.inf if x == 0 else math.nan)
        return slope if x else where_p(ge_p(y, 0), zeros_raw(slope), slope)
    still = logical_and_p(eq_p(x, 0), ge_p(y, 0))
    slope = out * log_p(where_p(still, zeros_raw(out) + 1, x))
    return where_p(still, zeros_raw(slope), slope)


def _within(x: Any, low: Any, high: Any) -> Any:
    if low is None or high is None:
        return ge_p(x, low) if high is None else le_p(x, high)
    return logical_and_p(ge_p(x, low), le_p(x, high))


def _won(g: Any, x: Any, y: Any, lost: Any) -> Any:
    """The share of the gradient that goes to x: none where it lost against y, half at a tie."""
    return where_p(lost(x, y), zeros_raw(g), where_p(eq_p(x, y), g * 0.5, g))


# ---- functions -------------------------------------------------------------------------------------------------------


def _unary(prim: Any, doc: str, floats: bool = True) -> Callable[..., Any]:
    def fn(input: Any) -> Any:
        require_tensor(input, name)
        return apply1(prim, floating(input) if floats else input)

    name = fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


def _no_bool(fn: Callable[..., Any], advice: str) -> Callable[..., Any]:
    """The function, refusing bool tensors."""

    def wrapped(input: Any) -> Any:
        if dtypes.of(require_tensor(input, fn.__name__).raw) is dtypes.bool_:
            raise TypeError(f"{fn.__name__}: bool tensors are not supported; {advice}")
        return fn(input)

    wrapped.__name__, wrapped.__qualname__, wrapped.__doc__ = fn.__name__, fn.__qualname__, fn.__doc__
    return wrapped


def _whole(prim: Any, doc: str) -> Callable[..., Any]:
    """floor, ceil, ...: integers stay what they are."""
    inner = _unary(prim, doc, floats=False)

    def fn(input: Any) -> Any:
        d = dtypes.of(require_tensor(input, prim.name).raw)
        return inner(input) if d.is_floating_point else clone(input)

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


exp = _unary(exp_p, "e to the power of each element.")
expm1 = _unary(expm1_p, "exp(x) - 1, exact near 0.")
log = _unary(log_p, "The natural logarithm.")
log2 = _unary(log2_p, "The logarithm to base 2.")
log10 = _unary(log10_p, "The logarithm to base 10.")
log1p = _unary(log1p_p, "log(1 + x), exact near 0.")
sqrt = _unary(sqrt_p, "The square root; NaN for negative elements.")
rsqrt = _unary(rsqrt_p, "1 / sqrt(x).")
reciprocal = _unary(reciprocal_p, "1 / x.")
sin = _unary(sin_p, "The sine (radians).")
cos = _unary(cos_p, "The cosine (radians).")
tan = _unary(tan_p, "The tangent (radians).")
asin = _unary(asin_p, "The inverse sine.")
acos = _unary(acos_p, "The inverse cosine.")
atan = _unary(atan_p, "The inverse tangent.")
sinh = _unary(sinh_p, "The hyperbolic sine.")
cosh = _unary(cosh_p, "The hyperbolic cosine.")
tanh = _unary(tanh_p, "The hyperbolic tangent.")
sigmoid = _unary(sigmoid_p, "1 / (1 + exp(-x)).")
erf = _unary(erf_p, "The error function.")
erfc = _unary(erfc_p, "1 - erf(x), exact for large x.")
neg = _no_bool(_unary(neg_p, "-x.", floats=False), "use ~ or logical_not() to invert a mask")
abs = _unary(abs_p, "The absolute value; its gradient at 0 is 0.", floats=False)
sign = _unary(sign_p, "-1, 0 or 1.", floats=False)
relu = _no_bool(_unary(relu_p, "max(x, 0); its gradient at 0 is 0.", floats=False), "convert with .float()")
softplus_1 = _unary(softplus_p, "log(1 + exp(x)).")
isfinite = _unary(isfinite_p, "True where an element is neither infinite nor NaN.")
isinf = _unary(isinf_p, "True where an element is infinite.")
isnan = _unary(isnan_p, "True where an element is NaN.")
logical_not = _unary(logical_not_p, "True where an element is zero.", floats=False)
bitwise_not = _unary(bitwise_not_p, "Each bit inverted (logical not for bool).", floats=False)
floor = _whole(floor_p, "The largest integer not above x.")
ceil = _whole(ceil_p, "The smallest integer not below x.")
trunc = _whole(trunc_p, "x without its fraction.")


def square(input: Any) -> Any:
    """x * x."""
    d = dtypes.of(require_tensor(input, "square").raw)
    return apply1(square_p, as_dtype(input, dtypes.int64) if d is dtypes.bool_ else input)


def round(input: Any, *, decimals: int = 0) -> Any:
    """The nearest integer, halves to even; `decimals` places are kept."""
    if not decimals:
        return _whole(round_p, "")(input)
    scale = 10.0**decimals
    return div(_whole(round_p, "")(mul(input, scale)), scale)


def _binary(prim: Any, doc: str, floats: bool = False) -> Callable[..., Any]:
    def fn(input: Any, other: Any) -> Any:
        if isinstance(input, Handle):
            d = input.raw.dtype
            if (d is F32 or d is F64) and (
                other.raw.dtype is d if isinstance(other, Handle) else other.__class__ is float
            ):
                return apply2(prim, input, other)
        return apply2(prim, *promote2(input, other, floats))

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


mul = _binary(mul_p, "input * other, broadcast.")
pow = _binary(pow_p, "input to the power of other.")
atan2 = _binary(atan2_p, "The angle of the point (other, input), in radians.", floats=True)
maximum = _binary(maximum_p, "The larger of both; at a tie each gets half of the gradient.")
minimum = _binary(minimum_p, "The smaller of both; at a tie each gets half of the gradient.")
logaddexp = _binary(logaddexp_p, "log(exp(input) + exp(other)), without overflow.", floats=True)
floor_divide = _binary(floor_divide_p, "input / other, rounded down.")
remainder = _binary(remainder_p, "The remainder with the sign of other (Python's %).")
fmod = _binary(fmod_p, "The remainder with the sign of input (C's fmod).")
eq = _binary(eq_p, "input == other.")
ne = _binary(ne_p, "input != other.")
lt = _binary(lt_p, "input < other.")
le = _binary(le_p, "input <= other.")
gt = _binary(gt_p, "input > other.")
ge = _binary(ge_p, "input >= other.")
logical_and = _binary(logical_and_p, "True where both are nonzero.")
logical_or = _binary(logical_or_p, "True where one is nonzero.")
logical_xor = _binary(logical_xor_p, "True where exactly one is nonzero.")
bitwise_and = _binary(bitwise_and_p, "input & other.")
bitwise_or = _binary(bitwise_or_p, "input | other.")
bitwise_xor = _binary(bitwise_xor_p, "input ^ other.")
_add = _binary(add_p, "")
_sub = _binary(sub_p, "")
_div = _binary(div_p, "", floats=True)


def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha * other, broadcast."""
    return _add(input, other if alpha == 1 else mul(other, alpha) if isinstance(other, Handle) else other * alpha)


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input - alpha * other, broadcast."""
    if any(isinstance(x, bool) or (isinstance(x, Handle) and x.raw.dtype == BOOL) for x in (input, other)):
        raise TypeError("subtraction of bools is not supported; use ^ (xor) or ~ (not)")
    return _sub(input, other if alpha == 1 else mul(other, alpha) if isinstance(other, Handle) else other * alpha)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """input / other; rounding_mode "floor" or "trunc" rounds and keeps integers."""
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return apply2(trunc_divide_p, *promote2(input, other))
    raise ValueError(f"div: rounding_mode must be None, 'trunc' or 'floor', not {rounding_mode!r}")


def choose(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition (a bool tensor) holds, y elsewhere; x and y are promoted."""
    if not isinstance(x, Handle) and not isinstance(y, Handle):
        x = full_like(condition, x, dtypes.result_type(x, y))
    return apply(where_p, condition, *promote(x, y))


def full_like(x: Any, value: Any, d: dtypes.dtype) -> Any:
    """A 0-d tensor of a number beside x."""
    return constant(value, d, x)


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """Elements limited to [min, max] (numbers or tensors); the gradient is 1 inside and on the limits, 0 outside."""
    if min is None and max is None:
        raise ValueError("clamp: at least one of 'min' or 'max' must not be None")
    limits = [x for x in (min, max) if x is not None]
    x = as_dtype(input, dtypes.result_type(input, *limits))
    if not any(isinstance(limit, Handle) for limit in limits):
        return apply1(clamp_p, x, low=min, high=max)
    for limit, beyond in ((min, lt), (max, gt)):
        if limit is not None:
            bound = promote(limit, x)[0]
            x = apply(where_p, logical_or(beyond(x, bound), isnan(bound)), bound, x)
    return x


def clamp_min(input: Any, min: Any) -> Any:
    """Elements no smaller than min."""
    return clamp(input, min=min)


def clamp_max(input: Any, max: Any) -> Any:
    """Elements no larger than max."""
    return clamp(input, max=max)


def lerp(input: Any, end: Any, weight: Any) -> Any:
    """input + weight * (end - input), computed from the nearer end so that weight 1 gives exactly `end`."""
    way = sub(end, input)
    if not isinstance(weight, Handle):
        return add(input, mul(way, weight)) if -0.5 < weight < 0.5 else sub(end, mul(way, 1 - weight))
    return choose(lt(abs(weight), 0.5), add(input, mul(way, weight)), sub(end, mul(way, sub(1, weight))))


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value * tensor1 * tensor2."""
    return add(input, mul(tensor1, tensor2), alpha=value)


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value * tensor1 / tensor2."""
    return add(input, div(tensor1, tensor2), alpha=value)


def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """True where |input - other| <= atol + rtol * |other| (or both are the same infinity)."""
    x, y = promote(input, other)
    xp_close = logical_or(eq(x, y), logical_and(isfinite(y), le(abs(sub(x, y)), add(mul(abs(y), rtol), atol))))
    return logical_or(xp_close, logical_and(isnan(x), isnan(y))) if equal_nan else xp_close


def nan_to_num(input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """NaN and infinities replaced (infinities by the dtype's limits where nothing is given)."""
    d = dtypes.of(input.raw)
    if not d.is_floating_point:
        return clone(input)
    limits = dtypes.finfo(d)
    out = choose(isnan(input), nan, input)
    out = choose(eq(input, math.inf), limits.max if posinf is None else posinf, out)
    return choose(eq(input, -math.inf), limits.min if neginf is None else neginf, out)
