"""The transforms of Winograd's convolution F(4x4, 3x3) (Lavin and Gray, 2016) on vectors of channels.

Four results of a 3-tap filter are a product of polynomials taken at six points, multiplied there and interpolated back
(Toom and Cook): y = Aᵀ ((G w) · (Bᵀ d)). In two dimensions each matrix is applied to columns, then to rows. The points
are 0, ±3/4, ±3/2 and infinity: float32 errors are a quarter of those at the usual 0, ±1, ±2 (Barabasz et al., 2020).
All constants of A and B are exact in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

from expkit.kernels.cpu.code.ir import Value

OUT, TAPS = 4, 3  # results in a row of a tile, taps in a row of the filter
IN = OUT + TAPS - 1  # inputs that a row of a tile needs, and points
POINTS = IN * IN
NEAR, FAR = 0.75, 1.5
_PAIRS = ((NEAR, FAR * FAR), (FAR, NEAR * NEAR))  # a point ±p, and the other point's square
_SUM, _PRODUCT = NEAR**2 + FAR**2, NEAR**2 * FAR**2
_SCALES = [2 * p * p * (p * p - other) for p, other in _PAIRS]  # the product of p's distances from the other points
Row = list[Value]
Transform = Callable[[Sequence[Value]], Row]


def image_in(d: Sequence[Value]) -> Row:
    """Bᵀ d: six inputs -> six points."""
    first = d[2].fma(-_SUM, d[0].fma(_PRODUCT, d[4]))
    last = d[3].fma(-_SUM, d[1].fma(_PRODUCT, d[5]))
    return [first, *(x for p, other in _PAIRS for x in _pair(d[2].fma(-other, d[4]), d[1].fma(-other, d[3]), p)), last]


def image_out(m: Sequence[Value]) -> Row:
    """Aᵀ m: six points -> four results."""
    (even, odd), (even2, odd2) = _even_odd(m)
    p, q = NEAR, FAR
    return [
        m[0] + even + even2,
        odd2.fma(q, odd * p),
        even2.fma(q * q, even * (p * p)),
        odd2.fma(q**3, odd.fma(p**3, m[5])),
    ]


def filter_in(w: Sequence[Value]) -> Row:
    """G w: three taps -> six points."""
    pairs: Row = []
    for (p, _), scale in zip(_PAIRS, _SCALES, strict=True):
        pairs += _pair(w[2].fma(p * p, w[0]) * (1 / scale), w[1] * (1 / scale), p)
    return [w[0] * (1 / _PRODUCT), *pairs, w[2]]


def gradient_in(g: Sequence[Value]) -> Row:
    """A g: the gradients of four results -> six points."""
    pairs = [x for p, _ in _PAIRS for x in _pair(g[2].fma(p * p, g[0]), g[3].fma(p * p, g[1]), p)]
    return [g[0], *pairs, g[3]]


def filter_out(u: Sequence[Value]) -> Row:
    """Gᵀ u: six points -> three taps' gradients."""
    (even, odd), (even2, odd2) = _even_odd(u)
    p, q = NEAR, FAR
    s, t = (1 / scale for scale in _SCALES)
    return [
        even2.fma(t, even.fma(s, u[0] * (1 / _PRODUCT))),
        odd2.fma(q * t, odd * (p * s)),
        even2.fma(q * q * t, even.fma(p * p * s, u[5])),
    ]


def both_ways(transform: Transform, grid: Sequence[Value]) -> Row:
    """The transform of a square grid's columns, then of the rows of what that gives; grids row by row."""
    size = isqrt(len(grid))
    columns = [transform(grid[j::size]) for j in range(size)]
    return [x for row in zip(*columns, strict=True) for x in transform(row)]


def _pair(even: Value, odd: Value, p: float) -> Row:
    """A polynomial at p and -p from its even part and its odd part over p."""
    return [odd.fma(p, even), odd.fma(-p, even)]


def _even_odd(points: Sequence[Value]) -> list[Row]:
    """Sums and differences over each pair of points."""
    return [[points[k] + points[k + 1], points[k] - points[k + 1]] for k in (1, 3)]
