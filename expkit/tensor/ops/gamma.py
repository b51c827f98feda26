"""The gamma function's relatives on raw arrays, computed in float64: lgamma, digamma, polygamma.

Arguments are shifted by the recurrence to where a series is short. lgamma on [2, 3) is a rational function of
S. Moshier's Cephes library (lgam); the series of Stirling and the Euler-Maclaurin sum of the Hurwitz zeta function have
Bernoulli numbers B(2k) as coefficients (Abramowitz and Stegun 6.1.41, 6.3.18, 23.2).
"""

import math
from functools import cache, wraps
from typing import Any

import numpy as np

from expkit.tensor.devices import xp_of
from expkit.tensor.ops.special import BLOCK, polynomial

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)
STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1))
DIGAMMA = tuple(b / (2 * k) for k, b in enumerate(BERNOULLI, 1))
FAR = 13.0  # from here on Stirling's series has all digits

# lgamma(2 + x) = x P(x) / Q(x) on [0, 1), from the constant term on.
_P = (
    -8.53555664245765465627e5, -1.72173700820839662146e6, -1.16237097492762307383e6, -3.31612992738871184744e5,
    -3.88016315134637840924e4, -1.37825152569120859100e3,
)  # fmt: skip
_Q = (
    -2.01889141433532773231e6, -2.53252307177582951285e6, -1.13933444367982507207e6, -2.20528590553854454839e5,
    -1.70642106651881159223e4, -3.51815701436523470549e2, 1.0,
)  # fmt: skip


def in_float64(fn: Any) -> Any:
    """The function of arrays, computed in float64 block by block and rounded once to the argument's dtype."""

    @wraps(fn)
    def impl(x: Any, **kw: Any) -> Any:
        if x.__class__ is not np.ndarray or x.size <= BLOCK:
            return fn(x.astype(np.float64), **kw).astype(x.dtype)
        flat, out = x.reshape(-1), np.empty(x.size, x.dtype)
        for start in range(0, x.size, BLOCK):
            out[start : start + BLOCK] = fn(flat[start : start + BLOCK].astype(np.float64), **kw)
        return out.reshape(x.shape)

    return impl


def _sin_pi(x: Any) -> Any:
    """sin(pi x), exactly 0 at whole numbers."""
    nearest = np.rint(x)
    sign = 1.0 - 2.0 * np.remainder(nearest, 2.0)
    return sign * np.sin((x - nearest) * math.pi)


def _lgamma_near(x: Any) -> Any:
    """For 0 < x < FAR: by the recurrence from [2, 3)."""
    xp = xp_of(x)
    below = xp.where(x < 2.0, x, 1.0) * xp.where(x < 1.0, x + 1.0, 1.0)
    above = xp.ones_like(x)
    for k in range(1, int(FAR) - 2):
        above = above * xp.where(x >= k + 2, x - k, 1.0)
    rest = x - xp.floor(x)
    return xp.log(above) - xp.log(below) + rest * polynomial(rest, _P) / polynomial(rest, _Q)


def _lgamma_far(x: Any) -> Any:
    r = 1.0 / x
    return (x - 0.5) * np.log(x) - x + 0.5 * math.log(2 * math.pi) + r * polynomial(r * r, STIRLING[:7])


@in_float64
def lgamma(x: Any) -> Any:
    """log |gamma(x)|; infinite at 0 and the negative whole numbers."""
    xp = xp_of(x)
    size = xp.abs(x)
    far = size >= FAR
    value = xp.where(far, _lgamma_far(xp.where(far, size, FAR)), _lgamma_near(xp.where(far, 1.0, size)))
    mirrored = math.log(math.pi) - xp.log(xp.abs(_sin_pi(size) * size)) - value
    value = xp.where(x > 0, value, xp.where(xp.floor(x) == x, math.inf, mirrored))
    return xp.where(xp.isinf(x), math.inf, xp.where(xp.isnan(x), x, value))


def _digamma_positive(x: Any) -> Any:
    xp = xp_of(x)
    back = xp.zeros_like(x)
    for _ in range(10):
        low = x < 10.0
        back = xp.where(low, back + 1.0 / x, back)
        x = xp.where(low, x + 1.0, x)
    r = 1.0 / x
    return xp.log(x) - 0.5 * r - r * r * polynomial(r * r, DIGAMMA[:8]) - back


@in_float64
def digamma(x: Any) -> Any:
    """The derivative of log gamma; -inf at 0, NaN at the negative whole numbers."""
    xp = xp_of(x)
    below = x < 0.5
    value = _digamma_positive(xp.where(below, 1.0 - x, x))
    whole = xp.floor(x) == x
    r = x - xp.rint(x)
    cotangent = math.pi * xp.cos(math.pi * r) / xp.where(whole, 1.0, xp.sin(math.pi * r))
    value = xp.where(below, xp.where(whole, math.nan, value - cotangent), value)
    return xp.where(x == 0, xp.copysign(math.inf, -x), value)


def _hurwitz(n: int, q: Any) -> Any:
    """The sum of (q + k)^-n over k >= 0, for n >= 2 and q >= 0.5."""
    total = 0.0
    for _ in range(12):
        total = total + q**-n
        q = q + 1.0
    total = total + q ** (1 - n) / (n - 1) + 0.5 * q**-n
    factor, power, square = float(n), q ** (-n - 1), 1.0 / (q * q)
    for k, b in enumerate(BERNOULLI, 1):
        total = total + (b * factor / math.factorial(2 * k)) * power
        factor *= (n + 2 * k - 1) * (n + 2 * k)
        power = power * square
    return total


@cache
def _cotangent(n: int) -> tuple[float, ...]:
    """The n-th derivative of cot as a polynomial in cot: each is -(1 + c²) times the last one's derivative."""
    p = np.polynomial.Polynomial([0.0, 1.0])
    for _ in range(n):
        p = -p.deriv() * np.polynomial.Polynomial([1.0, 0.0, 1.0])
    return tuple(map(float, p.coef))


@in_float64
def polygamma(x: Any, *, n: int) -> Any:
    """The n-th derivative of digamma, n >= 1; at 0 and the negative whole numbers infinite."""
    xp = xp_of(x)
    below = x < 0.5
    sign = -1.0 if n % 2 == 0 else 1.0
    value = sign * math.factorial(n) * _hurwitz(n + 1, xp.where(below, 1.0 - x, x))
    r = x - xp.rint(x)
    whole = (r == 0) & below
    c = xp.cos(math.pi * r) / xp.where(whole, 1.0, xp.sin(math.pi * r))
    mirrored = -sign * value - math.pi ** (n + 1) * polynomial(c, _cotangent(n))
    return xp.where(below, xp.where(whole, sign * math.inf, mirrored), value)
