"""Poisson random numbers, on tensors, from a source of uniform ones.

Small rates are inverted: the count is how often the distribution function lies below a uniform number. Large ones are
drawn by transformed rejection (W. Hörmann, "The transformed rejection method for generating Poisson random variables",
Insurance: Mathematics and Economics 12, 1993, algorithm PTRS).
"""

from collections.abc import Callable
from math import lgamma
from typing import Any

import numpy as np

from expkit.tensor.ops.elementwise import abs as magnitude
from expkit.tensor.ops.elementwise import choose, exp, floor, log, logical_and, logical_or
from expkit.tensor.parts import array_of

LARGE = 10.0  # the rate from which rejection is used

Source = Callable[[], Any]


def counts(rate: Any, uniform: Source) -> Any:
    """Draws for the rates (float64)."""
    array_of(rate, "poisson()")
    large = rate >= LARGE
    out = _inverted(choose(large, 0.0, rate), uniform())
    return choose(large, _rejected(choose(large, rate, LARGE), uniform), out) if bool(large.any()) else out


def _inverted(rate: Any, u: Any) -> Any:
    part = exp(-rate)
    below, count = part, u * 0.0
    for k in range(1, 100):  # beyond 99 lies less than 1e-60 of a rate of 10
        over = u >= below
        if not bool(over.any()):
            break
        count = count + over.double()
        part = part * rate / k
        below = below + part
    return count


def _log_factorial(k: Any) -> Any:
    """Stirling's series, exact values below 10."""
    table = k.new_tensor(np.array([lgamma(i + 1.0) for i in range(10)]))
    x = k.clamp(min=10.0) + 1.0
    series = (x - 0.5) * log(x) - x + 0.9189385332046727 + 1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5)
    return choose(k < 10, table[k.clamp(0, 9).long()], series)


def _rejected(rate: Any, uniform: Source) -> Any:
    b = 0.931 + 2.53 * rate**0.5
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    quick = 0.9277 - 3.6224 / (b - 2)
    out, missing = rate * 0.0, rate > 0
    while bool(missing.any()):
        u, v = uniform() - 0.5, uniform()
        room = 0.5 - magnitude(u)
        k = floor((2 * a / room + b) * u + rate + 0.43)
        sure = logical_and(room >= 0.07, v <= quick)
        possible = logical_and(k >= 0, logical_or(room >= 0.013, v <= room))
        likely = log(v * inverse / (a / (room * room) + b)) <= k * log(rate) - rate - _log_factorial(k.clamp(min=0.0))
        taken = logical_and(missing, logical_or(sure, logical_and(possible, likely)))
        out = choose(taken, k, out)
        missing = logical_and(missing, ~taken)
    return out
