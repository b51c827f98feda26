"""Lengths and distances: norm and dist."""

import math
from typing import Any

from expkit.autograd.tape import apply1
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.elementwise import abs as magnitude
from expkit.tensor.ops.elementwise import choose, isnan, sign, sqrt, sub
from expkit.tensor.ops.linalg.spectra import svdvals_p
from expkit.tensor.ops.movement import dims_of, movedim
from expkit.tensor.ops.reduce import amax, amin, finish, in_float32, inexact, square_sum_p, sum


@in_float32
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The vector p-norm over `dim` (p a number, "fro" = 2, or an infinity); its gradient is 0 where the norm is 0."""
    x = inexact(input if dtype is None else as_dtype(input, dtypes.get(dtype)), "norm")
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
    zero = x == 0
    return choose(zero, 0.0, sqrt(choose(zero, 1.0, x)))


def _power(x: Any, p: float) -> Any:
    """x ** p for x >= 0, with gradient 0 at 0."""
    zero = x == 0
    return choose(zero, 0.0, choose(zero, 1.0, x) ** p)


def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The p-norm of input - other, broadcast."""
    return norm(sub(input, other), p)
