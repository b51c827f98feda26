"""Normalisation of channels by kernels: batch, group and instance norm, images in either order of memory.

Nothing but kernel calls: what `kernels/cpu/record` replays. A Program around the norm (kernels/cpu/nets/image_norm.py)
runs inside of its passes through the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.code.vectors import bits
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, TILE
from expkit.kernels.cpu.loops.program import Program
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.nets import image_columns, image_norm, image_statistics
from expkit.tensor.generated.base import F64

TASK = 1 << 15  # elements of columns in a task
NEAR = 1 << 12  # elements that are gone through twice from the nearest cache
COLUMN = 512  # the most places that one sum takes in where channels are innermost
WIDE = 64  # channels from which the rows of columns are gone through one by one: twice as many for moments
FEWEST = 16  # places that are summed at once
SHORT = 16  # places from which runs are long enough, where both orders are the same
Axes = tuple[int, ...]


class Groups(NamedTuple):
    """Images of samples, groups * width channels and `places`; statistics are shared over samples, or in a group."""

    samples: int
    groups: int
    width: int
    places: int
    batch: bool

    def image(self, x: Any) -> Image:
        """x's order in memory; a sample of columns is the whole batch where statistics are shared by it."""
        channels, last = self.groups * self.width, x.ndim - 1
        order = (0, *range(2, last + 1), 1) if self.batch else (0, 3, 1, 2)
        columns = x.transpose(order).flags.c_contiguous and (self.places < SHORT or not x.flags.c_contiguous)
        if columns and self.batch:
            return Image(1, channels, self.samples * self.places, order)
        return Image(self.samples, channels, self.places, order if columns else ())

    @property
    def stats(self) -> Axes:
        """The shape of mean and variance."""
        return (self.width,) if self.batch else (self.samples, self.groups)


class Image(NamedTuple):
    """samples, channels, places; `order`: the axes as they lie in memory where channels are innermost, else ()."""

    samples: int
    channels: int
    places: int
    order: Axes

    def settled(self, x: Any) -> Any:
        """x as it lies in memory, contiguous."""
        return dense(x.transpose(self.order) if self.order else x)

    def empty_like(self, x: Any) -> tuple[Any, Any]:
        """A new array of x's shape, in this order; and as it lies in memory."""
        if not self.order:
            made = plan.empty(x.shape, x.dtype)
            return made, made
        made = plan.empty(tuple([x.shape[i] for i in self.order]), x.dtype)
        return made.transpose(np.argsort(self.order)), made

    @property
    def block(self) -> int:
        """Places of an entry: of a task, where channels are innermost."""
        return min(self.places, max(FEWEST, TASK // self.channels)) if self.order else self.places

    @property
    def parts(self) -> Axes:
        """The shape of what is found by entries."""
        return (self.samples, -(-self.places // self.block), 2, self.channels)


@lru_cache(maxsize=4096)
def _through(name: str, kind: str, image: Image, numbers: int, program: Program | None) -> Bound:
    """A pass through images. `numbers`: the size of a row of coefficients."""
    samples, channels, places, order = image
    wide = channels > WIDE * (1 + (name == "moments"))
    if order:
        block, step = image.block, min(COLUMN, max(FEWEST * (1 + wide), NEAR // channels))
        tasks = samples * -(-places // block)
    else:
        block, step = max(1, TILE // places), 0
        tasks = -(-samples * channels // block)
    sizes = (samples * channels, channels, places, block, -(-places // block), step, numbers)
    what: tuple[Any, ...] = (kind,) if name == "moments" else (kind, program)
    if name in image_norm.MAPS:
        name, what = "map", (name, *what)
    if order:
        routine = getattr(image_columns, f"column_{name}")(*what, wide)
    else:
        routine = getattr(image_norm, f"run_{name}")(*what)
    words = dict(zip(image_norm.WORDS, sizes, strict=True))
    return routine.bind(tasks, parallel=samples * channels * places >= PARALLEL, **words)


@lru_cache(maxsize=4096)
def _between(name: str, kind: str, image: Image, form: Groups, eps: float, *what: Any) -> Bound:
    """A kernel on numbers by channel; `what`: what its code depends on besides."""
    samples, blocks, _, channels = image.parts
    by = {"coefficients": "coefficients"}.get(name, f"{'batch' if form.batch else 'group'}_{name}")
    routine = getattr(image_statistics, by)(kind, *what)
    tasks = -(-channels // image_statistics.CHUNK) if form.batch else form.groups if name == "weights" else samples
    return routine.bind(
        tasks, parallel=samples * blocks * channels >= PARALLEL, samples=samples, channels=channels,
        places=image.places, block=image.block, blocks=blocks, width=form.width, eps=bits(eps),
    )  # fmt: skip


def _numbers(form: Groups, image: Image, mean: Any, var: Any, affine: Sequence[Any], eps: float) -> Any:
    """Mean, scale and shift, by channel and perhaps sample."""
    made = plan.empty((image_norm.NUMBERS, _row(form, image)), mean.dtype)
    run = _between("coefficients", mean.dtype.str[1:], image, form, eps, len(affine), form.batch)
    run(mean, var, *affine, made)
    return made


def _row(form: Groups, image: Image) -> int:
    """The size of a row of coefficients."""
    return image.channels if form.batch else image.samples * image.channels


def normalize(
    form: Groups, x: Any, affine: Sequence[Any], eps: float, program: Program | None = None, others: Sequence[Any] = ()
) -> tuple[Any, ...]:
    """(result, mean, var). With a program of (normalised value, *others): (its results..., mean, var).

    The others are images of x's shape; the program's results have x's dtype.
    """
    image, kind = form.image(x), x.dtype.str[1:]
    settled, affine, row = image.settled(x), [dense(v) for v in affine], _row(form, image)
    parts = plan.empty(image.parts, F64)
    _through("moments", kind, image, row, None)(settled, parts)
    mean, var = (plan.empty(form.stats, x.dtype) for _ in range(2))
    _between("statistics", kind, image, form, eps)(parts, mean, var)
    numbers = _numbers(form, image, mean, var, affine, eps)
    outs = [image.empty_like(x) for _ in range(1 if program is None else len(program.outputs))]
    run = _through("apply", kind, image, row, program)
    run(settled, *map(image.settled, others), numbers, *(made for _, made in outs))
    return *(out for out, _ in outs), mean, var


def normalize_grad(
    form: Groups, sources: Sequence[Any], mean: Any, var: Any, x: Any, affine: Sequence[Any], eps: float, grads: int,
    program: Program | None = None,
) -> list[Any]:  # fmt: skip
    """The gradients of x and, `grads` of them, of weight and bias, from g, that of the normalised value: sources[0].

    With a program of (*sources, normalised value): its first result is g; the others are returned behind the gradients.
    """
    image, kind = form.image(x), x.dtype.str[1:]
    settled, affine, row = image.settled(x), [dense(v) for v in affine], _row(form, image)
    mean, var, sources = dense(mean), dense(var), [image.settled(v) for v in sources]
    numbers, parts = _numbers(form, image, mean, var, affine, eps), plan.empty(image.parts, F64)
    beside = [image.empty_like(x) for _ in (() if program is None else program.outputs[1:])]
    _through("sums", kind, image, row, program)(*sources, settled, numbers, *(made for _, made in beside), parts)
    slopes = plan.empty((image_norm.SLOPES, row), x.dtype)
    made = [plan.empty(affine[0].shape, x.dtype) for _ in range(grads)]
    _finish(form, image, kind, eps, parts, var, affine, slopes, made)
    if program is not None:
        kept = [v for k, (_, v) in zip(program.outputs[1:], beside, strict=True) if k == program.outputs[0]]
        program, sources = (None, kept[:1]) if kept else (program._replace(outputs=program.outputs[:1]), sources)
    out, there = image.empty_like(x)
    _through("slope", kind, image, row, program)(*sources, settled, numbers, slopes, there)
    return [out, *made, *(v for v, _ in beside)]


def _finish(
    form: Groups, image: Image, kind: str, eps: float, parts: Any, var: Any, affine: Sequence[Any], slopes: Any,
    grads: Sequence[Any],
) -> None:  # fmt: skip
    """From sums to coefficients of the slope, and to the gradients of weight and bias."""
    weight = affine[:1]
    if form.batch:
        _between("slopes", kind, image, form, eps, bool(weight), len(grads))(parts, var, *weight, slopes, *grads)
        return
    _between("slopes", kind, image, form, eps, bool(weight))(parts, var, *weight, slopes)
    if grads:
        _between("weights", kind, image, form, eps, len(grads))(parts, var, *grads)
