"""Images in memory: arrays (..., C, *S) that are contiguous, or whose channels are last (NHWC)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from expkit.kernels.cpu.arrays import copy
from expkit.kernels.cpu.loops import plan

Sizes = tuple[int, ...]


@lru_cache(maxsize=64)
def order_of(ndim: int, spatial: int) -> tuple[Sizes, Sizes]:
    """The axes as they lie in memory where the channels are last, and the way back."""
    lead = ndim - spatial
    return (*range(lead - 1), *range(lead, ndim), lead - 1), (*range(lead - 1), ndim - 1, *range(lead - 1, ndim - 1))


def is_last(x: Any) -> bool:
    """Whether the channels of (N, C, *S) lie last in memory, and the array is not in its own order as well."""
    return not x.flags.c_contiguous and x.transpose(order_of(x.ndim, x.ndim - 2)[0]).flags.c_contiguous


def arranged(x: Any, spatial: int) -> tuple[Any, bool]:
    """(x, whether its channels are last), copied where it is in neither order."""
    if x.flags.c_contiguous or x.ndim == spatial:
        return copy.dense(x), False
    last = x.transpose(order_of(x.ndim, spatial)[0]).flags.c_contiguous
    return x if last else copy.dense(x), last


def dense(x: Any, spatial: int, last: bool) -> Any:
    """x, or a copy of it, in that order."""
    if not last:
        return copy.dense(x)
    order, back = order_of(x.ndim, spatial)
    return copy.dense(x.transpose(order)).transpose(back)


def empty(shape: Sizes, size: Sizes, dtype: Any, last: bool) -> Any:
    """A new array (*lead, *size) in that order, `shape` being (*lead, *any)."""
    full = (*shape[: len(shape) - len(size)], *size)
    if not last:
        return plan.empty(full, dtype)
    order, back = order_of(len(full), len(size))
    return plan.empty(tuple(full[i] for i in order), dtype).transpose(back)
