"""Functions of what floating-point numbers are made of (sign, fraction, exponent), and their special values."""

import math
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.arguments import BOOLS, COMPLEX, WHOLE, refuse, require_tensor
from expkit.tensor.ops.complex import imag, is_complex, view_as_complex, view_as_real
from expkit.tensor.ops.convert import as_dtype, floating
from expkit.tensor.ops.elementwise import (
    choose,
    div,
    eq,
    isnan,
    mul,
    pow,
    sin,
    sub,
    trunc,
)
from expkit.tensor.ops.functions import binary_function, unary_function
from expkit.tensor.ops.kinds import BOOL, align, binary, unary, zeros_raw
from expkit.tensor.ops.memory_format import clone
from expkit.tensor.ops.pointwise import eq_p, flat, same, where_p
from expkit.tensor.ops.special import is_float

INT32 = np.dtype(np.int32)

# ---- primitives ------------------------------------------------------------------------------------------------------


def _signbit(x: Any) -> Any:
    return np.signbit(x) if is_float(x) else x < 0


def _ratio(g: Any, out: Any, x: Any) -> Any:
    """g with the sign that copysign gave to x; 0 where x is 0."""
    still = eq_p(x, 0)
    return where_p(still, zeros_raw(g), g * (out / where_p(still, zeros_raw(x) + 1, x)))


signbit_p = unary("signbit", _signbit, dtype=BOOL)
copysign_p = binary("copysign", np.copysign, (lambda g, out, x, _y: _ratio(g, out, x), flat))
nextafter_p = binary("nextafter", np.nextafter, (same, flat))


def _heaviside(x: Any, values: Any) -> Any:
    return xp_of(x).where(x == 0, values, (x > 0).astype(x.dtype))


heaviside_p = binary("heaviside", _heaviside)


def _frexp(x: Any) -> tuple[Any, Any]:
    wide = x.astype(np.float32) if x.dtype.kind == "V" else x
    mantissa, exponent = np.frexp(wide)
    return xp_of(x).asarray(mantissa).astype(x.dtype), xp_of(x).where(np.isfinite(wide), exponent, 0).astype(INT32)


def _frexp_vjp(g: Any, out: Any, _x: Any) -> tuple[Any, ...]:
    return (g[0] * _power_of_two(-out[1], g[0].dtype),)


def _power_of_two(exponent: Any, dtype: Any) -> Any:
    return exp2_whole_p(exponent, dtype=np.dtype(dtype))


exp2_whole_p = Primitive(
    "exp2_whole",
    lambda x, *, dtype: np.exp2(x.astype(np.float64)).astype(dtype),
    lambda x, *, dtype: Aval(x.shape, dtype, x.device),
    batch=lambda size, values, mapped, kw: exp2_whole_p(values[0], **kw),
)
frexp_p = Primitive(
    "frexp",
    _frexp,
    lambda x: (x, Aval(x.shape, INT32, x.device)),
    joint=_frexp_vjp,
    jvp=lambda tangents, out, _primals, _kw: (_frexp_vjp((tangents[0], None), out, None)[0], None),
    batch=lambda size, values, mapped, kw: frexp_p(*align(values, mapped)),
    nout=2,
    saves=(1,),
)

# ---- functions -------------------------------------------------------------------------------------------------------

signbit = unary_function(signbit_p, "True where the sign bit is set (-0.0 included).", floats=False, refuses=COMPLEX)
copysign = binary_function(
    copysign_p, "input's magnitude with other's sign.", floats=True, refuses=COMPLEX, numbers="other"
)
nextafter = binary_function(nextafter_p, "The next number after input, towards other.", refuses=BOOLS + WHOLE + COMPLEX)
_heaviside_of = binary_function(heaviside_p, "", refuses=COMPLEX, numbers="", name="heaviside")


def heaviside(input: Any, values: Any) -> Any:
    """0 for negative input, 1 for positive, `values` at 0. TypeError unless both are of one dtype."""
    if require_tensor(input, "heaviside").raw.dtype != require_tensor(values, "heaviside").raw.dtype:
        raise TypeError(f"heaviside: both tensors must have one dtype, got {input.dtype} and {values.dtype}")
    return _heaviside_of(input, values)


def frexp(input: Any) -> tuple[Any, Any]:
    """(mantissa, exponent): input = mantissa * 2^exponent, the mantissa in (-1, -0.5] or [0.5, 1), or 0."""
    refuse(input, "frexp", BOOLS + WHOLE + COMPLEX)
    return apply(frexp_p, input)


def ldexp(input: Any, other: Any) -> Any:
    """input * 2^other."""
    return mul(require_tensor(input, "ldexp"), pow(2.0, other))


def frac(input: Any) -> Any:
    """The fraction, with input's sign."""
    refuse(input, "frac", BOOLS + WHOLE + COMPLEX)
    return sub(input, trunc(input))


def positive(input: Any) -> Any:
    """The tensor itself. TypeError for bools."""
    refuse(input, "positive", BOOLS)
    return input


def deg2rad(input: Any) -> Any:
    """Degrees as radians."""
    refuse(input, "deg2rad", COMPLEX)
    return mul(floating(input), math.pi / 180)


def rad2deg(input: Any) -> Any:
    """Radians as degrees."""
    refuse(input, "rad2deg", COMPLEX)
    return mul(floating(input), 180 / math.pi)


def sinc(input: Any) -> Any:
    """sin(pi x) / (pi x), 1 at 0."""
    x = mul(floating(require_tensor(input, "sinc")), math.pi)
    origin = eq(x, 0)
    safe = choose(origin, 1.0, x)
    return choose(origin, 1.0, div(sin(safe), safe))


def float_power(input: Any, exponent: Any) -> Any:
    """input to the power of exponent in float64 (complex128 where one of both is complex)."""
    plane = dtypes.result_type(input, exponent).is_complex
    wide = dtypes.complex128 if plane else dtypes.float64
    return pow(*(as_dtype(x, wide) if isinstance(x, Handle) else x for x in (input, exponent)))


def _is_infinite(input: Any, name: str, value: float) -> Any:
    refuse(input, name, COMPLEX)
    return eq(input, value) if dtypes.of(input.raw).is_floating_point else input.new_zeros(input.shape, dtype="bool")


def isposinf(input: Any) -> Any:
    """True where an element is infinity."""
    return _is_infinite(input, "isposinf", math.inf)


def isneginf(input: Any) -> Any:
    """True where an element is minus infinity."""
    return _is_infinite(input, "isneginf", -math.inf)


def isreal(input: Any) -> Any:
    """True where an element has no imaginary part."""
    if is_complex(input):
        return eq(imag(input), 0)
    return require_tensor(input, "isreal").new_ones(input.shape, dtype="bool")


def nan_to_num(input: Any, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """NaN and infinities replaced (infinities by the dtype's limits, if nothing is given), in both parts if complex."""
    d = dtypes.of(require_tensor(input, "nan_to_num").raw)
    if d.is_complex:
        return view_as_complex(nan_to_num(view_as_real(input), nan, posinf, neginf))
    if not d.is_floating_point:
        return clone(input)
    limits = dtypes.finfo(d)
    out = choose(isnan(input), 0.0 if nan is None else nan, input)
    out = choose(eq(input, math.inf), limits.max if posinf is None else posinf, out)
    return choose(eq(input, -math.inf), limits.min if neginf is None else neginf, out)
