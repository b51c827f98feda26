"""Triangles and diagonals of matrices."""

import builtins
from typing import Any

from expkit.autograd.handle import wrap
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import copy as by_kernel
from expkit.tensor.ops.arguments import dim_of, require_tensor, whole
from expkit.tensor.ops.kinds import linear, zeros_raw
from expkit.tensor.ops.movement import diagonal_p, reshape

trimmed_p = linear(  # of the last two axes: below (above) a diagonal, and on it; zero elsewhere
    "trimmed",
    by_kernel.triangle(lambda x, *, diagonal, lower: (xp_of(x).tril if lower else xp_of(x).triu)(x, diagonal)),
    lambda x, **_kw: x,
    lambda g, _x, **kw: trimmed_p(g, **kw),
    batch_kw=lambda _size, kw: kw,
)


def _triangle(x: Any, diagonal: int, lower: bool) -> Any:
    if require_tensor(x, "tril/triu").ndim < 2:
        raise ShapeError(f"tril/triu: the input must have at least 2 dimensions, not {x.ndim}")
    return apply1(trimmed_p, x, diagonal=whole(diagonal, "tril/triu: diagonal"), lower=lower)


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle; zero above the given diagonal."""
    return _triangle(input, diagonal, True)


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle; zero below the given diagonal."""
    return _triangle(input, diagonal, False)


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Matrices with the last dimension of input on a diagonal; they lie in the dimensions dim1 and dim2."""
    require_tensor(input, "diag_embed()")
    if input.ndim == 0:
        raise ShapeError("diag_embed(): the input must have at least one dimension")
    ndim, offset = input.ndim + 1, whole(offset, "diag_embed(): offset")
    axes = (dim_of(dim1, ndim), dim_of(dim2, ndim))
    if axes[0] == axes[1]:
        raise RuntimeError(f"diag_embed(): diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = input.shape[-1] + builtins.abs(offset)
    rest = iter(input.shape)
    base = wrap(zeros_raw(input.raw, tuple(n if a in axes else next(rest) for a in range(ndim))))
    return apply(diagonal_p.put, base, input, offset=offset, axes=axes)


def diag(input: Any, diagonal: int = 0) -> Any:
    """The diagonal of a matrix, or the matrix with a given diagonal."""
    require_tensor(input, "diag()")
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise ShapeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return apply1(diagonal_p, input, offset=whole(diagonal, "diag(): diagonal"), axes=(0, 1)).clone()


def diagflat(input: Any, offset: int = 0) -> Any:
    """The matrix with all elements of input on a diagonal."""
    return diag_embed(reshape(require_tensor(input, "diagflat()"), -1), offset)
