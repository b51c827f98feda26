"""Tensors filled with random numbers in place."""

from typing import Any

from expkit.autograd.handle import Handle
from expkit.tensor import dtypes
from expkit.tensor.inplace import assign
from expkit.tensor.ops import random
from expkit.tensor.ops.elementwise import ceil, exp, log, log1p, tan

_PI = 3.141592653589793
_WHOLE = {dtypes.float64: 1 << 53, dtypes.float32: 1 << 24, dtypes.float16: 1 << 11, dtypes.bfloat16: 1 << 8}


def _uniform(x: Any, generator: Any, d: Any = None) -> Any:
    return random.rand(*x.shape, generator=generator, dtype=d or x.dtype, device=x.device)


def _wide(x: Any) -> Any:
    """float64 for float64 (and integers), else float32: what distributions are computed in."""
    return dtypes.float32 if x.dtype.is_floating_point and x.itemsize <= 4 else dtypes.float64


def _require_floats(x: Any, what: str, *, complex: bool = False) -> None:
    if not (x.dtype.is_floating_point or (complex and x.dtype.is_complex)):
        raise TypeError(f"{what}: expected a floating-point tensor, got {x.dtype}")


def _fill(x: Any, value: Any) -> Any:
    return assign(x, value.to(x.dtype))


def uniform_(x: Any, a: float = 0.0, b: float = 1.0, *, generator: Any = None, **named: float) -> Any:
    """Fills with uniform random numbers on [a, b), also uniform_(from=..., to=...)."""
    a, b = named.pop("from", a), named.pop("to", b)
    if named:
        raise TypeError(f"uniform_() got an unexpected keyword argument {next(iter(named))!r}")
    _require_floats(x, "uniform_", complex=True)
    if a > b:
        raise ValueError(f"uniform_ expects to draw from [from, to) with from <= to, got [{a}, {b})")
    return assign(x, _uniform(x, generator) * (b - a) + (a * (1 + 1j) if x.is_complex() else a))


def normal_(x: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """Fills with normal random numbers."""
    _require_floats(x, "normal_", complex=True)
    if std < 0:
        raise ValueError(f"normal_ expects std >= 0.0, but found std {std}")
    return assign(x, random.randn(*x.shape, generator=generator, dtype=x.dtype, device=x.device) * std + mean)


def log_normal_(x: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Any:
    """Fills with numbers whose logarithms are normal with this mean and standard deviation."""
    _require_floats(x, "log_normal_")
    if std <= 0:
        raise ValueError(f"log_normal_ expects std > 0.0, but found std={std}")
    noise = random.randn(*x.shape, generator=generator, dtype=_wide(x), device=x.device)
    return _fill(x, exp(noise * std + mean))


def exponential_(x: Any, lambd: float = 1.0, *, generator: Any = None) -> Any:
    """Fills with exponentially distributed numbers of rate lambd."""
    _require_floats(x, "exponential_")
    if lambd <= 0:
        raise ValueError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _fill(x, -log1p(-_uniform(x, generator, _wide(x))) / lambd)


def cauchy_(x: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Any:
    """Fills with Cauchy distributed numbers: median + sigma tan(pi (u - 1/2))."""
    _require_floats(x, "cauchy_")
    if sigma <= 0:
        raise ValueError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return _fill(x, tan((_uniform(x, generator, _wide(x)) - 0.5) * _PI) * sigma + median)


def geometric_(x: Any, p: float, *, generator: Any = None) -> Any:
    """Fills with the number of trials, each lucky with probability p, up to the first success: 1, 2, ..."""
    if x.dtype.is_complex or x.dtype is dtypes.bool_:
        raise TypeError(f"geometric_: {x.dtype} tensors are not supported")
    if not 0 < p < 1:
        raise ValueError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    chance = x.new_tensor(1 - p, dtype=_wide(x))
    return _fill(x, ceil(log1p(-_uniform(x, generator, _wide(x))) / log(chance)).clamp(min=1))


def bernoulli_(x: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Fills with ones with probability p (a number or a tensor that broadcasts), else zeros."""
    if isinstance(p, Handle):
        random.require_size(tuple(p.shape), x, "bernoulli_")
    return _fill(x, random.hits(tuple(x.shape), p, x, generator))


def random_(x: Any, low: int | None = None, high: int | None = None, *, generator: Any = None, **named: int) -> Any:
    """Fills with integers on [low, high); random_(high), random_(): from 0 to the largest that the dtype counts to."""
    low, high = named.pop("from", low), named.pop("to", high)
    if named:
        raise TypeError(f"random_() got an unexpected keyword argument {next(iter(named))!r}")
    d = x.dtype
    if d.is_complex:
        raise TypeError(f"random_: {d} tensors are not supported")
    if high is None:
        limit = 2 if d is dtypes.bool_ else _WHOLE[d] + 1 if d in _WHOLE else dtypes.iinfo(d).max + 1
        low, high = (0, limit) if low is None else (0, low)
    low = 0 if low is None else low
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    return _fill(x, random.randint(low, high, tuple(x.shape), generator=generator, device=x.device))
