"""Variance and standard deviation; sums and means that leave NaN out."""

from typing import Any

from expkit.tensor import dtypes
from expkit.tensor.ops.arguments import COMPLEX, dims_of, refuse, require_inexact
from expkit.tensor.ops.convert import as_dtype, in_float32
from expkit.tensor.ops.distance import safe_sqrt
from expkit.tensor.ops.elementwise import abs as magnitude
from expkit.tensor.ops.elementwise import choose, div, isnan, logical_not, square, sub
from expkit.tensor.ops.reduce import count_of, mean, sum


def _arguments(name: str, input: Any, dim: Any, unbiased: Any, correction: Any) -> tuple[tuple[int, ...], float]:
    """(axes, correction) of a call: the second argument may be `unbiased` instead of a dim."""
    require_inexact(input, f"{name}()")
    if isinstance(dim, bool):
        if unbiased is not None:
            raise TypeError(f"{name}(): unbiased was given twice")
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}(): either unbiased or correction, not both")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dims_of(dim, input.ndim), correction


def _moments(input: Any, axes: tuple[int, ...], keepdim: bool, correction: float) -> tuple[Any, Any]:
    """(variance, mean): squared distances from the mean, divided by n - correction, but not by less than 0."""
    centre = mean(input, axes or None, keepdim=True)
    far = sub(input, centre)
    total = sum(square(magnitude(far) if far.is_complex() else far), axes or None, keepdim)
    n = count_of(input.shape, axes) - correction
    return div(total, float(n) if n > 0 else 0.0), centre if keepdim else centre.reshape(total.shape)


@in_float32
def var(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> Any:
    """The variance over `dim`: squared distances from the mean, divided by n - correction (1 unless given)."""
    axes, correction = _arguments("var", input, dim, unbiased, correction)
    return _moments(input, axes, keepdim, correction)[0]


@in_float32
def std(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> Any:
    """The standard deviation over `dim`; its gradient is 0 where it is 0."""
    axes, correction = _arguments("std", input, dim, unbiased, correction)
    return safe_sqrt(_moments(input, axes, keepdim, correction)[0])


@in_float32
def var_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Any, Any]:
    """(variance, mean) over `dim`."""
    axes, correction = _arguments("var_mean", input, dim, unbiased, correction)
    return _moments(input, axes, keepdim, correction)


@in_float32
def std_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Any, Any]:
    """(standard deviation, mean) over `dim`."""
    axes, correction = _arguments("std_mean", input, dim, unbiased, correction)
    variance, centre = _moments(input, axes, keepdim, correction)
    return safe_sqrt(variance), centre


def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum over `dim` of what is not NaN."""
    refuse(input, "nansum", COMPLEX)
    x = choose(isnan(input), 0.0, input) if dtypes.of(input.raw).is_floating_point else input
    return sum(x, dim, keepdim, dtype=dtype)


@in_float32
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean over `dim` of what is not NaN; NaN where nothing is left."""
    require_inexact(input, "nanmean()")
    x = input if dtype is None else as_dtype(input, dtypes.get(dtype))
    if x.is_complex():
        return mean(x, dim, keepdim)
    counted = sum(logical_not(isnan(x)), dim, keepdim)
    return div(nansum(x, dim, keepdim), counted)
