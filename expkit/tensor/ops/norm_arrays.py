"""Normalisation on arrays, in few passes over the data.

`axes`: what mean and variance are taken over; `at`: the axes of x that weight and bias have. Batch norm has at = (1,)
and axes = the others: there the weight is a part of the scale. Layer norm has at = axes.
"""

from math import prod
from typing import Any

from expkit.tensor import blas
from expkit.tensor.devices import xp_of

Axes = tuple[int, ...]


def beside(v: Any, x: Any, at: Axes) -> Any:
    """A weight with ones on the axes of x that it lacks."""
    return v.reshape(tuple(n if i in at else 1 for i, n in enumerate(x.shape)))


def _kept(v: Any, x: Any, axes: Axes) -> Any:
    return v.reshape(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def _sum(a: Any, axes: Axes, b: Any = None) -> Any:
    """The sum of a (of a * b) over the axes; as matrix products where the axes are the first or the last ones."""
    xp, n = xp_of(a), a.ndim
    tail = next((k for k in range(n) if n - 1 - k not in axes), n)
    if tail and prod(a.shape[n - tail :]) >= 8:
        lead, size = a.shape[: n - tail], prod(a.shape[n - tail :])
        a = a.reshape(-1, 1, size)
        if b is None:
            partial = blas.matmul(a.reshape(-1, size), xp.ones((size, 1), a.dtype))
        else:
            partial = blas.matmul(a, b.reshape(-1, size, 1))
        return partial.reshape(lead).sum(tuple(i for i in axes if i < n - tail))
    if b is not None:
        a = a * b
    if axes == tuple(range(len(axes))) and len(axes) < n:
        rest = a.shape[len(axes) :]
        flat = a.reshape(prod(a.shape[: len(axes)]), prod(rest))
        return blas.matmul(xp.ones((1, flat.shape[0]), a.dtype), flat).reshape(rest)
    return a.sum(axes)


def _count(x: Any, axes: Axes) -> int:
    return prod(x.shape[i] for i in axes)


def normalize(x: Any, *affine: Any, axes: Axes, at: Axes, eps: float) -> tuple[Any, Any, Any]:
    """((x - mean) / sqrt(var + eps) * weight + bias, mean, var), var the biased one."""
    n, kind = _count(x, axes), x.dtype.type
    mean = _sum(x, axes) * kind(1 / n)
    out = x - _kept(mean, x, axes)
    var = _sum(out, axes, out) * kind(1 / n)
    scale, apart = _kept(kind(1) / xp_of(x).sqrt(var + kind(eps)), x, axes), not set(at) & set(axes)
    if affine and apart:
        scale = scale * beside(affine[0], x, at)
    out *= scale
    if affine and not apart:
        out *= beside(affine[0], x, at)
    if len(affine) == 2:
        out += beside(affine[1], x, at)
    return out, mean, var


def normalize_grad(
    g: tuple[Any, Any, Any], mean: Any, var: Any, x: Any, *affine: Any, axes: Axes, at: Axes, eps: float
) -> list[Any]:
    """The gradients of x, weight and bias; g: of the result, of the mean and of the variance."""
    y, gmean, gvar = g
    n, kind = _count(x, axes), x.dtype.type
    rstd = kind(1) / xp_of(x).sqrt(var + kind(eps))
    rest = tuple(i for i in range(x.ndim) if i not in at)
    normed = x - _kept(mean, x, axes)
    normed *= _kept(rstd, x, axes)
    apart = not set(at) & set(axes)
    grads = []
    if affine and not apart:
        grads = [_sum(y, rest, normed), _sum(y, rest)][: len(affine)]
        y = y * beside(affine[0], x, at)
    total, along = _sum(y, axes), _sum(y, axes, normed)
    scale = _kept(rstd, x, axes)
    if affine and apart:
        outer = tuple(i for i in range(total.ndim) if _places(x, axes)[i] not in at)
        grads = [along.sum(outer), total.sum(outer)][: len(affine)]
        scale = scale * beside(affine[0], x, at)
    # scale (y - mean(y) - normed mean(y normed)), and what comes through the mean and the variance
    total, along = (_kept(v * kind(1 / n), x, axes) for v in (total, along))
    normed *= _kept(gvar / rstd * kind(2 / n), x, axes) - scale * along
    normed += _kept(gmean * kind(1 / n), x, axes) - scale * total
    normed += y * scale
    return [normed, *grads]


def _places(x: Any, axes: Axes) -> Axes:
    """The axes of x that are left when `axes` are dropped."""
    return tuple(i for i in range(x.ndim) if i not in axes)
