"""Covariance and correlation of rows, and rows of limited norm."""

from typing import Any

import numpy as np

from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.ops import distance, reduce
from expkit.tensor.ops.arguments import dim_of, require_tensor
from expkit.tensor.ops.complex import conj
from expkit.tensor.ops.convert import floating
from expkit.tensor.ops.elementwise import div, mul, sub
from expkit.tensor.ops.index import where
from expkit.tensor.ops.matmul import matmul, swap
from expkit.tensor.ops.movement import diagonal, unsqueeze
from expkit.tensor.ops.ternary import clamp


def _weights(name: str, w: Any, n: int, whole: bool) -> Any:
    """Weights of the n observations, if they can be such."""
    if require_tensor(w, "cov").ndim > 1 or w.numel() != n:
        raise ShapeError(
            f"cov(): expected {name} to have one number for each of {n} observations, got {tuple(w.shape)}"
        )
    d = dtypes.of(w.raw)
    if whole and (d.is_floating_point or d.is_complex or d is dtypes.bool_):
        raise TypeError(f"cov(): expected {name} to have integral dtype but got {d}")
    if not whole and not d.is_floating_point:
        raise TypeError(f"cov(): expected {name} to have floating point dtype but got {d}")
    if n and w.raw.__class__ is np.ndarray and bool((w.raw < 0).any()):  # a GPU is not asked, a transform cannot be
        raise ValueError(f"cov(): {name} cannot be negative")
    return w


def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariances of the rows of a matrix, whose columns are observations: repeated fweights, weighing aweights.

    A vector is one row; its variance is 0-d.
    """
    if require_tensor(input, "cov").ndim > 2:
        raise ShapeError(f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim}")
    if dtypes.of(input.raw) is dtypes.bool_:
        raise TypeError("cov(): bool dtype is not supported for input")
    x = floating(input)
    x = x.reshape((1, -1)) if x.ndim < 2 else x
    n = x.shape[1]
    w = None if fweights is None else _weights("fweights", fweights, n, whole=True)
    if aweights is not None:
        a = _weights("aweights", aweights, n, whole=False)
        w = a if w is None else mul(w, a)
    total: Any = n if w is None else reduce.sum(w)
    mean = div(reduce.sum(x if w is None else mul(x, w), 1, keepdim=True), total)
    if w is not None and aweights is not None and correction:
        bias = div(reduce.sum(mul(w, aweights)), total)
        norm = total - correction * bias
    else:
        norm = total - correction
    centred = sub(x, mean)
    spread = centred if w is None else mul(centred, w).to(centred.dtype)
    norm = clamp(norm, min=0) if hasattr(norm, "raw") else float(max(norm, 0))
    return div(matmul(spread, conj(swap(centred))), norm).squeeze()


def corrcoef(input: Any) -> Any:
    """The correlations of the rows of a matrix, whose columns are observations."""
    if require_tensor(input, "corrcoef").ndim > 2:
        raise ShapeError(f"corrcoef(): expected input to have two or fewer dimensions but got {input.ndim}")
    c = cov(input)
    if not c.ndim:
        return div(c, c)
    variance = diagonal(c)
    spread = (variance.real if c.is_complex() else variance).sqrt()
    c = div(div(c, unsqueeze(spread, -1)), unsqueeze(spread, 0))
    return c if c.is_complex() else clamp(c, -1, 1)


def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Any:
    """input, its slices along `dim` scaled so that their p-norms are at most maxnorm."""
    if require_tensor(input, "renorm").ndim < 2:
        raise ShapeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    if not p > 0:
        raise ValueError(f"renorm: non-positive norm not supported, got p={p}")
    if maxnorm < 0:
        raise ValueError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    at = dim_of(dim, input.ndim)
    size = distance.norm(input, p, tuple(d for d in range(input.ndim) if d != at), keepdim=True)
    return mul(input, where(size > maxnorm, maxnorm / (size + 1e-7), 1.0).to(input.dtype))
