"""Arrays that are the parts of one, side by side in memory: made so, and seen as one again without a copy.

Gradients of queries, keys and values that were slices of one product are made as slices of one array, so that joining
them, and bringing them to the order of that product, moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.record.recording import address, in_one_block


def _step(xs: Sequence[Any]) -> int | None:
    """The bytes from each array to the next; None where they differ, or the arrays do in more than that."""
    first, places = xs[0], [address(x) for x in xs]
    steps = {b - a for a, b in pairwise(places)}
    same = all(x.shape == first.shape and x.strides == first.strides and x.dtype == first.dtype for x in xs)
    return steps.pop() if same and len(steps) == 1 else None


def like_parts(*xs: Any) -> list[Any] | None:
    """New arrays that lie to each other as xs do, which fill a block of memory; None where these do not."""
    step = _step(xs)
    if step is None or not xs[0].size:
        return None
    shape, strides = (len(xs), *xs[0].shape), (step, *xs[0].strides)
    order = sorted(range(len(shape)), key=lambda a: (shape[a] != 1, -strides[a]))
    expected = xs[0].itemsize
    for a in reversed(order):
        if shape[a] != 1 and strides[a] != expected:
            return None
        expected *= shape[a]
    return list(plan.empty(tuple(shape[a] for a in order), xs[0].dtype).transpose(np.argsort(order)))


def seen_as_one(xs: Sequence[Any], axis: int) -> Any:
    """The array whose parts along an axis are xs, as a view; None where they are none in a recording's memory."""
    if len(xs) < 2 or not all(x.size for x in xs) or not in_one_block(xs):
        return None
    first, wide = xs[0], [x.shape[axis] for x in xs]
    stride = first.strides[axis] if max(wide) > 1 else address(xs[1]) - address(first)
    at = address(first)
    for x, n in zip(xs, wide, strict=True):
        if address(x) != at or (n > 1 and x.strides[axis] != stride):
            return None
        if any(s != t for a, (s, t) in enumerate(zip(x.strides, first.strides, strict=True)) if a != axis):
            return None
        at += n * stride
    shape = (*first.shape[:axis], sum(wide), *first.shape[axis + 1 :])
    strides = (*first.strides[:axis], stride, *first.strides[axis + 1 :])
    return np.lib.stride_tricks.as_strided(first, shape, strides)
