"""Elementwise functions of one and several arguments.

A function takes Tensors and Python numbers, promotes them by PyTorch's rules and applies a primitive of pointwise.py.
"""

import builtins
from collections.abc import Callable
from typing import Any

from expkit.autograd.handle import Handle
from expkit.autograd.tape import apply, apply1
from expkit.tensor import dtypes
from expkit.tensor.ops.arguments import BOOLS, COMPLEX, FLOATS, WHOLE, refuse, require_tensor
from expkit.tensor.ops.convert import as_dtype, constant, promote
from expkit.tensor.ops.functions import binary_function, unary_function
from expkit.tensor.ops.kinds import BOOL
from expkit.tensor.ops.movement import clone
from expkit.tensor.ops.pointwise import (
    abs_p,
    acos_p,
    acosh_p,
    add_p,
    asin_p,
    asinh_p,
    atan2_p,
    atan_p,
    atanh_p,
    bitwise_and_p,
    bitwise_not_p,
    bitwise_or_p,
    bitwise_xor_p,
    ceil_p,
    cos_p,
    cosh_p,
    div_p,
    eq_p,
    erf_p,
    erfc_p,
    exp2_p,
    exp_p,
    expm1_p,
    floor_divide_p,
    floor_p,
    fmax_p,
    fmin_p,
    fmod_p,
    ge_p,
    gt_p,
    hypot_p,
    isfinite_p,
    isinf_p,
    isnan_p,
    le_p,
    log1p_p,
    log2_p,
    log10_p,
    log_p,
    logaddexp2_p,
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
    sgn_p,
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

# ---- one argument ----------------------------------------------------------------------------------------------------


def _whole(prim: Any, doc: str) -> Callable[..., Any]:
    """floor, ceil, ...: whole numbers stay what they are."""
    inner = unary_function(prim, doc, floats=False, refuses=BOOLS + COMPLEX)

    def fn(input: Any) -> Any:
        kind = require_tensor(input, prim.name).raw.dtype.kind
        return clone(input) if kind in WHOLE else inner(input)

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


exp = unary_function(exp_p, "e to the power of each element.")
exp2 = unary_function(exp2_p, "2 to the power of each element.")
expm1 = unary_function(expm1_p, "exp(x) - 1, exact near 0.")
log = unary_function(log_p, "The natural logarithm.")
log2 = unary_function(log2_p, "The logarithm to base 2.")
log10 = unary_function(log10_p, "The logarithm to base 10.")
log1p = unary_function(log1p_p, "log(1 + x), exact near 0.")
sqrt = unary_function(sqrt_p, "The square root; NaN for negative elements.")
rsqrt = unary_function(rsqrt_p, "1 / sqrt(x).")
reciprocal = unary_function(reciprocal_p, "1 / x.")
sin = unary_function(sin_p, "The sine (radians).")
cos = unary_function(cos_p, "The cosine (radians).")
tan = unary_function(tan_p, "The tangent (radians).")
asin = unary_function(asin_p, "The inverse sine.")
acos = unary_function(acos_p, "The inverse cosine.")
atan = unary_function(atan_p, "The inverse tangent.")
sinh = unary_function(sinh_p, "The hyperbolic sine.")
cosh = unary_function(cosh_p, "The hyperbolic cosine.")
tanh = unary_function(tanh_p, "The hyperbolic tangent.")
asinh = unary_function(asinh_p, "The inverse hyperbolic sine.")
acosh = unary_function(acosh_p, "The inverse hyperbolic cosine.")
atanh = unary_function(atanh_p, "The inverse hyperbolic tangent.")
sigmoid = unary_function(sigmoid_p, "1 / (1 + exp(-x)).")
erf = unary_function(erf_p, "The error function.", refuses=COMPLEX)
erfc = unary_function(erfc_p, "1 - erf(x), exact for large x.", refuses=COMPLEX)
neg = unary_function(neg_p, "-x. TypeError for a mask: use ~ or logical_not().", floats=False, refuses=BOOLS)
abs = unary_function(abs_p, "The absolute value; its gradient at 0 is 0.", floats=False, refuses=BOOLS)
sign = unary_function(sign_p, "-1, 0 or 1; sgn() is for complex numbers.", floats=False, refuses=COMPLEX)
sgn = unary_function(sgn_p, "The sign; of a complex number x / |x|, 0 at 0.", floats=False)
relu = unary_function(relu_p, "max(x, 0); its gradient at 0 is 0.", floats=False, refuses=BOOLS + COMPLEX)
softplus_1 = unary_function(softplus_p, "log(1 + exp(x)).", refuses=COMPLEX)
isfinite = unary_function(isfinite_p, "True where an element is neither infinite nor NaN.", floats=False)
isinf = unary_function(isinf_p, "True where an element is infinite.", floats=False)
isnan = unary_function(isnan_p, "True where an element is NaN.", floats=False)
logical_not = unary_function(logical_not_p, "True where an element is zero.", floats=False)
bitwise_not = unary_function(
    bitwise_not_p, "Each bit inverted (logical not for bool).", floats=False, refuses=FLOATS + COMPLEX
)
floor = _whole(floor_p, "The largest integer not above x.")
ceil = _whole(ceil_p, "The smallest integer not below x.")
trunc = _whole(trunc_p, "x without its fraction.")
_rint = _whole(round_p, "")


def square(input: Any) -> Any:
    """x * x."""
    d = dtypes.of(require_tensor(input, "square").raw)
    return apply1(square_p, as_dtype(input, dtypes.int64) if d is dtypes.bool_ else input)


def round(input: Any, *, decimals: int = 0) -> Any:
    """The nearest integer, halves to even; `decimals` places are kept (negative: so many before the point dropped)."""
    if not decimals:
        return _rint(input)
    refuse(input, "round with decimals", BOOLS + WHOLE + COMPLEX)
    scale = 10.0 ** builtins.abs(decimals)
    return div(_rint(mul(input, scale)), scale) if decimals > 0 else mul(_rint(div(input, scale)), scale)


# ---- several arguments -----------------------------------------------------------------------------------------------

_ORDERED = COMPLEX  # complex numbers have no order
_DIVIDED = BOOLS + COMPLEX
_BITS = FLOATS + COMPLEX
_PAIR: dict[str, Any] = {"numbers": ""}  # two tensors
_FIRST: dict[str, Any] = {"numbers": "other"}  # a tensor, and a tensor or a number
_ANY: dict[str, Any] = {"numbers": "both input other"}  # two numbers as well

mul = binary_function(mul_p, "input * other, broadcast.", **_ANY)
atan2 = binary_function(
    atan2_p, "The angle of the point (other, input), in radians.", floats=True, refuses=COMPLEX, **_PAIR
)
maximum = binary_function(
    maximum_p, "The larger of both; at a tie each gets half of the gradient.", refuses=_ORDERED, **_PAIR
)
minimum = binary_function(
    minimum_p, "The smaller of both; at a tie each gets half of the gradient.", refuses=_ORDERED, **_PAIR
)
fmax = binary_function(fmax_p, "The larger of both, and of a number and NaN the number.", refuses=_ORDERED, **_PAIR)
fmin = binary_function(fmin_p, "The smaller of both, and of a number and NaN the number.", refuses=_ORDERED, **_PAIR)
logaddexp = binary_function(
    logaddexp_p, "log(exp(input) + exp(other)), without overflow.", refuses=BOOLS + WHOLE, **_PAIR
)
logaddexp2 = binary_function(
    logaddexp2_p, "log2(2^input + 2^other), without overflow.", refuses=BOOLS + WHOLE + COMPLEX, **_PAIR
)
hypot = binary_function(hypot_p, "sqrt(input² + other²), without overflow.", refuses=BOOLS + WHOLE + COMPLEX, **_PAIR)
floor_divide = binary_function(floor_divide_p, "input / other, rounded down.", refuses=_DIVIDED, **_ANY)
remainder = binary_function(remainder_p, "The remainder with the sign of other (Python's %).", refuses=_DIVIDED)
fmod = binary_function(fmod_p, "The remainder with the sign of input (C's fmod).", refuses=_DIVIDED, **_FIRST)
eq = binary_function(eq_p, "input == other.", **_FIRST)
ne = binary_function(ne_p, "input != other.", **_FIRST)
lt = binary_function(lt_p, "input < other.", refuses=_ORDERED, **_FIRST)
le = binary_function(le_p, "input <= other.", refuses=_ORDERED, **_FIRST)
gt = binary_function(gt_p, "input > other.", refuses=_ORDERED, **_FIRST)
ge = binary_function(ge_p, "input >= other.", refuses=_ORDERED, **_FIRST)
logical_and = binary_function(logical_and_p, "True where both are nonzero.", **_PAIR)
logical_or = binary_function(logical_or_p, "True where one is nonzero.", **_PAIR)
logical_xor = binary_function(logical_xor_p, "True where exactly one is nonzero.", **_PAIR)
bitwise_and = binary_function(bitwise_and_p, "input & other.", refuses=_BITS)
bitwise_or = binary_function(bitwise_or_p, "input | other.", refuses=_BITS)
bitwise_xor = binary_function(bitwise_xor_p, "input ^ other.", refuses=_BITS)
_add = binary_function(add_p, "", **_ANY)
_sub = binary_function(sub_p, "", **_ANY)
_div = binary_function(div_p, "", floats=True, **_ANY)
_pow = binary_function(pow_p, "")
_trunc_divide = binary_function(trunc_divide_p, "", refuses=_DIVIDED, **_ANY)


def pow(input: Any, other: Any) -> Any:
    """input to the power of other."""
    if other.__class__ is int and other < 0 and isinstance(input, Handle) and input.raw.dtype.kind in WHOLE:
        raise RuntimeError("Integers to negative integer powers are not allowed. Use .float().")
    if isinstance(input, Handle) and isinstance(other, Handle) and input.raw.dtype.kind == other.raw.dtype.kind == "b":
        refuse(input, "pow", BOOLS)
    return _pow(input, other)


def _scaled(x: Any, other: Any, alpha: Any) -> Any:
    """alpha * other, for the sum with x. RuntimeError where alpha would change the kind of the result."""
    d = dtypes.result_type(x, other)
    number = alpha.item() if isinstance(alpha, Handle) else alpha
    if isinstance(number, bool) and d is not dtypes.bool_:
        raise RuntimeError(f"a bool as alpha is only supported for bool results, this one is {d}")
    kind = next((t for t in (complex, float) if isinstance(number, t)), int)  # a float may be of a class of its own
    if dtypes.category(dtypes.get(kind)) > builtins.max(dtypes.category(d), 1):
        raise RuntimeError(f"alpha={number} is no factor for a result of {d}: convert an operand first")
    return mul(other, alpha) if isinstance(other, Handle) else other * alpha


def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha * other, broadcast."""
    return _add(input, other if alpha.__class__ is int and alpha == 1 else _scaled(input, other, alpha))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input - alpha * other, broadcast. TypeError for bools."""
    if any(isinstance(x, bool) or (isinstance(x, Handle) and x.raw.dtype == BOOL) for x in (input, other)):
        raise TypeError("subtraction of bools is not supported; use ^ (xor) or ~ (not)")
    return _sub(input, other if alpha.__class__ is int and alpha == 1 else _scaled(input, other, alpha))


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """other - alpha * input, broadcast."""
    return sub(other, require_tensor(input, "rsub"), alpha=alpha)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """input / other; rounding_mode "floor" or "trunc" rounds and keeps integers."""
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return _trunc_divide(input, other)
    raise ValueError(f"div: rounding_mode must be None, 'trunc' or 'floor', not {rounding_mode!r}")


def choose(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition (a bool tensor) holds, y elsewhere; x and y are promoted."""
    if not isinstance(x, Handle) and not isinstance(y, Handle):
        x = constant(x, dtypes.result_type(x, y), condition)
    return apply(where_p, condition, *promote(x, y))
