"""Cross entropy with class indices by generated kernels, of logits and of log-probabilities."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, TILE
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.nets import cross_entropy as kernels
from expkit.tensor.generated.base import F32, F64, enabled

LEAST = 1 << 8  # elements from which a kernel is faster than NumPy


@lru_cache(maxsize=4096)
def _bound(name: str, kind: str, rows: int, n: int, ignore: int) -> Bound:
    block = max(1, TILE // n)
    run = getattr(kernels, name)(kind)
    return run.bind(-(-rows // block), parallel=rows * n >= PARALLEL, n=n, rows=rows, block=block, ignore=ignore)


def _worth(x: Any, index: Any) -> bool:
    if x.__class__ is not np.ndarray or x.size < LEAST or index.__class__ is not np.ndarray:
        return False
    return (x.dtype is F32 or x.dtype is F64) and index.dtype == np.int64 and enabled()


def row_losses(x: Any, index: Any, ignore: int) -> tuple[Any, Any] | None:
    """(loss (...), logs (..., 2)) of the rows of x (..., C); None without a kernel.

    index (...) holds classes, and `ignore` where a row counts nothing. logs: each row's maximum, and the logarithm of
    its sum of exponentials less that.
    """
    if not _worth(x, index):
        return None
    losses, logs = plan.empty(index.shape, x.dtype), plan.empty((*index.shape, 2), x.dtype)
    run = _bound("forward", x.dtype.str[1:], index.size, x.shape[-1], ignore)
    run(np.ascontiguousarray(x), np.ascontiguousarray(index), losses, logs)
    return losses, logs


def row_slopes(x: Any, index: Any, logs: Any, factors: Any) -> Any:
    """(softmax(x) - one_hot(index)) * factors, factors (...) for each row; None without a kernel."""
    if not _worth(x, index):
        return None
    out = plan.empty(x.shape, x.dtype)
    run = _bound("backward", x.dtype.str[1:], index.size, x.shape[-1], 0)
    run(*map(np.ascontiguousarray, (x, index, logs, np.broadcast_to(factors, index.shape))), out)
    return out


def picked(x: Any, index: Any, ignore: int) -> Any:
    """-x[index] of each row of x (..., C), 0 where the index is `ignore`; None without a kernel."""
    if not _worth(x, index) or not x.flags.c_contiguous:
        return None
    losses = plan.empty(index.shape, x.dtype)
    _bound("pick", x.dtype.str[1:], index.size, x.shape[-1], ignore)(x, np.ascontiguousarray(index), losses)
    return losses


def unpicked(x: Any, index: Any, factors: Any) -> Any:
    """-one_hot(index) * factors, in x's shape; None without a kernel."""
    if not _worth(x, index):
        return None
    out = plan.empty(x.shape, x.dtype)
    run = _bound("unpick", x.dtype.str[1:], index.size, x.shape[-1], 0)
    run(*map(np.ascontiguousarray, (index, np.broadcast_to(factors, index.shape))), out)
    return out
