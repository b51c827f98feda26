"""Functions that NumPy lacks, on raw arrays: sigmoid, erf, erfc, truncating division.

erf and erfc follow W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969): three
intervals, relative error below 1e-15 in float64. erf of smaller dtypes is tanh(x p(x²)) with a fitted polynomial: three
units in the last place of float32, and a tenth of the time.
"""

import math
from typing import Any

import numpy as np

from expkit.tensor.devices import xp_of

_P1 = (
    3.209377589138469472562e3,
    3.774852376853020208137e2,
    1.138641541510501556495e2,
    3.161123743870565596947e0,
    1.857777061846031526730e-1,
)
_Q1 = (2.844236833439170622273e3, 1.282616526077372275645e3, 2.440246379344441733056e2, 2.360129095234412093499e1, 1.0)
_P2 = (
    1.23033935479799725272e3, 2.05107837782607146532e3, 1.71204761263407058314e3, 8.81952221241769090411e2,
    2.98635138197400131132e2, 6.61191906371416294775e1, 8.88314979438837594118e0, 5.64188496988670089180e-1,
    2.15311535474403846343e-8,
)  # fmt: skip
_Q2 = (
    1.23033935480374942043e3, 3.43936767414372163696e3, 4.36261909014324715820e3, 3.29079923573345962678e3,
    1.62138957456669018874e3, 5.37181101862009857509e2, 1.17693950891312499305e2, 1.57449261107098347253e1, 1.0,
)  # fmt: skip
_P3 = (
    -6.58749161529837803157e-4,
    -1.60837851487422766278e-2,
    -1.25781726111229246204e-1,
    -3.60344899949804439429e-1,
    -3.05326634961232344035e-1,
    -1.63153871373020978498e-2,
)
_Q3 = (
    2.33520497626869185443e-3,
    6.05183413124413191178e-2,
    5.27905102951428412248e-1,
    1.87295284992346047209e0,
    2.56852019228982242072e0,
    1.0,
)
_INV_SQRT_PI = 0.564189583547756286948


def polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    """By Horner's rule; the coefficients begin with the constant."""
    out = coefficients[-1]
    for c in coefficients[-2::-1]:
        out = out * x + c
    return out


def _erf_parts(x: Any) -> tuple[Any, Any, Any]:
    """(erf for |x| <= 0.5, erfc of |x| beyond, the mask of the first)."""
    xp = xp_of(x)
    a = xp.abs(x)
    small = a <= 0.5
    tail = xp.exp(-a * a) * _scaled_tail(a)
    return _erf_near(xp.where(small, x, 0.0)), xp.where(a > 27.0, 0.0, tail), small


def _erf_near(s: Any) -> Any:
    return s * polynomial(s * s, _P1) / polynomial(s * s, _Q1)


def _scaled_tail(a: Any) -> Any:
    """exp(a²) erfc(a) for a >= 0.5 (what it is at 0.5 for smaller a)."""
    xp = xp_of(a)
    m = xp.clip(a, 0.5, 4.0)
    f = xp.maximum(a, 4.0)
    r = 1.0 / (f * f)
    far = (_INV_SQRT_PI + r * polynomial(r, _P3) / polynomial(r, _Q3)) / f
    return xp.where(a <= 4.0, polynomial(m, _P2) / polynomial(m, _Q2), far)


def erfcx_positive(a: Any) -> Any:
    """exp(a²) erfc(a) for a >= 0, in float64."""
    xp = xp_of(a)
    small = a <= 0.5
    s = xp.where(small, a, 0.0)
    return xp.where(small, xp.exp(s * s) * (1.0 - _erf_near(s)), _scaled_tail(a))


BLOCK = 1 << 16  # elements: the temporaries of a long formula stay in the cache


def in_blocks(fn: Any) -> Any:
    """The elementwise function, over NumPy arrays block by block."""

    def impl(x: Any) -> Any:
        if x.__class__ is not np.ndarray or x.size <= BLOCK:
            return fn(x)
        flat, out = x.reshape(-1), np.empty(x.size, x.dtype)
        for start in range(0, x.size, BLOCK):
            out[start : start + BLOCK] = fn(flat[start : start + BLOCK])
        return out.reshape(x.shape)

    return impl


# atanh(erf(x)) / x as a polynomial in x², up to |x| = 4, where erf is 1 in float32; fitted for small relative error.
_ATANH_ERF = (
    1.128379246,
    0.1027698973,
    -0.0001954332986,
    -0.000614625339,
    8.446197513e-05,
    -4.754670744e-06,
    2.216178498e-08,
    5.689268728e-09,
)


def _erf32(x: Any) -> Any:
    single = np.float32
    bounded = xp_of(x).clip(x, single(-4), single(4))
    square = bounded * bounded
    p = square * single(_ATANH_ERF[-1])
    for c in _ATANH_ERF[-2:0:-1]:
        p += single(c)
        p *= square
    p += single(_ATANH_ERF[0])
    p *= bounded
    return np.tanh(p)


def _erf64(x: Any) -> Any:
    xp = xp_of(x)
    near, tail, small = _erf_parts(x)
    out = xp.where(small, near, xp.sign(x) * (1.0 - tail))
    return xp.where(xp.isnan(x), x, out)


@in_blocks
def erf(x: Any) -> Any:
    return _erf64(x) if x.dtype == np.float64 else _erf32(x.astype(np.float32)).astype(x.dtype)


@in_blocks
def erfc(x: Any) -> Any:
    xp = xp_of(x)
    wide = xp.asarray(x, dtype=np.float64)
    near, tail, small = _erf_parts(wide)
    out = xp.where(small, 1.0 - near, xp.where(wide < 0, 2.0 - tail, tail))
    return xp.where(xp.isnan(wide), wide, out).astype(x.dtype)


def widened(fn: Any) -> Any:
    """The function, computed in float32 for two-byte floats and rounded once."""

    def impl(x: Any, **kw: Any) -> Any:
        return fn(x.astype(np.float32), **kw).astype(x.dtype) if x.dtype.itemsize == 2 and is_float(x) else fn(x, **kw)

    return impl


def widened2(fn: Any) -> Any:
    """The same for a function of two operands (ml_dtypes lacks some for bfloat16)."""

    def impl(x: Any, y: Any) -> Any:
        a = x if hasattr(x, "dtype") else y
        if a.dtype.kind != "V":
            return fn(x, y)
        return fn(*[v.astype(np.float32) if hasattr(v, "dtype") else v for v in (x, y)]).astype(a.dtype)

    return impl


def is_float(x: Any) -> bool:
    """Whether a raw array is floating-point (bfloat16, which NumPy calls void, included)."""
    return x.dtype.kind in "fV"


def _sigmoid(x: Any) -> Any:
    one = x.dtype.type(1)
    return one / (one + np.exp(-x))  # exp overflows to infinity, the quotient to 0


sigmoid = widened(_sigmoid)


def exp2(x: Any) -> Any:
    return np.exp(x * x.dtype.type(math.log(2))) if x.dtype.kind == "c" else np.exp2(x)


def logaddexp(x: Any, y: Any) -> Any:
    if x.dtype.kind != "c":
        return np.logaddexp(x, y)
    larger = x.real >= y.real
    return np.where(larger, x, y) + np.log1p(np.exp(np.where(larger, y - x, x - y)))


logaddexp2 = widened2(np.logaddexp2)


def sign(x: Any) -> Any:
    """-1, 0 or 1; 0 for NaN. Of a complex number x / |x|."""
    if x.dtype.kind == "c":
        size = abs(x)
        return np.where(size == 0, x.dtype.type(0), x / np.where(size == 0, size.dtype.type(1), size))
    return x.copy() if x.dtype == bool else (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


def clip(x: Any, *, low: Any, high: Any) -> Any:
    """x within [low, high], of which one may be None; NaN stays."""
    kind = x.dtype.type
    above = x if low is None else np.maximum(x, kind(low))
    return above if high is None else np.minimum(above, kind(high))


_POWERS: dict[float, Any] = {  # as PyTorch computes them; NumPy's power takes a hundred times as long
    1: np.positive, 2: np.square, 3: lambda x: x * x * x, 4: lambda x: np.square(x * x), 0.5: np.sqrt,
    -0.5: lambda x: x.dtype.type(1) / np.sqrt(x), -1: lambda x: x.dtype.type(1) / x,
    -2: lambda x: x.dtype.type(1) / (x * x),
}  # fmt: skip


def power(x: Any, y: Any) -> Any:
    """x ** y; whole numbers to a negative power are 0, or 1 and -1 for the powers of these."""
    if y.__class__ in (int, float) and y in _POWERS and x.dtype.kind == "f" and x.dtype.itemsize > 2:
        return _POWERS[y](x)
    if getattr(x, "dtype", None) == np.bool_:
        return np.logical_or(x, np.logical_not(y))
    if np.result_type(x, y).kind != "i" or not np.less(y, 0).any():
        return np.power(x, y)
    odd = np.remainder(y, 2) == 1
    small = np.where(np.equal(x, 1), 1, np.where(np.equal(x, -1), np.where(odd, -1, 1), 0))
    return np.where(np.less(y, 0), small, np.power(x, np.maximum(y, 0))).astype(np.result_type(x, y))


def whole_division(fn: Any) -> Any:
    """The function, refusing to divide whole numbers by zero (NumPy would give 0)."""

    def impl(x: Any, y: Any) -> Any:
        if getattr(x, "dtype", None) == np.bool_ == getattr(y, "dtype", None):
            raise TypeError("division of bools is not supported; convert one with .int() or .float()")
        if y.__class__ is np.ndarray and y.dtype.kind in "iu" and not y.all():
            raise RuntimeError("ZeroDivisionError: a division of integers by zero")
        if y.__class__ is int and y == 0 and x.dtype.kind in "iu":
            raise RuntimeError("ZeroDivisionError: a division of integers by zero")
        return fn(x, y)

    return impl


def trunc_divide(x: Any, y: Any) -> Any:
    """x / y rounded toward zero, in the operands' dtype."""
    if np.result_type(x, y).kind in "iu":
        q = np.floor_divide(x, y)
        return q + ((np.remainder(x, y) != 0) & ((x < 0) != (y < 0)))
    return np.trunc(np.true_divide(x, y))
