"""Elementwise functions of one and several arguments.

A function takes Tensors and Python numbers, promotes them by PyTorch's rules and applies a primitive of pointwise.py.
"""

import math
from collections.abc import Callable
from typing import Any

from expkit.autograd.handle import Handle
from expkit.autograd.tape import apply, apply1, apply2
from expkit.tensor import dtypes
from expkit.tensor.ops.convert import as_dtype, constant, floating, promote, promote2, require_tensor
from expkit.tensor.ops.kinds import BOOL
from expkit.tensor.ops.movement import clone
from expkit.tensor.ops.pointwise import (
    abs_p,
    acos_p,
    add_p,
    asin_p,
    atan2_p,
    atan_p,
    bitwise_and_p,
    bitwise_not_p,
    bitwise_or_p,
    bitwise_xor_p,
    ceil_p,
    clamp_p,
    cos_p,
    cosh_p,
    div_p,
    eq_p,
    erf_p,
    erfc_p,
    exp_p,
    expm1_p,
    floor_divide_p,
    floor_p,
    fmod_p,
    ge_p,
    gt_p,
    isfinite_p,
    isinf_p,
    isnan_p,
    le_p,
    log1p_p,
    log2_p,
    log10_p,
    log_p,
    logaddexp_p,
    logical_and_p,
    logical_not_p,
    logical_or_p,
    logical_xor_p,
    lt_p,
    maximum_p,
    minimum_p,
    mul_p,
    ne_p,
    neg_p,
    pow_p,
    reciprocal_p,
    relu_p,
    remainder_p,
    round_p,
    rsqrt_p,
    sigmoid_p,
    sign_p,
    sin_p,
    sinh_p,
    softplus_p,
    sqrt_p,
    square_p,
    sub_p,
    tan_p,
    tanh_p,
    trunc_divide_p,
    trunc_p,
    where_p,
)  # fmt: skip

F32, F64 = dtypes.float32.dtype, dtypes.float64.dtype

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


_pow = _binary(pow_p, "")


def pow(input: Any, other: Any) -> Any:
    """input to the power of other."""
    if other.__class__ is int and other < 0 and isinstance(input, Handle) and input.raw.dtype.kind in "iu":
        raise RuntimeError("Integers to negative integer powers are not allowed. Use .float().")
    return _pow(input, other)


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
        x = constant(x, dtypes.result_type(x, y), condition)
    return apply(where_p, condition, *promote(x, y))


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """Elements limited to [min, max] (numbers or tensors); the gradient is 1 inside and on the limits, 0 outside."""
    if min is None and max is None:
        raise ValueError("clamp: at least one of 'min' or 'max' must not be None")
    limits = [x for x in (min, max) if x is not None]
    if isinstance(input, Handle) and input.raw.dtype in (F32, F64) and all(x.__class__ in (float, int) for x in limits):
        return apply1(clamp_p, input, low=min, high=max)
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
    close = logical_or(eq(x, y), logical_and(isfinite(y), le(abs(sub(x, y)), add(mul(abs(y), rtol), atol))))
    return logical_or(close, logical_and(isnan(x), isnan(y))) if equal_nan else close


def nan_to_num(input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """NaN and infinities replaced (infinities by the dtype's limits where nothing is given)."""
    d = dtypes.of(input.raw)
    if not d.is_floating_point:
        return clone(input)
    limits = dtypes.finfo(d)
    out = choose(isnan(input), nan, input)
    out = choose(eq(input, math.inf), limits.max if posinf is None else posinf, out)
    return choose(eq(input, -math.inf), limits.min if neginf is None else neginf, out)
