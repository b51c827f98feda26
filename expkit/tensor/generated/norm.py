"""Normalisation by generated kernels: rows with weights for each element, and channels of images in either order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from math import prod
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.code.vectors import bits
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, TILE
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.nets import image_norm, layer_norm
from expkit.tensor.generated.base import F32, F64, enabled

LEAST = 1 << 8  # elements from which a kernel is faster than NumPy
IMAGES = 1 << 13  # the same for images, whose numbers by channel NumPy works out
FOLD = 1 << 10  # columns of a task that adds up parts
COLUMN = 512  # the most places that one sum takes in where channels are innermost
PARTS = 64  # the most parts that gradients of weights are summed in
Axes = tuple[int, ...]


def normalization(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of normalize(x, weight?, bias?, axes=, at=, eps=) -> (result, mean, variance)."""

    @wraps(plain)
    def impl(x: Any, *affine: Any, axes: Axes, at: Axes, eps: float) -> Any:
        form = _form(x, axes, at)
        if form is None:
            return plain(x, *affine, axes=axes, at=at, eps=eps)
        if isinstance(form, Groups):
            return _normalize_groups(form, x, affine, eps)
        out, *stats = rows(x, affine, form, eps, centered=True)
        return out, *(s.reshape(_kept(x.shape, axes)) for s in stats)

    return impl


def normalization_grad(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of normalize_grad((y, gmean, gvar), mean, var, x, weight?, bias?, ...) -> gradients."""

    @wraps(plain)
    def impl(g: Any, mean: Any, var: Any, x: Any, *affine: Any, axes: Axes, at: Axes, eps: float) -> Any:
        form = _form(x, axes, at)
        if form is None:
            return plain(g, mean, var, x, *affine, axes=axes, at=at, eps=eps)
        if isinstance(form, Groups):
            return _groups_grad(form, g, mean, var, x, affine, eps)
        return rows_grad(g[0], x, affine, form, eps, (var, g[2]), (mean, g[1]))

    return impl


def has_rms(x: Any, *weight: Any) -> bool:
    """Whether `rms` takes such arrays."""
    return _worth(x) and all(v.__class__ is np.ndarray and v.dtype is x.dtype for v in weight)


def rms(x: Any, *weight: Any, count: int, eps: float) -> tuple[Any, Any]:
    """(x / sqrt(mean(x²) + eps) * weight, mean(x²)), over the last `count` axes."""
    out, square = rows(x, weight, prod(x.shape[-count:]), eps, centered=False)
    return out, square.reshape(x.shape[:-count])


def rms_grad(g: Sequence[Any], square: Any, x: Any, *weight: Any, count: int, eps: float) -> list[Any]:
    """The gradients of x and weight; g: those of the result and of the mean square."""
    return rows_grad(g[0], x, weight, prod(x.shape[-count:]), eps, (square, g[1]), ())


def _worth(x: Any) -> bool:
    return x.__class__ is np.ndarray and x.size >= LEAST and (x.dtype is F32 or x.dtype is F64) and enabled()


def _form(x: Any, axes: Axes, at: Axes) -> Any:
    """Which kernels normalise x: the length of rows, Groups, or None."""
    form = _form_of(x.shape, axes, at) if _worth(x) else None
    return None if isinstance(form, Groups) and x.size < IMAGES else form


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


def _flat(v: Any, like: Any) -> Any:
    """Contiguous, of like's dtype."""
    return np.ascontiguousarray(v, like.dtype)


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
    run(_flat(x, x), *(_flat(v, x) for v in affine), out, *stats)
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


def rows_grad(
    y: Any, x: Any, affine: Sequence[Any], n: int, eps: float, var: tuple[Any, Any], mean: tuple[Any, Any] | tuple[()]
) -> list[Any]:
    """The gradients of x, weight and bias; mean and var: the statistics and what their gradients are."""
    main, fold, count = _backward_rows(x.dtype.str[1:], len(affine), bool(mean), n, x.size // n, eps)
    dx = plan.empty(x.shape, x.dtype)
    operands = [_flat(y, x), _flat(x, x), dx, *(_flat(v, x) for v in (*var, *mean))]
    if not affine:
        main(*operands)
        return [dx]
    parts = np.empty((count, len(affine), n), x.dtype)
    main(*operands, _flat(affine[0], x), parts)
    sums = plan.empty((len(affine), n), x.dtype)
    fold(parts, sums)
    return [dx, *(s.reshape(affine[0].shape) for s in sums)]


# ---- channels of images ----------------------------------------------------------------------------------------------


class Groups(NamedTuple):
    """Images of samples, groups * width channels and `places`; statistics are shared over samples, or in a group."""

    samples: int
    groups: int
    width: int
    places: int
    batch: bool

    @property
    def axis(self) -> int:
        """The axis of (samples, groups, width) that statistics are taken over."""
        return 0 if self.batch else 2

    def image(self, x: Any) -> Image:
        """x's order in memory; a sample of columns is the whole batch where statistics are shared by it."""
        channels, last = self.groups * self.width, x.ndim - 1
        order = (0, *range(2, last + 1), 1) if self.batch else (0, 3, 1, 2)
        columns = x.transpose(order).flags.c_contiguous and (self.places < 16 or not x.flags.c_contiguous)
        if columns and self.batch:
            return Image(1, channels, self.samples * self.places, order)
        return Image(self.samples, channels, self.places, order if columns else ())


class Image(NamedTuple):
    """samples, channels, places; `order`: the axes as they lie in memory where channels are innermost, else ()."""

    samples: int
    channels: int
    places: int
    order: Axes

    def settled(self, x: Any) -> Any:
        """x as it lies in memory, contiguous."""
        return np.ascontiguousarray(x.transpose(self.order) if self.order else x)

    def empty_like(self, x: Any) -> tuple[Any, Any]:
        """A new array of x's shape, in this order; and as it lies in memory."""
        if not self.order:
            made = plan.empty(x.shape, x.dtype)
            return made, made
        made = plan.empty(tuple([x.shape[i] for i in self.order]), x.dtype)
        return made.transpose(np.argsort(self.order)), made

    def numbers(self, v: Any, dtype: Any) -> Any:
        """Values for (samples, groups, width), repeated where they are the same, as (samples, channels)."""
        out = np.empty((self.samples, v.shape[1], self.channels // v.shape[1]), dtype)
        out[...] = v
        return out


@lru_cache(maxsize=4096)
def _bound(name: str, kind: str, image: Image) -> tuple[Bound, Bound | None, Axes]:
    """The kernel, that which merges its parts, and their shape."""
    samples, channels, places, order = image
    block = min(places, max(16, min(COLUMN, TILE // 2 // channels))) if order else max(1, TILE // places)
    blocks = -(-places // block) if order else 1
    tasks = samples * blocks if order else -(-samples * channels // block)
    sizes = (samples * channels, channels, places, block, blocks)
    words: dict[str, Any] = dict(zip(image_norm.WORDS, sizes, strict=True))
    if name in image_norm.MAPS:
        routine = (image_norm.column_map if order else image_norm.run_map)(name, kind)
    else:
        routine = getattr(image_norm, f"{'column' if order else 'run'}_{name}")(kind)
    run = routine.bind(tasks, parallel=samples * channels * places >= PARALLEL, **words)
    merging = order and name not in image_norm.MAPS
    merge = image_norm.column_merge(kind, name == "moments").bind(samples, **words) if merging else None
    return run, merge, (samples, blocks, 2, channels)


def _totals(name: str, image: Image, kind: str, *operands: Any) -> Any:
    """(2, samples, channels) in float64: moments or sums."""
    run, merge, shape = _bound(name, kind, image)
    out = np.empty((2, image.samples, image.channels))
    if merge is None:
        run(*operands, *(out if name == "moments" else (out,)))
    else:
        parts = np.empty(shape, operands[0].dtype)
        run(*operands, parts)
        merge(parts, out)
    return out


def _normalize_groups(form: Groups, x: Any, affine: Sequence[Any], eps: float) -> tuple[Any, Any, Any]:
    image, kind, dtype = form.image(x), x.dtype.str[1:], x.dtype
    settled, axis = image.settled(x), form.axis
    means, squares = _totals("moments", image, kind, settled).reshape(2, image.samples, form.groups, form.width)
    mean = means.sum(axis, keepdims=True) / means.shape[axis]
    squares += np.square(means - mean) * image.places
    var = squares.sum(axis, keepdims=True) / (image.places * means.shape[axis])
    scale, bias = _beside(form, affine[:1], 1.0) / np.sqrt(var + eps), _beside(form, affine[1:], 0.0)
    out, made = image.empty_like(x)
    numbers = (image.numbers(v, dtype) for v in (mean, scale, bias))
    _bound("apply", kind, image)[0](settled, *numbers, made)
    shape = (form.width,) if form.batch else (form.samples, form.groups)
    return out, mean.astype(dtype).reshape(shape), var.astype(dtype).reshape(shape)


def _beside(form: Groups, affine: Sequence[Any], default: float) -> Any:
    """A weight or bias, if there is one, beside (samples, groups, width), in float64."""
    if not affine:
        return np.full((1, 1, 1), default)
    return affine[0].astype(np.float64).reshape(1, form.groups, form.width)


def _groups_grad(
    form: Groups, g: Sequence[Any], mean: Any, var: Any, x: Any, affine: Sequence[Any], eps: float
) -> list[Any]:
    image, kind, dtype, axis = form.image(x), x.dtype.str[1:], x.dtype, form.axis
    beside = (1, 1, form.width) if form.batch else (form.samples, form.groups, 1)
    mean, var, gmean, gvar = (v.reshape(beside).astype(np.float64) for v in (mean, var, *g[1:]))
    y, settled, centre = image.settled(g[0]), image.settled(x), image.numbers(mean, dtype)
    both = _totals("sums", image, kind, y, settled, centre).reshape(2, image.samples, form.groups, form.width)
    weight = _beside(form, affine[:1], 1.0)
    rstd = 1 / np.sqrt(var + eps)
    total, product = both[0], both[1] * rstd
    grads = [v.sum(0).astype(dtype).reshape(affine[0].shape) for v in (product, total)[: len(affine)]]
    size = form.samples * form.places if form.batch else form.width * form.places
    total, product = ((v * weight).sum(axis, keepdims=True) / size for v in (total, product))
    slopes = (weight * rstd, gvar * (2 / size) - product * rstd * rstd, gmean / size - total * rstd)
    out, made = image.empty_like(x)
    numbers = (image.numbers(v, dtype) for v in slopes)
    _bound("slope", kind, image)[0](y, settled, centre, *numbers, made)
    return [out, *grads]
