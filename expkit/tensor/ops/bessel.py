"""Modified Bessel functions of the first kind on raw arrays, computed in float64: i0, i1, also times exp(-|x|).

The power series has positive terms only, so that it loses no digits; it serves up to 20. From there on the asymptotic
expansion does (Abramowitz and Stegun 9.6.10, 9.7.1): its smallest term lies below rounding.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.tensor.devices import xp_of
from expkit.tensor.ops.gamma import in_float64

FAR, TERMS, FAR_TERMS = 20.0, 52, 26


def _near(order: int, a: Any) -> Any:
    """I(a) by its power series."""
    quarter = a * a * 0.25
    term = (a * 0.5) ** order
    total = term
    for k in range(1, TERMS):
        term = term * quarter / (k * (k + order))
        total = total + term
    return total


def _far(order: int, a: Any) -> Any:
    """exp(-a) I(a) by its expansion in 1 / a."""
    term = total = np.ones_like(a)
    for k in range(1, FAR_TERMS):
        term = term * ((2 * k - 1) ** 2 - 4 * order * order) / (8.0 * k * a)
        total = total + term
    return total / np.sqrt(2.0 * math.pi * a)


def _bessel(order: int, scaled: bool) -> Callable[[Any], Any]:
    def fn(x: Any) -> Any:
        xp = xp_of(x)
        a = xp.abs(x)
        far = a >= FAR
        near, end = xp.where(far, 1.0, a), xp.where(far, a, FAR)
        value = _near(order, near), _far(order, end)
        out = xp.where(far, value[1], value[0] * xp.exp(-near)) if scaled else _grown(xp, far, value, end)
        out = xp.where(xp.isinf(a), 0.0 if scaled else math.inf, out)
        return out * xp.sign(x) if order else out

    return fn


def _grown(xp: Any, far: Any, value: tuple[Any, Any], end: Any) -> Any:
    half = xp.exp(end * 0.5)  # in two steps: exp overflows before the function does
    return xp.where(far, value[1] * half * half, value[0])


i0, i0e, i1, i1e = (in_float64(_bessel(order, scaled)) for order in (0, 1) for scaled in (False, True))
