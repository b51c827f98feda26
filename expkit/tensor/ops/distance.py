"""Lengths and distances: norm and dist."""

import math
from typing import Any

import numpy as np

from expkit.autograd.tape import apply1
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.arguments import dims_of, require_inexact
from expkit.tensor.ops.convert import as_dtype, in_float32
from expkit.tensor.ops.elementwise import abs as magnitude
from expkit.tensor.ops.elementwise import choose, isnan, sign, sub
from expkit.tensor.ops.kinds import unary
from expkit.tensor.ops.linalg.spectra import svdvals_p
from expkit.tensor.ops.movement import movedim
from expkit.tensor.ops.pointwise import eq_p, where_p
from expkit.tensor.ops.reduce import amax, amin, finish, square_sum_p, sum
from expkit.tensor.ops.special import widened

# The subgradients of norms are 0 at 0. There is no second derivative there: it is NaN, as in PyTorch.
safe_sqrt_p = unary("safe_sqrt", np.sqrt, lambda g, out, _x: g * where_p(eq_p(out, 0.0), 0.0, 0.5 / out))


def _safe_power(x: Any, *, p: float) -> Any:
    zero = x == 0
    xp = xp_of(x)
    return xp.where(zero, x, xp.where(zero, 1, x) ** x.dtype.type(p))


safe_power_p = unary(
    "safe_power",
    widened(_safe_power),
    lambda g, _out, x, *, p: g * where_p(eq_p(x, 0.0), 0.0, x ** (p - 1.0) * p),
)


@in_float32
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The vector p-norm over `dim` (p a number, "fro" = 2, or an infinity); its gradient is 0 where the norm is 0."""
    x = require_inexact(input if dtype is None else as_dtype(input, dtypes.get(dtype)), "norm()")
    if p == "nuc":
        return _nuclear(x, dim, keepdim)
    p = 2.0 if p in ("fro", None) else p
    if isinstance(p, bool) or not isinstance(p, int | float):
        raise ValueError(f"norm(): p must be a number, 'fro' or 'nuc', not {p!r}")
    if p == 2 and not x.is_complex():
        axes = dims_of(dim, x.ndim)
        return finish(safe_sqrt(apply1(square_sum_p, x, axes=axes)), x, axes, keepdim)
    size = magnitude(x)
    if p in (math.inf, -math.inf):
        return (amax if p > 0 else amin)(size, dim, keepdim)
    if p == 0:
        return sum(choose(isnan(size), 1.0, sign(size)), dim, keepdim)
    if p == 1:
        return sum(size, dim, keepdim)
    total = sum(_power(size, p), dim, keepdim)
    if p < 0:  # one element of 0 is enough
        total = choose(amin(size.detach(), dim, keepdim) == 0, 0.0, total)
    return _power(total, 1 / p)


def _nuclear(x: Any, dim: Any, keepdim: bool) -> Any:
    """The sum of the singular values of the matrices in two dimensions."""
    dims = dims_of(dim, x.ndim)
    if len(dims) != 2:
        raise ShapeError(f"norm(): 'nuc' needs the 2 dimensions of matrices, got {len(dims)} for {tuple(x.shape)}")
    total = sum(apply1(svdvals_p, movedim(x, dims, (-2, -1))), -1)
    return total.reshape(tuple(1 if i in dims else n for i, n in enumerate(x.shape))) if keepdim else total


def safe_sqrt(x: Any) -> Any:
    """The square root with gradient 0 at 0 (the subgradient of the norm)."""
    return apply1(safe_sqrt_p, x)


def _power(x: Any, p: float) -> Any:
    """x ** p for x >= 0, with value and gradient 0 at 0."""
    return apply1(safe_power_p, x, p=float(p))


def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The p-norm of input - other, broadcast."""
    return norm(sub(input, other), p)
