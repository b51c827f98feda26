"""The formulas of recurrent cells, once for all: for values of kernels, arrays and tensors alike.

    hidden = h Wᵀ (+ bias)                 rnn    h' = act(x + hidden)
    lstm   i, f, o = sigmoid(x + hidden), g = tanh(x + hidden);  c' = f c + i g;  h' = o tanh(c')
    gru    r, z = sigmoid(x + hidden), n = tanh(x + r hidden);  h' = n + z (h - n)

x is the input's part of the gates; x and hidden come as lists, gate by gate (Hochreiter and Schmidhuber, 1997, with the
forget gate of Gers et al., 2000; Cho et al., 2014, in the form that has one product of h).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Values = list[Any]


class Functions(NamedTuple):
    """What the formulas need besides arithmetic. positive: 1 where x > 0, else 0."""

    sigmoid: Callable[[Any], Any]
    tanh: Callable[[Any], Any]
    relu: Callable[[Any], Any]
    positive: Callable[[Any], Any]


class Step(NamedTuple):
    """The states after a step, and what backward needs of it (nothing where h says all)."""

    h: Any
    c: Any
    kept: Values


class Slope(NamedTuple):
    """Gradients: of x and of `hidden`, gate by gate; of h as far as it goes past `hidden` (None: it does not); of c."""

    x: Values
    hidden: Values
    h: Any
    c: Any


class Cell(NamedTuple):
    """step(functions, x, hidden, h, c) and slope(functions, kept, h, c, dh, dc).

    h and c are the states before the step, dh and dc the gradients of those after it.
    """

    gates: int
    kept: int  # values for each unit, 0: kept is h itself
    carries: bool  # has a state c
    apart: bool  # `hidden` has a bias of its own, and a gradient that is not that of x
    step: Callable[[Functions, Values, Values, Any, Any], Step]
    slope: Callable[[Functions, Values, Any, Any, Any, Any], Slope]
    projects: bool = False  # the layer makes h of the step's by one more matrix (h before and after is what that makes)


def _rnn(activation: str, slope_of: Callable[[Functions, Any], Any]) -> Cell:
    def step(m: Functions, x: Values, hidden: Values, _h: Any, _c: Any) -> Step:
        return Step(getattr(m, activation)(x[0] + hidden[0]), None, [])

    def slope(m: Functions, kept: Values, _h: Any, _c: Any, dh: Any, _dc: Any) -> Slope:
        d = [dh * slope_of(m, kept[0])]
        return Slope(d, d, None, None)

    return Cell(1, 0, False, False, step, slope)


def _lstm(m: Functions, x: Values, hidden: Values, _h: Any, c: Any) -> Step:
    acts = (m.sigmoid, m.sigmoid, m.tanh, m.sigmoid)
    i, f, g, o = (act(a + b) for act, a, b in zip(acts, x, hidden, strict=True))
    c = f * c + i * g
    return Step(o * m.tanh(c), c, [i, f, g, o])


def _lstm_slope(m: Functions, kept: Values, _h: Any, c: Any, dh: Any, dc: Any) -> Slope:
    i, f, g, o = kept
    t = m.tanh(f * c + i * g)
    dc = dc + dh * o * (1 - t * t)
    d = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * t * o * (1 - o)]
    return Slope(d, d, None, dc * f)


def _gru(m: Functions, x: Values, hidden: Values, h: Any, _c: Any) -> Step:
    r, z = (m.sigmoid(a + b) for a, b in zip(x[:2], hidden[:2], strict=True))
    n = m.tanh(x[2] + r * hidden[2])
    return Step(n + z * (h - n), None, [r, z, n, hidden[2]])


def _gru_slope(_m: Functions, kept: Values, h: Any, _c: Any, dh: Any, _dc: Any) -> Slope:
    r, z, n, hidden = kept
    dn = dh * (1 - z) * (1 - n * n)
    dr, dz = dn * hidden * r * (1 - r), dh * (h - n) * z * (1 - z)
    return Slope([dr, dz, dn], [dr, dz, dn * r], dh * z, None)


CELLS = {
    "rnn_tanh": _rnn("tanh", lambda _m, y: 1 - y * y),
    "rnn_relu": _rnn("relu", lambda m, y: m.positive(y)),
    "lstm": Cell(4, 4, True, False, _lstm, _lstm_slope),
    "gru": Cell(3, 4, False, True, _gru, _gru_slope),
}
CELLS["lstm_projected"] = CELLS["lstm"]._replace(projects=True)
