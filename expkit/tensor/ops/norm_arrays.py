"""Normalisation on arrays, in few passes over the data.

`axes`: what mean and variance are taken over; `at`: the axes of x that weight and bias have. Batch norm has at = (1,)
and axes = the others: there the weight is a part of the scale. Layer norm has at = axes.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from expkit.tensor import blas
from expkit.tensor.devices import xp_of
from expkit.tensor.generated.norm import normalization, normalization_grad

Axes = tuple[int, ...]
SMALL = 1 << 14  # elements: below, a product's overhead is more than what it saves


class _Plan(NamedTuple):
    """What depends on shapes alone; worked out once per shape."""

    size: int  # elements in a mean
    kept: Axes  # the shape of a statistic beside x
    beside: Axes  # the shape of a weight beside x
    rest: Axes  # the axes that weights lack
    outer: Axes  # the axes of a statistic that weights lack
    apart: bool  # the weight is constant within each mean


@lru_cache(maxsize=4096)
def _plan(shape: Axes, axes: Axes, at: Axes) -> _Plan:
    ndim = len(shape)
    left = [i for i in range(ndim) if i not in axes]
    return _Plan(
        prod(shape[i] for i in axes),
        tuple(1 if i in axes else n for i, n in enumerate(shape)),
        tuple(n if i in at else 1 for i, n in enumerate(shape)),
        tuple(i for i in range(ndim) if i not in at),
        tuple(k for k, i in enumerate(left) if i not in at),
        not set(at) & set(axes),
    )


def _sum(a: Any, axes: Axes, b: Any = None) -> Any:
    """The sum of a (of a * b) over the axes: large ones by matrix products, where the axes are first or last."""
    if a.size < SMALL:
        return (a if b is None else a * b).sum(axes)
    tail, first, lead, partial = _ends(a.shape, axes)
    if tail >= 8:
        other = xp_of(a).ones((tail, 1), a.dtype) if b is None else b.reshape(-1, tail, 1)
        sums = blas.matmul(a.reshape(-1, tail) if b is None else a.reshape(-1, 1, tail), other).reshape(lead)
        return sums.sum(partial) if partial else sums
    if b is not None:
        a = a * b
    if not first:
        return a.sum(axes)
    ones = xp_of(a).ones((1, first), a.dtype)
    return blas.matmul(ones, a.reshape(first, -1)).reshape(a.shape[len(axes) :])


@lru_cache(maxsize=4096)
def _ends(shape: Axes, axes: Axes) -> tuple[int, int, Axes, Axes]:
    """(elements in the last axes, or 1; elements in the first axes, where these are all; what the last ones leave)."""
    ndim = len(shape)
    split = next((i for i in range(ndim, 0, -1) if i - 1 not in axes), 0)
    tail = prod(shape[split:]) if split < ndim else 1
    first = prod(shape[: len(axes)]) if axes == tuple(range(len(axes))) and len(axes) < ndim else 0
    return tail, first, shape[:split], tuple(i for i in axes if i < split)


@normalization
def normalize(x: Any, *affine: Any, axes: Axes, at: Axes, eps: float) -> tuple[Any, Any, Any]:
    """((x - mean) / sqrt(var + eps) * weight + bias, mean, var), var the biased one."""
    plan, kind = _plan(x.shape, axes, at), x.dtype.type
    share = kind(1 / plan.size)
    mean = _sum(x, axes) * share
    out = x - mean.reshape(plan.kept)
    var = _sum(out, axes, out) * share
    scale = _rstd(var, eps).reshape(plan.kept)
    if affine and plan.apart:
        scale = scale * affine[0].reshape(plan.beside)
    out *= scale
    if affine and not plan.apart:
        out *= affine[0].reshape(plan.beside)
    if len(affine) == 2:
        out += affine[1].reshape(plan.beside)
    return out, mean, var


def _rstd(var: Any, eps: float) -> Any:
    kind = var.dtype.type
    return kind(1) / xp_of(var).sqrt(var + kind(eps))


@normalization_grad
def normalize_grad(
    y: Any, mean: Any, var: Any, x: Any, *weight: Any, grads: int, axes: Axes, at: Axes, eps: float
) -> Any:
    """The gradients of x and, `grads` of them, of weight and bias, from y, that of the result."""
    plan, kind, scaled = _plan(x.shape, axes, at), x.dtype.type, y
    share, rstd = kind(1 / plan.size), _rstd(var, eps)
    scale = rstd.reshape(plan.kept)
    normed = x - mean.reshape(plan.kept)
    normed *= scale
    found = []
    if weight and not plan.apart:
        found = [_sum(y, plan.rest, normed), _sum(y, plan.rest)]
        scaled = y * weight[0].reshape(plan.beside)
    total, along = _sum(scaled, axes), _sum(scaled, axes, normed)
    if weight and plan.apart:
        found = [along.sum(plan.outer), total.sum(plan.outer)]
        scale = scale * weight[0].reshape(plan.beside)
    # scale (y - mean(y) - normed mean(y normed))
    normed *= -scale * (along * share).reshape(plan.kept)
    direct = y * scale if scaled is y else y * scale * weight[0].reshape(plan.beside)  # rounded as PyTorch's
    normed += direct - scale * (total * share).reshape(plan.kept)
    return (normed, *found[:grads]) if grads else normed
