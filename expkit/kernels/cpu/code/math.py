"""Elementary functions as straight-line code that LLVM's loop vectoriser turns into SIMD: no branches, no calls.

Each takes and returns a Value of kind f4 or f8. NaN, infinities, signed zeros and denormals come out as C's functions
give them. Errors, in units in the last place: at most 2.5; erfc 7, tan 4; normal_cdf of float32 2e-7 at all. sin, cos
and tan beyond 2**20 (float64) and 2**30 (float32, whose multiple of π is taken away in float64) call large.py's code.

Polynomials are Chebyshev fits; log and log1p follow FreeBSD's msun; erfc is exp(-x²) times a polynomial in
(x - K) / (x + K), after Shepherd and Laframboise, Math. Comp. 36 (1981).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from expkit.kernels.cpu.code.ir import Value, scalar_of
from expkit.kernels.cpu.code.large import patched


class Format(NamedTuple):
    """What a float format's code needs: layout, ln 2 in two parts, bounds, coefficients (lowest power first)."""

    mantissa: int
    bias: int
    magic: float  # added and taken away: rounds to an integer, whose bits are then the lowest ones of the sum
    ln2: tuple[float, float]
    low: float  # exp is 0 below, infinite above `high`
    high: float
    tiny: float  # the smallest normal number
    exp: Sequence[float]  # (e^r - 1 - r) / r²
    log: Sequence[float]
    erf: Sequence[float]  # erf(x) / x by x², |x| <= 1
    erfc: Sequence[float]  # exp(x²) erfc(x) (x + K / 2) by (x - K) / (x + K)
    center: float  # K
    flat: float  # tanh and expm1 have reached their limits beyond
    far: float  # erfc is 0 beyond


F4 = Format(
    23, 127, 12582912.0, (0.693145751953125, 1.42860682030941723212e-6), -104.0, 89.0, 2.0**-126,
    (0.5, 0.16666576989698775683, 0.041666554617204574203, 0.0083631790527225773704, 0.0013926183587713494542),
    (0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841),
    (1.128379165848350946, -0.37612626666720331023, 0.11283594715160217732, -0.026854212010626412443,
     0.0051890874234339739861, -0.00080168642871658695293, 0.000078758750626854883411),
    (0.76618702898533669675, -0.25997482130121157963, 0.037813906779362780551, 0.042535406474122430267,
     -0.025243666854762335852, -0.00050290924872215114105, 0.0039310575927062347783, 0.000055878368645976248222,
     -0.00062996378417327279097),
    2.0, 20.0, 10.1,
)  # fmt: skip
F8 = Format(
    52, 1023, 6755399441055744.0, (6.93147180369123816490e-01, 1.90821492927058770002e-10), -746.0, 710.0, 2.0**-1022,
    (0.50000000000000010221, 0.16666666666666667453, 0.041666666666624127873, 0.0083333333333300618325,
     0.0013888888917213716901, 0.00019841269863053616878, 0.000024801521295954375131, 2.7557268459997064772e-6,
     2.7620088445409748161e-7, 2.5100385495510319078e-8),
    (6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
     1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01),
    (1.1283791670955125738, -0.37612638903183748056, 0.11283791670954878666, -0.026866170645076793248,
     0.0052239776248180144673, -0.00085483269808337899052, 0.00012055331111642710923, -0.000014925595266831181565,
     1.6461000484121368033e-6, -1.6350312701054695011e-7, 1.4659775274047435814e-8, -1.137284885679167367e-9,
     5.9571761477489114044e-11),
    (0.82199674575036833932, -0.45841263156053871056, 0.33576934442870737772, -0.21233819791861809088,
     0.11292523308019290042, -0.047795305960394412718, 0.01378340187229592797, -0.00068216127914486835671,
     -0.0020084715987736573503, 0.0013172947806303126484, -0.00041152917498154381539, 0.000018846315520928795084,
     0.000041476505673128306455, -0.000015053786498976713626, -1.193262207921609608e-6, 2.2394197755327591787e-6,
     -2.8102138133636609952e-7, -2.630703099105369528e-7, 7.6807794152605910518e-8, 2.5171319798306260527e-8,
     -1.1960748203109947538e-8),
    4.0, 40.0, 27.3,
)  # fmt: skip
FORMATS = {"f4": F4, "f8": F8}
CDF = (
    (0.3989422619342804, 0.03421427309513092, 0.00469357892870903, 0.0001716215629130602, 6.288093118200777e-06,
     2.195107917657424e-08),
    (1.0, 0.25242874026298523, 0.028837518766522408, 0.001900908537209034, 7.40983959985897e-05,
     1.1693828128045425e-06),
)  # fmt: skip
LOG2E = 1.44269504088896340736
SINE = (
    -0.16666666666666666665, 0.0083333333333333314699, -0.00019841269841265017028, 2.7557319219301918704e-6,
    -2.5052106219521894233e-8, 1.6058529572267876353e-10, -7.5865765881710724626e-13,
)  # fmt: skip
COSINE = (
    0.041666666666666666666, -0.0013888888888888887853, 0.000024801587301584619787, -2.7557319221382115583e-7,
    2.087675578389403842e-9, -1.1470459749675606144e-11, 4.745804889760674174e-14,
)  # fmt: skip
HALF_PI = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)


def poly(x: Value, coefficients: Sequence[float]) -> Value:
    out = x.like(coefficients[-1])
    for c in coefficients[-2::-1]:
        out = out.fma(x, c)
    return out


def fabs(x: Value) -> Value:
    return x.block.call("fabs", x)


def copysign(x: Value, sign: Value) -> Value:
    return x.block.call("copysign", x, sign)


def bounded(x: Value, low: float, high: float) -> Value:
    """x within the bounds; NaN stays."""
    x = x.compare("lt", low).select(low, x)
    return x.compare("gt", high).select(high, x)


def _power(n: Value, f: Format) -> Value:
    """2**n for an integer within the exponents of normal numbers."""
    return (n + f.bias).binary("shl", f.mantissa).as_float()


def _nearest(x: Value, f: Format) -> tuple[Value, Value]:
    """The nearest whole number, as a float and as an integer."""
    t = x + f.magic
    return t - f.magic, t.bits() - x.like(f.magic).bits()


def _reduced(x: Value, f: Format, less: Value | None = None) -> tuple[Value, Value]:
    """(n, e^r - 1) of x - less = n ln 2 + r; `less` is small."""
    k, n = _nearest(x * LOG2E, f)
    r = k.fma(-f.ln2[1], k.fma(-f.ln2[0], x))
    r = r if less is None else r - less
    return n, (r * r).fma(poly(r, f.exp), r)


def exp(x: Value, less: Value | None = None) -> Value:
    """e^x, or e^(x - less) for a small `less` whose digits x could not hold."""
    f = FORMATS[scalar_of(x.kind)]
    n, small = _reduced(bounded(x, f.low, f.high), f, less)
    half = n.binary("ashr", 1)  # two factors: the first may not leave the range where the product does
    return (small + 1) * _power(half, f) * _power(n - half, f)


def expm1(x: Value) -> Value:
    f = FORMATS[scalar_of(x.kind)]
    n, small = _reduced(bounded(x, -f.flat, f.high), f)
    scale = _power(n - 1, f)
    return copysign(small.fma(scale, scale - 0.5) * 2, x)


def _split(x: Value, f: Format) -> tuple[Value, Value]:
    """(k, f) of x = 2**k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2); x positive and finite."""
    denormal = x.compare("lt", f.tiny)
    x = denormal.select(x * 2.0 ** (f.mantissa + 2), x)
    bits = x.bits()
    offset = bits.block.constant(x.kind, 0.5**0.5).bits()
    moved = bits - offset
    n = moved.binary("ashr", f.mantissa)
    mantissa = (bits - n.binary("shl", f.mantissa)).as_float()
    k = n.to(x.kind) - denormal.select(x.like(f.mantissa + 2.0), x.like(0.0))
    return k, mantissa - 1


def _log1p_small(f1: Value, f: Format) -> tuple[Value, Value]:
    """(f - s, s) where log(1 + f) = f - (f²/2 - s), s small: msun's kernel, in two parts."""
    s = f1 / (f1 + 2)
    z = s * s
    half = f1 * f1 * 0.5
    return half, s * (half + z * poly(z, f.log))


def _log_limits(x: Value, out: Value) -> Value:
    """The logarithm at 0, infinity, NaN and below 0; `out` elsewhere."""
    out = x.compare("eq", 0.0).select(float("-inf"), out)
    out = x.compare("lt", float("inf")).select(out, x)
    return x.compare("lt", 0.0).select(float("nan"), out)


def log(x: Value) -> Value:
    f = FORMATS[scalar_of(x.kind)]
    k, m = _split(x, f)
    half, rest = _log1p_small(m, f)
    return _log_limits(x, k * f.ln2[0] + (m - (half - k.fma(f.ln2[1], rest))))


def log1p(x: Value) -> Value:
    f = FORMATS[scalar_of(x.kind)]
    u = x + 1
    lost = x.compare("gt", 1.0).select(1 - (u - x), x - (u - 1)) / u  # what rounding 1 + x took away
    k, m = _split(u, f)
    near = (k.compare("eq", 0.0)) & fabs(x).compare("lt", 0.5)
    m, lost = near.select(x, m), near.select(0.0, lost)
    half, rest = _log1p_small(m, f)
    out = k * f.ln2[0] + (m - (half - (rest + k.fma(f.ln2[1], lost))))
    return x.compare("eq", 0.0).select(x, _log1p_limits(x, u, out))


def _log1p_limits(x: Value, u: Value, out: Value) -> Value:
    out = u.compare("eq", 0.0).select(float("-inf"), out)
    out = x.compare("lt", float("inf")).select(out, x)
    return x.compare("lt", -1.0).select(float("nan"), out)


def _log_base(x: Value, per_two: tuple[float, float], per_e: tuple[float, float]) -> Value:
    """log2 or log10: the factor of ln in two parts, so that its rounding does not add to the logarithm's."""
    f = FORMATS[scalar_of(x.kind)]
    k, m = _split(x, f)
    half, rest = _log1p_small(m, f)
    high = ((m - half).bits() & (-1 << (12 if scalar_of(x.kind) == "f4" else 32))).as_float()
    low = (m - high) - half + rest
    small = (low + high) * per_e[1] + low * per_e[0]
    whole, part = k * per_two[0], high * per_e[0]
    total = whole + part
    return _log_limits(x, total + (small + ((whole - total) + part) + k * per_two[1]))


def log2(x: Value) -> Value:
    if scalar_of(x.kind) == "f4":
        return _log_base(x, (1.0, 0.0), (1.4428710938, -1.7605285393e-4))
    return _log_base(x, (1.0, 0.0), (1.44269504072144627571e00, 1.67517131648865118353e-10))


def log10(x: Value) -> Value:
    if scalar_of(x.kind) == "f4":
        return _log_base(x, (3.0102920532e-01, 7.9034151668e-07), (4.3432617188e-01, -3.1689971365e-05))
    per_two = (3.01029995663611771306e-01, 3.69423907715893078616e-13)
    return _log_base(x, per_two, (4.34294481878168880939e-01, 2.50829467116452752298e-11))


def tanh(x: Value) -> Value:
    a = fabs(x)
    t = expm1(a.compare("gt", 20.0).select(20.0, a) * 2)
    return copysign(t / (t + 2), x)


def sigmoid(x: Value) -> Value:
    e = exp(-fabs(x))
    return x.compare("lt", 0.0).select(e, x.like(1.0)) / (e + 1)


def softplus(x: Value) -> Value:
    """log(1 + e^x)."""
    rest = log1p(exp(-fabs(x)))
    return x.compare("le", 0.0).select(x.like(0.0), x) + rest


def _scaled_tail(a: Value, f: Format) -> Value:
    """erfc(a) for a >= 1; a² is split, lest its rounding error be blown up by exp."""
    high = (a.bits() & (-1 << (12 if scalar_of(a.kind) == "f4" else 27))).as_float()
    low = (a - high) * (a + high)
    t = (a - f.center) / (a + f.center)
    factor = poly(t, f.erfc) / (a + f.center / 2)
    return exp(-(high * high), low) * factor


def erf(x: Value) -> Value:
    f = FORMATS[scalar_of(x.kind)]
    a = fabs(x)
    near = x * poly(x * x, f.erf)
    b = a.compare("gt", 6.5).select(6.5, a)
    t = (b - f.center) / (b + f.center)
    far = 1 - exp(-(b * b)) * (poly(t, f.erfc) / (b + f.center / 2))
    return a.compare("lt", 1.0).select(near, copysign(far, x))


def erfc(x: Value) -> Value:
    f = FORMATS[scalar_of(x.kind)]
    a = fabs(x)
    near = 1 - x * poly(x * x, f.erf)
    tail = _scaled_tail(a.compare("gt", f.far + 0.5).select(f.far + 0.5, a), f)
    far = x.compare("lt", 0.0).select(2 - tail, tail)
    return a.compare("lt", 1.0).select(near, far)


def normal_cdf(x: Value) -> Value:
    """The distribution function of the normal distribution; exactly 0 and 1 at both ends.

    In float32 1/2 + x p(x²) / q(x²), fitted for equal relative errors of the second term: the tails have few digits,
    as those of 1 + erf(x / sqrt(2)) have, which takes twice as long.
    """
    if scalar_of(x.kind) == "f8":
        return (erf(x * 0.70710678118654752440) + 1) * 0.5
    b = bounded(x, -6.0, 6.0)
    z = b * b
    return bounded(b * poly(z, CDF[0]) / poly(z, CDF[1]), -0.5, 0.5) + 0.5


def _quadrant(x: Value, ahead: int = 0) -> tuple[Value, Value]:
    """(r, n): x = quadrant π/2 + r with |r| <= π/4; computed in float64, r in x's own format. The last two bits of n
    are those of quadrant + ahead."""
    wide, start = x.to("f8"), F8.magic + ahead
    t = wide * 0.63661977236758134308 + start
    k, n = t - start, t.bits()
    if scalar_of(x.kind) == "f4":
        return k.fma(-HALF_PI[1], k.fma(-HALF_PI[0], wide)).to("f4"), n.to("i4")
    return k.fma(-HALF_PI[2], k.fma(-HALF_PI[1], k.fma(-HALF_PI[0], x))), n


def _sine(r: Value, z: Value) -> Value:
    return r.fma(z * poly(z, SINE[: _terms(r)]), r)


def _odd_sine(r: Value, z: Value) -> Value:
    """_sine with r's sign, zeros too, at the cost of an instruction."""
    return (_sine(r, z).bits() | (r.bits() & _first(r))).as_float()


def _cosine(z: Value) -> Value:
    return (z * z).fma(poly(z, COSINE[: _terms(z)]), z.fma(-0.5, 1.0))


def _terms(x: Value) -> int:
    return 4 if scalar_of(x.kind) == "f4" else len(SINE)


def _first(x: Value) -> int:
    """The bit of the sign."""
    return -1 << (31 if scalar_of(x.kind) == "f4" else 63)


def _turned(r: Value, n: Value) -> Value:
    """The sine of n π/2 + r."""
    return _flipped(r, n, _odd_sine)


def _flipped(r: Value, n: Value, sine: Callable[[Value, Value], Value]) -> Value:
    """The same, by either sine."""
    z = r * r
    out = (n & 1).compare("eq", 0).select(sine(r, z), _cosine(z))
    sign = n << (30 if scalar_of(r.kind) == "f4" else 62)
    return (out.bits() ^ (sign & _first(r))).as_float()


def _slope(r: Value, n: Value) -> Value:
    """The tangent of n π/2 + r."""
    z = r * r
    sine, cosine = _odd_sine(r, z), _cosine(z)
    return (n & 1).compare("eq", 0).select(sine / cosine, -(cosine / sine))


def _limit(x: Value) -> float:
    """Up to which _quadrant's digits suffice."""
    return 2.0**30 if scalar_of(x.kind) == "f4" else 2.0**20


def sin(x: Value) -> Value:
    return patched("sin", x, _turned(*_quadrant(x)), _limit(x), _turned)


def cos(x: Value) -> Value:
    usual = _flipped(*_quadrant(x, 1), _sine)
    return patched("cos", x, usual, _limit(x), lambda r, n: _turned(r, n + 1))


def tan(x: Value) -> Value:
    return patched("tan", x, _slope(*_quadrant(x)), _limit(x), _slope)


def sqrt(x: Value) -> Value:
    return x.block.call("sqrt", x)


def rsqrt(x: Value) -> Value:
    return 1 / sqrt(x)
