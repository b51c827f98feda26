"""Normalisation by generated kernels: rows with weights for each element; channels of images are in norm_images.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.code.vectors import bits
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, TILE
from expkit.kernels.cpu.loops.program import Program
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.nets import layer_norm
from expkit.tensor.generated import norm_images
from expkit.tensor.generated.base import F32, F64, enabled
from expkit.tensor.generated.norm_images import Groups

LEAST = 1 << 8  # elements from which a kernel is faster than NumPy
FOLD = 1 << 10  # columns of a task that adds up parts
PARTS = 64  # the most parts that gradients of weights are summed in
Axes = tuple[int, ...]


def normalization(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of normalize(x, weight?, bias?, axes=, at=, eps=) -> (result, mean, variance)."""

    @wraps(plain)
    def impl(x: Any, *affine: Any, axes: Axes, at: Axes, eps: float) -> Any:
        found = normalize(x, *affine, axes=axes, at=at, eps=eps) if x.size >= LEAST else None
        return plain(x, *affine, axes=axes, at=at, eps=eps) if found is None else found

    return impl


def normalization_grad(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of normalize_grad(y, mean, var, x, weight?, grads=, ...) -> gradients of x, weight?, bias?."""

    @wraps(plain)
    def impl(y: Any, mean: Any, var: Any, x: Any, *weight: Any, axes: Axes, **kw: Any) -> Any:
        found = normalize_grad(y, mean, var, x, *weight, axes=axes, **kw) if x.size >= LEAST else None
        return plain(y, mean, var, x, *weight, axes=axes, **kw) if found is None else found

    return impl


def normalize(
    x: Any, *affine: Any, axes: Axes, at: Axes, eps: float, program: Program | None = None, others: Sequence[Any] = ()
) -> tuple[Any, ...] | None:
    """By kernels alone; None where there are none for such arrays. With a program of (normalised value, *others), where
    `takes_programs`: its results instead of the value. The others are arrays of x's shape, the results of its dtype."""
    form = _form(x, affine, axes, at)
    if form is None or (program is not None and not isinstance(form, Groups)):
        return None
    if isinstance(form, Groups):
        *outs, mean, var = norm_images.normalize(form, x, affine, eps, program, others)
    else:
        *outs, mean, var = rows(x, affine, form, eps, centered=True)
    shape = _kept(x.shape, axes)
    return *outs, mean.reshape(shape), var.reshape(shape)


def normalize_grad(
    y: Any, mean: Any, var: Any, x: Any, *weight: Any, grads: int, axes: Axes, at: Axes, eps: float
) -> Any:
    """By kernels alone; None where there are none for such arrays."""
    form = _form(x, (y, mean, var, *weight), axes, at)
    if form is None:
        return None
    if isinstance(form, Groups):
        found = norm_images.normalize_grad(form, [y], mean, var, x, weight, eps, grads)
    else:
        found = rows_grad(y, x, weight, form, eps, var, mean, grads)
    return tuple(found) if grads else found[0]


def normalize_grad_of(
    sources: Sequence[Any], mean: Any, var: Any, x: Any, *weight: Any, program: Program, grads: int, axes: Axes,
    at: Axes, eps: float,
) -> list[Any] | None:  # fmt: skip
    """As `normalize_grad`, of the first result of a program of (*sources, normalised value), where `takes_programs`.

    Its other results follow on the gradients. Where it reads the normalised value, which is worked out once more as it
    was, `weight` is weight and bias: so relu's gradient needs no result to be read, (g, value) -> positive(value) * g.
    A first result that comes once more among the others is written in the first pass and read in the second: that is
    the gradient of what was added to the normalised value.
    """
    form = _form(x, (*sources, mean, var, *weight), axes, at)
    if not isinstance(form, Groups):
        return None
    return norm_images.normalize_grad(form, sources, mean, var, x, weight, eps, grads, program)


def takes_programs(shape: Axes, axes: Axes, at: Axes) -> bool:
    """Whether elementwise programs can run inside of the norm's kernels: those of images."""
    return isinstance(_form_of(shape, axes, at), Groups)


def has_kernels(dtype: Any) -> bool:
    """Whether there are kernels for arrays of this dtype, on the CPU."""
    return (dtype is F32 or dtype is F64) and enabled()


def has_rms(x: Any, *weight: Any) -> bool:
    """Whether `rms` is the faster way."""
    return x.size >= LEAST and _known(x, weight)


def rms(x: Any, *weight: Any, count: int, eps: float) -> tuple[Any, Any]:
    """(x / sqrt(mean(x²) + eps) * weight, mean(x²)), over the last `count` axes."""
    out, square = rows(x, weight, prod(x.shape[-count:]), eps, centered=False)
    return out, square.reshape(x.shape[:-count])


def rms_grad(y: Any, square: Any, x: Any, *weight: Any, count: int, eps: float) -> Any:
    """The gradients of x and weight from that of the result."""
    found = rows_grad(y, x, weight, prod(x.shape[-count:]), eps, square, None, len(weight))
    return tuple(found) if weight else found[0]


def pure_rms(x: Any, *weight: Any, **kw: Any) -> tuple[Any, Any] | None:
    """`rms` for arrays of any size; None where there are no kernels for them."""
    return rms(x, *weight, **kw) if _known(x, weight) and x.size else None


def pure_rms_grad(y: Any, square: Any, x: Any, *weight: Any, **kw: Any) -> Any:
    """`rms_grad` for arrays of any size; None where there are no kernels for them."""
    return rms_grad(y, square, x, *weight, **kw) if _known(x, (y, square, *weight)) and x.size else None


def _known(x: Any, others: Sequence[Any]) -> bool:
    """Whether all are arrays of NumPy, of one dtype that kernels have."""
    return (
        x.__class__ is np.ndarray
        and has_kernels(x.dtype)
        and all(v.__class__ is np.ndarray and v.dtype is x.dtype for v in others)
    )


def _form(x: Any, others: Sequence[Any], axes: Axes, at: Axes) -> Any:
    """Which kernels normalise x: the length of rows, Groups, or None."""
    return _form_of(x.shape, axes, at) if _known(x, others) and x.size else None


@lru_cache(maxsize=4096)
def _form_of(shape: Axes, axes: Axes, at: Axes) -> Any:
    ndim = len(shape)
    if ndim == 4 and axes == (2, 3) and at in ((), (1, 2)):
        return Groups(shape[0], shape[1], shape[2], shape[3], batch=False)
    if ndim > 1 and axes == (0, *range(2, ndim)) and at in ((), (1,)):
        return Groups(shape[0], 1, shape[1], prod(shape[2:]), batch=True)
    if axes == tuple(range(ndim - len(axes), ndim)) and at in ((), axes):
        return prod(shape[ndim - len(axes) :])
    return None


def _kept(shape: Axes, axes: Axes) -> Axes:
    return tuple(n for i, n in enumerate(shape) if i not in axes)


# ---- rows ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _forward_rows(kind: str, affine: int, centered: bool, n: int, count: int, eps: float) -> Bound:
    block = max(1, TILE // n)
    run = layer_norm.forward(kind, affine, centered)
    return run.bind(-(-count // block), parallel=n * count >= PARALLEL, n=n, rows=count, block=block, eps=bits(eps))


def rows(x: Any, affine: Sequence[Any], n: int, eps: float, *, centered: bool) -> tuple[Any, ...]:
    """(result, mean?, variance), the statistics flat; `centered`: without it the mean is not taken off (RMS norm)."""
    count = x.size // n
    run = _forward_rows(x.dtype.str[1:], len(affine), centered, n, count, eps)
    out = plan.empty(x.shape, x.dtype)
    stats = [plan.empty((count,), x.dtype) for _ in range(1 + centered)]
    run(dense(x), *map(dense, affine), out, *stats)
    return out, *stats


@lru_cache(maxsize=4096)
def _backward_rows(kind: str, affine: int, centered: bool, n: int, count: int, eps: float) -> tuple[Bound, Bound, int]:
    """(the kernel, the sum of its parts, their number)"""
    block = max(-(-count // PARTS), min(count, max(1, TILE // n)))
    parts = -(-count // block)
    run = layer_norm.backward(kind, affine, centered)
    main = run.bind(parts, parallel=n * count >= PARALLEL, n=n, rows=count, block=block, eps=bits(eps))
    width = max(affine, 1) * n
    fold = layer_norm.fold(kind).bind(
        -(-width // FOLD), parallel=width * parts >= PARALLEL, count=parts, n=width, tile=FOLD
    )
    return main, fold, parts


def rows_grad(y: Any, x: Any, weight: Sequence[Any], n: int, eps: float, var: Any, mean: Any, grads: int) -> list[Any]:
    """The gradients of x and, `grads` of them, of weight and bias; mean None: it was not taken off."""
    main, fold, count = _backward_rows(x.dtype.str[1:], grads, mean is not None, n, x.size // n, eps)
    dx = plan.empty(x.shape, x.dtype)
    operands = [dense(y), dense(x), dx, dense(var), *(() if mean is None else (dense(mean),))]
    if not weight:
        main(*operands)
        return [dx]
    parts, sums = plan.empty((count, grads, n), x.dtype), plan.empty((grads, n), x.dtype)
    main(*operands, dense(weight[0]), parts)
    fold(parts, sums)
    return [dx, *(s.reshape(weight[0].shape) for s in sums)]


ROWS: dict[str, Callable[..., Any]] = {  # of the table in pure.py
    "normalize": normalize, "rms_norm": pure_rms,
    **dict.fromkeys(("normalize_grad1", "normalize_grad2", "normalize_grad3"), normalize_grad),
    **dict.fromkeys(("rms_norm_grad1", "rms_norm_grad2"), pure_rms_grad),
}  # fmt: skip
