"""Inverses and tails of the error function on raw arrays, computed in float64: erfinv, ndtri, erfcx, log_ndtr.

The start of erfinv is M. Giles, "Approximating the erfinv function" (GPU Computing Gems 2, 2011), good to single
precision; far out in the tail it is the leading term of the asymptotic expansion. Halley's method does the
rest: each step triples the digits.
"""

import math
from typing import Any

from expkit.tensor.devices import xp_of
from expkit.tensor.ops.gamma import in_float64
from expkit.tensor.ops.special import erf, erfc, erfcx_positive, polynomial

_NEAR = (
    1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087, -4.39150654e-06, -3.5233877e-06,
    3.43273939e-07, 2.81022636e-08,
)  # fmt: skip
_FAR = (
    2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773, -0.00367342844, 0.00134934322, 0.000100950558,
    -0.000200214257,
)  # fmt: skip


_HALF_ROOT_PI = 0.5 * math.sqrt(math.pi)


def _inverse(y: Any, q: Any) -> Any:
    """x >= 0 with erf(x) = y and erfc(x) = q = 1 - y, for 0 < q <= 1: solved for the smaller of both."""
    xp = xp_of(q)
    w = -xp.log(q * (2.0 - q))
    near = y * xp.where(w < 5.0, polynomial(w - 2.5, _NEAR), polynomial(xp.sqrt(w) - 3.0, _FAR))
    tail = -xp.log(xp.minimum(q, 0.4)) - 0.5 * math.log(math.pi)
    x = xp.where(w < 16.0, near, xp.sqrt(tail - 0.5 * xp.log(tail)))
    for _ in range(2):
        a = (erf(x) - y) * xp.exp(x * x) * _HALF_ROOT_PI
        scaled = erfcx_positive(x)  # logarithms: q and erfc(x) may lie below the smallest number
        b = (xp.log(q) + x * x - xp.log(scaled)) * scaled * _HALF_ROOT_PI
        x = x - xp.where(y < 0.5, a / (1.0 + x * a), b / (1.0 + b * (x - 0.5 / (_HALF_ROOT_PI * scaled))))
    return x


@in_float64
def erfinv(y: Any) -> Any:
    """x with erf(x) = y: infinite at 1 and -1, NaN beyond."""
    xp = xp_of(y)
    size = xp.abs(y)
    inside = size < 1.0
    bounded = xp.where(inside, size, 0.0)
    x = xp.where(inside, _inverse(bounded, 1.0 - bounded), xp.where(size == 1.0, math.inf, math.nan))
    return xp.copysign(x, y)


@in_float64
def ndtri(p: Any) -> Any:
    """The quantile of the normal distribution: x with ndtr(x) = p."""
    xp = xp_of(p)
    lower = p < 0.5
    q = 2.0 * xp.where(lower, p, 1.0 - p)
    inside = (p > 0.0) & (p < 1.0)
    q = xp.where(inside, q, 1.0)
    x = math.sqrt(2.0) * _inverse(1.0 - q, q)
    x = xp.where(inside, x, xp.where((p == 0.0) | (p == 1.0), math.inf, math.nan))
    return xp.where(lower, -x, x)


@in_float64
def erfcx(x: Any) -> Any:
    """exp(x²) erfc(x), without underflow."""
    return _erfcx(x)


def _erfcx(x: Any) -> Any:
    xp = xp_of(x)
    right = erfcx_positive(xp.abs(x))
    return xp.where(x < 0, 2.0 * xp.exp(x * x) - right, right)


@in_float64
def log_ndtr(x: Any) -> Any:
    """The logarithm of the normal distribution function, without underflow."""
    xp = xp_of(x)
    z = x * math.sqrt(0.5)
    left = x < -1.0
    tail = xp.log(_erfcx(xp.where(left, -z, 1.0)) * 0.5) - z * z
    return xp.where(left, tail, xp.log1p(-0.5 * erfc(xp.where(left, 1.0, z))))
