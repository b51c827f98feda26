"""Triangles and diagonals of matrices."""

import builtins
from typing import Any

import numpy as np

from expkit.autograd.handle import wrap
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import copy as by_kernel
from expkit.tensor.ops.kinds import linear, zeros_raw
from expkit.tensor.ops.movement import diagonal_p

trimmed_p = linear(  # of the last two axes: below (above) a diagonal, and on it; zero elsewhere
    "trimmed",
    by_kernel.triangle(lambda x, *, diagonal, lower: (xp_of(x).tril if lower else xp_of(x).triu)(x, diagonal)),
    lambda x, **_kw: x,
    lambda g, _x, **kw: trimmed_p(g, **kw),
    batch_kw=lambda _size, kw: kw,
)


def _triangle(x: Any, diagonal: int, lower: bool) -> Any:
    if not isinstance(diagonal, int | np.integer):
        raise TypeError(f"tril/triu: diagonal must be an int, not {type(diagonal).__name__}")
    if x.ndim < 2:
        raise ShapeError(f"tril/triu: the input must have at least 2 dimensions, not {x.ndim}")
    return apply1(trimmed_p, x, diagonal=int(diagonal), lower=lower)


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle; zero above the given diagonal."""
    return _triangle(input, diagonal, True)


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle; zero below the given diagonal."""
    return _triangle(input, diagonal, False)


def diag_embed(input: Any, offset: int = 0) -> Any:
    """Matrices with the last dimension on their diagonal."""
    n = input.shape[-1] + builtins.abs(offset)
    base = wrap(zeros_raw(input.raw, (*tuple(input.shape)[:-1], n, n)))
    return apply(diagonal_p.put, base, input, offset=offset, axes=(base.ndim - 2, base.ndim - 1))


def diag(input: Any, diagonal: int = 0) -> Any:
    """The diagonal of a matrix, or the matrix with a given diagonal."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise ShapeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return apply1(diagonal_p, input, offset=diagonal, axes=(0, 1)).clone()
