"""Special functions: of the gamma, normal, entropy and Bessel families."""

import math
from collections.abc import Callable
from typing import Any

from expkit.autograd.tape import apply1
from expkit.tensor.devices import xp_of
from expkit.tensor.ops import bessel, gamma, quantiles
from expkit.tensor.ops.arguments import COMPLEX, refuse, require_tensor
from expkit.tensor.ops.convert import floating
from expkit.tensor.ops.elementwise import add, div, erfc, log, mul, sub
from expkit.tensor.ops.functions import binary_function, unary_function
from expkit.tensor.ops.kinds import binary, unary, zeros_raw
from expkit.tensor.ops.pointwise import (
    eq_p,
    exp_p,
    le_p,
    log1p_p,
    log_p,
    logical_and_p,
    sign_p,
    times,
    where_p,
)
from expkit.tensor.ops.special import widened, widened2
from expkit.tensor.ops.ternary import clamp

# ---- primitives ------------------------------------------------------------------------------------------------------

lgamma_p = unary("lgamma", gamma.lgamma, lambda g, _out, x: g * digamma_p(x))
digamma_p = unary("digamma", gamma.digamma, lambda g, _out, x: g * polygamma_p(x, n=1))
polygamma_p = unary("polygamma", gamma.polygamma, lambda g, _out, x, *, n: g * polygamma_p(x, n=n + 1))

# (erfinv keeps x as well: the result may be overwritten, and is then computed again)
erfinv_p = unary("erfinv", quantiles.erfinv, lambda g, out, x: times(g * exp_p(out * out), 0.5 * math.sqrt(math.pi)))
ndtri_p = unary(
    "ndtri", quantiles.ndtri, lambda g, out, _x: times(g * exp_p(times(out * out, 0.5)), math.sqrt(2 * math.pi))
)
erfcx_p = unary("erfcx", quantiles.erfcx, lambda g, out, x: g * (times(x * out, 2.0) - 2 / math.sqrt(math.pi)))
log_ndtr_p = unary(
    "log_ndtr",
    quantiles.log_ndtr,
    lambda g, _out, x: times(g / erfcx_p(times(x, -math.sqrt(0.5))), math.sqrt(2 / math.pi)),
)


def _over_x(value: Any, x: Any, at_zero: float) -> Any:
    """value / x, where x is 0 its limit."""
    origin = eq_p(x, 0)
    return where_p(origin, times(zeros_raw(x) + 1, at_zero), value / where_p(origin, zeros_raw(x) + 1, x))


i0_p = unary("i0", bessel.i0, lambda g, _out, x: g * i1_p(x))
i1_p = unary("i1", bessel.i1, lambda g, out, x: g * (i0_p(x) - _over_x(out, x, 0.5)))
i0e_p = unary("i0e", bessel.i0e, lambda g, out, x: g * (i1e_p(x) - sign_p(x) * out))
i1e_p = unary("i1e", bessel.i1e, lambda g, out, x: g * (i0e_p(x) - sign_p(x) * out - _over_x(out, x, 0.5)))


def _entropy(x: Any) -> Any:
    xp = xp_of(x)
    inside = xp.where(x > 0, x, x.dtype.type(1))
    value = xp.where(x == 0, x.dtype.type(0), xp.where(x < 0, x.dtype.type(-math.inf), -inside * xp.log(inside)))
    return xp.where(xp.isnan(x), x, value)


entr_p = unary("entr", widened(_entropy), lambda g, _out, x: g * (-log_p(x) - 1))


def _times_log(log: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def impl(x: Any, y: Any) -> Any:
        xp = xp_of(x if hasattr(x, "dtype") else y)
        return xp.where((x == 0) & ~xp.isnan(y), 0 * x, x * log(xp, y))

    return widened2(impl)


def _log_slope(g: Any, x: Any, y: Any, log: Any, least: float) -> Any:
    """The gradient of x in x log(y): 0 where both are too small."""
    gone = logical_and_p(eq_p(x, 0), le_p(y, least))
    return where_p(gone, zeros_raw(g), g * log(y))


xlogy_p = binary(
    "xlogy",
    _times_log(lambda xp, y: xp.log(y)),
    (lambda g, _out, x, y: _log_slope(g, x, y, log_p, 0), lambda g, _out, x, y: g * x / y),
)
xlog1py_p = binary(
    "xlog1py",
    _times_log(lambda xp, y: xp.log1p(y)),
    (lambda g, _out, x, y: _log_slope(g, x, y, log1p_p, -1), lambda g, _out, x, y: g * x / (y + 1)),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def _real(prim: Any, doc: str) -> Callable[..., Any]:
    return unary_function(prim, doc, refuses=COMPLEX)


lgamma = _real(lgamma_p, "log |gamma(x)|.")
digamma = _real(digamma_p, "The derivative of log gamma.")
erfinv = _real(erfinv_p, "The inverse of erf: infinite at 1 and -1, NaN beyond.")
erfcx = _real(erfcx_p, "exp(x²) erfc(x), without underflow.")
ndtri = _real(ndtri_p, "The quantile of the standard normal distribution.")
log_ndtr = _real(log_ndtr_p, "The logarithm of the standard normal distribution function.")
entr = _real(entr_p, "-x log(x): 0 at 0, -inf below.")
i0 = _real(i0_p, "The modified Bessel function of the first kind, of order 0.")
i0e = _real(i0e_p, "exp(-|x|) i0(x).")
i1 = _real(i1_p, "The modified Bessel function of the first kind, of order 1.")
i1e = _real(i1e_p, "exp(-|x|) i1(x).")
xlogy = binary_function(xlogy_p, "input * log(other), 0 where input is 0.", floats=True, refuses=COMPLEX)
xlog1py = binary_function(xlog1py_p, "input * log(1 + other), 0 where input is 0.", floats=True, refuses=COMPLEX)


def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of digamma."""
    if n < 0:
        raise ValueError(f"polygamma(n, x) does not support negative n, got {n}")
    refuse(input, "polygamma", COMPLEX)
    return apply1(polygamma_p, floating(input), n=n) if n else digamma(input)


def mvlgamma(input: Any, p: int) -> Any:
    """The multivariate log-gamma function of dimension p >= 1, for input > (p - 1) / 2."""
    if p < 1:
        raise ValueError(f"mvlgamma: p must be 1 or more, got {p}")
    x = floating(require_tensor(input, "mvlgamma"))
    total = lgamma(x)
    for j in range(1, p):
        total = add(total, lgamma(sub(x, j / 2)))
    return add(total, p * (p - 1) / 4 * math.log(math.pi))


def ndtr(input: Any) -> Any:
    """The standard normal distribution function."""
    refuse(input, "ndtr", COMPLEX)
    return mul(erfc(mul(floating(input), -math.sqrt(0.5))), 0.5)


def logit(input: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)), of x clamped to [eps, 1 - eps] if eps is given."""
    refuse(input, "logit", COMPLEX)
    x = floating(input)
    x = x if eps is None else clamp(x, eps, 1 - eps)
    return log(div(x, sub(1, x)))
