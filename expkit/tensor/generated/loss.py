"""Cross entropy with class indices by generated kernels, of logits and of log-probabilities; rows of the unit matrix.

x: (..., N, C), index: (..., N). The functions of the table are made of kernels alone; what is small is left to NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.arrays.gather import index_kind
from expkit.kernels.cpu.arrays.write import number
from expkit.kernels.cpu.code.elementwise import KINDS
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, TILE
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.nets import cross_entropy as kernels
from expkit.kernels.cpu.record.recording import flag
from expkit.tensor.generated.base import F32, F64, enabled

LEAST = 1 << 8  # elements from which a kernel is faster than NumPy


@lru_cache(maxsize=4096)
def _bound(name: str, kind: str, rows: int, n: int, ignore: int) -> Bound:
    block = max(1, TILE // n)
    run = getattr(kernels, name)(kind)
    return run.bind(-(-rows // block), parallel=rows * n >= PARALLEL, n=n, rows=rows, block=block, ignore=ignore)


@lru_cache(maxsize=1024)
def _several(name: str, kind: str, rows: int, words: tuple[tuple[str, int], ...]) -> Bound:
    return getattr(kernels, name)(kind).bind(rows, parallel=False, **dict(words))


def _fits(x: Any, index: Any, *others: Any) -> bool:
    if x.__class__ is not np.ndarray or not x.size or index.__class__ is not np.ndarray or index.dtype != np.int64:
        return False
    return (x.dtype is F32 or x.dtype is F64) and all(o.dtype is x.dtype for o in others) and enabled()


def losses(of: str, x: Any, index: Any, cell: Any, ignore: int, reduction: str) -> list[Any] | None:
    """[loss], and of "forward" its rows' (maximum, logarithm of the sum of exponentials less that) behind it.

    of: "forward" takes logits, "pick" log-probabilities. The cell becomes 1 where an index is neither a class nor
    `ignore`. None without a kernel.
    """
    if not _fits(x, index):
        return None
    kind, index = x.dtype.str[1:], dense(index)
    loss, logs = plan.empty(index.shape, x.dtype), [plan.empty((*index.shape, 2), x.dtype)] * (of == "forward")
    _bound(of, kind, index.size, x.shape[-1], ignore)(dense(x), index, loss, *logs, cell)
    if reduction == "none":
        return [loss, *logs]
    words = (("n", index.shape[-1]), ("ignore", ignore), ("mean", int(reduction == "mean")))
    out = plan.empty(index.shape[:-1], x.dtype)
    _several("total", kind, prod(out.shape), words)(loss, index, out)
    return [out, *logs]


def looked(of: str, x: Any, index: Any, ignore: int, reduction: str) -> list[Any] | None:
    """As `losses` at once; None too where it is small, or an index is no class."""
    if x.size < LEAST:
        return None
    cell = np.zeros(1, np.int64)
    found = losses(of, x, index, cell, ignore, reduction)
    return None if cell[0] else found


def _flagged(of: str, x: Any, index: Any, *, ignore: int, reduction: str) -> list[Any] | None:
    if not _fits(x, index):
        return None
    n = x.shape[-1]
    cell = flag(f"a class index is out of range for {n} classes: targets must lie in [0, {n - 1}]")
    return losses(of, x, index, cell, ignore, reduction)


def _picked(*args: Any, **kw: Any) -> Any:
    found = _flagged("pick", *args, **kw)
    return None if found is None else found[0]


def factors(index: Any, *, dtype: Any, ignore: int, reduction: str, g: Any = None) -> Any:
    """What each loss has of the gradient g of the result (1 if not given); None without a kernel."""
    dtype = np.dtype(dtype)
    if (dtype is not F32 and dtype is not F64) or index.dtype != np.int64 or not index.size or not enabled():
        return None
    steps = (0, 0) if g is None else (0, 1) if reduction == "none" else (1, 0)
    whole = reduction == "none"
    n, rows = (index.size, 1) if whole else (index.shape[-1], prod(index.shape[:-1]))
    mean = int(reduction == "mean")
    words = (("n", n), ("ignore", ignore), ("mean", mean), ("per_row", steps[0]), ("per_loss", steps[1]))
    out = plan.empty(index.shape, dtype)
    _several("shares", dtype.str[1:], rows, words)(dense(index), number(1, dtype) if g is None else dense(g), out)
    return out


def row_slopes(g: Any, logs: Any, x: Any, index: Any, *, ignore: int, reduction: str) -> Any:
    """(softmax(x) - one_hot(index)) * the factors of g; None without a kernel."""
    if not _fits(x, index, g):
        return None
    index, out = dense(index), plan.empty(x.shape, x.dtype)
    scale = factors(index, dtype=x.dtype, ignore=ignore, reduction=reduction, g=g)
    run = _bound("backward", x.dtype.str[1:], index.size, x.shape[-1], 0)
    run(dense(x), index, dense(logs), scale, out)
    return out


def unpicked(g: Any, x: Any, index: Any, *, ignore: int, reduction: str) -> Any:
    """-one_hot(index) * the factors of g, in x's shape; None without a kernel."""
    if not _fits(x, index, g):
        return None
    index, out = dense(index), plan.empty(x.shape, x.dtype)
    scale = factors(index, dtype=x.dtype, ignore=ignore, reduction=reduction, g=g)
    _bound("unpick", x.dtype.str[1:], index.size, x.shape[-1], 0)(index, scale, out)
    return out


def one_hot(index: Any, *, dtype: Any, classes: int) -> Any:
    """1 at each class; None without a kernel."""
    kind, of = KINDS.get(np.dtype(dtype)), index_kind(index.dtype)
    if kind is None or of is None or not index.size or not classes or not enabled():
        return None
    block, out = max(1, TILE // classes), plan.empty((*index.shape, classes), dtype)
    run = kernels.one_hot(kind, of).bind(-(-index.size // block), n=classes, rows=index.size, block=block)
    run(dense(index), out)
    return out


ROWS: dict[str, Callable[..., Any]] = {  # of the table in pure.py
    "cross_entropy": partial(_flagged, "forward"), "cross_entropy_grad": row_slopes, "nll": _picked,
    "nll_grad": unpicked, "loss_factors": factors, "one_hot": one_hot,
}  # fmt: skip
