"""Which elements a convolution reads, axis by axis: the one description that its kernels share.

All arrays are seen with three spatial axes (those that are missing have size 1), channels last. Along one axis, the
result's place p reads the source's places p * step + start + t * spacing for t < taps; places outside count as zero.
A convolution is one such pass. Its gradient by the input is one as well for each residue of the input's place by the
stride: each class of places is reached by some of the kernel's taps only, in steps of 1 (no products with zeros).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

Pads = Sequence[tuple[int, int]]
Sizes = tuple[int, ...]
SPATIAL = 3


def table(numbers: Any) -> Any:
    """A table of whole numbers that kernels read; it is not written any more, which recordings rely on."""
    made = np.array(numbers, np.int64)
    made.flags.writeable = False
    return made


def round_up(n: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-n // step) * step


class Axis(NamedTuple):
    """One axis of a pass: `size` places in the source, `out` in the result; those lie at first, first + jump, ..."""

    size: int
    out: int
    step: int
    start: int
    spacing: int
    places: tuple[int, ...]  # the kernel's place of each tap, in the order of the source's
    first: int = 0
    jump: int = 1

    @property
    def taps(self) -> int:
        return len(self.places)


class Pass(NamedTuple):
    """A pass: its three axes."""

    axes: tuple[Axis, Axis, Axis]
    kernel: Sizes

    @property
    def out(self) -> Sizes:
        return tuple(axis.out for axis in self.axes)

    @property
    def taps(self) -> int:
        return prod(axis.taps for axis in self.axes)

    def places(self) -> list[int]:
        """The index, in the flattened kernel, of each tap."""
        _, height, width = self.kernel
        return [(d * height + h) * width + w for d, h, w in itertools.product(*(axis.places for axis in self.axes))]

    def target(self) -> tuple[slice, ...]:
        """Which places of the whole result this pass computes."""
        return tuple(slice(a.first, a.first + (a.out - 1) * a.jump + 1, a.jump) for a in self.axes)


class Shape(NamedTuple):
    """A convolution's numbers along three axes: sizes of input, kernel and output, and how windows lie."""

    size: Sizes
    kernel: Sizes
    out: Sizes
    stride: Sizes
    before: Sizes  # padding in front of each axis; what is behind follows from `out`
    dilation: Sizes


def shape_of(size: Sizes, kernel: Sizes, out: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Shape:
    """The same for one to three axes: missing ones are put in front."""
    ones = (1,) * (SPATIAL - len(size))
    before = (*(0 for _ in ones), *(lo for lo, _ in padding))
    return Shape(ones + size, ones + kernel, ones + out, ones + stride, before, ones + dilation)


def forward(s: Shape) -> Pass:
    """The convolution."""
    axes = tuple(
        Axis(size, out, stride, -before, dilation, tuple(range(kernel)))
        for size, kernel, out, stride, before, dilation in zip(*s, strict=True)
    )
    return Pass(axes, s.kernel)  # type: ignore[arg-type]


def backward(s: Shape) -> list[Pass]:
    """Its gradient by the input, class by class: from the output's places to the input's."""
    classes = (_residues(*numbers) for numbers in zip(*s, strict=True))
    return [Pass(axes, s.kernel) for axes in itertools.product(*classes)]  # type: ignore[arg-type]


def _residues(size: int, kernel: int, out: int, stride: int, before: int, dilation: int) -> list[Axis]:
    """Place i of the input is reached from p = (i + before - k dilation) / stride where that is whole."""
    spacing = dilation // gcd(stride, dilation)
    found = []
    classes = min(stride, size)
    for first in range(classes):
        places = [k for k in reversed(range(kernel)) if (first + before - k * dilation) % stride == 0]
        start = (first + before - places[0] * dilation) // stride if places else 0
        found.append(Axis(out, -(-(size - first) // stride), 1, start, spacing, tuple(places), first, classes))
    return found
