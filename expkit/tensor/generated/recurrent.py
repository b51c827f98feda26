"""Recurrent layers by generated kernels: whole sequences in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cells import CELLS
from expkit.kernels.cpu.arrays.copy import contiguous, copy, dense
from expkit.kernels.cpu.arrays.write import filled, number
from expkit.kernels.cpu.code.ir import SIZES
from expkit.kernels.cpu.gemm.microkernel import blocking
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.nets import recurrent
from expkit.tensor.generated.base import F32, F64, enabled

LEAST, PARALLEL = 1 << 14, 1 << 20  # multiplications from which a kernel, and another thread, are worth it
PAD = 64  # bytes between rows of states and of the room: rows of powers of two would share their places in the cache
FEW, TASKS = 16, 8  # sequences of a task, at least; tasks from which on they get more
Sizes = tuple[int, ...]


def _fits(kind: str, x: Any, *others: Any) -> bool:
    """Whether there are kernels for such operands."""
    return (
        kind in CELLS
        and (x.dtype is F32 or x.dtype is F64)
        and all(v.__class__ is np.ndarray and v.dtype is x.dtype and v.size for v in (x, *others))
        and enabled()
    )


def has_recurrent(kind: str, x: Any, weight: Any, *others: Any) -> bool:
    """Whether kernels are faster."""
    return x.size * weight.shape[1] >= LEAST and _fits(kind, x, weight, *others)


class Backward(NamedTuple):
    """The operands of a layer's gradient: slopes of (result, last h, last c?), None for zero; what was kept; matrices.

    before, carried: h and c before each step; kept: what the cell says, or the result.
    """

    slopes: list[Any]
    before: Any
    carried: Any
    kept: Any
    weight: Any
    projection: Any

    @classmethod
    def of(cls, kind: str, given: tuple[bool, ...], operands: Sequence[Any]) -> Backward:
        """given: which slopes are among the operands."""
        rest, cell = iter(operands), CELLS[kind]
        slopes = [next(rest) if there else None for there in given]
        before, carried = next(rest), next(rest) if cell.carries else None
        return cls(slopes, before, carried, next(rest), next(rest), next(rest) if cell.projects else None)


def parted(kind: str, rest: Sequence[Any]) -> tuple[Any, Any, Any]:
    """(bias, projection, c) of what a layer has besides x, weight and h."""
    cell = CELLS[kind]
    bias = rest[0] if cell.apart and rest else None
    return bias, rest[1] if cell.projects else None, rest[0] if cell.carries else None


def layer(
    x: Any, weight: Any, h: Any, *rest: Any, kind: str, sizes: Sizes, reverse: bool, keeps: bool
) -> tuple[Any, ...] | None:
    """A layer's results by kernels alone; None where there are none for it."""
    if not _fits(kind, x, weight, h, *rest):
        return None
    bias, projection, c = parted(kind, rest)
    return forward(kind, x, weight, (bias, projection), h, c, sizes, reverse, keeps)


def layer_grad(*operands: Any, kind: str, sizes: Sizes, reverse: bool, given: tuple[bool, ...]) -> list[Any] | None:
    """A layer's gradients by kernels alone; None where there are none for it."""
    if not _fits(kind, *operands):
        return None
    return backward(kind, Backward.of(kind, given, operands), sizes, reverse)


ROWS: dict[str, Callable[..., Any]] = {  # of the table in pure.py
    **dict.fromkeys(CELLS, layer), **dict.fromkeys((f"{kind}_grad" for kind in CELLS), layer_grad),
}  # fmt: skip


def forward(
    name: str, x: Any, weight: Any, rest: tuple[Any, Any], h: Any, c: Any, sizes: Sizes, reverse: bool, keeps: bool
) -> tuple[Any, ...]:
    """(result, last h, last c?, and what backward needs: h before each step, c before it?, what is kept?, units?)

    rest: the bias and the projection, or None. keeps: whether there will be a backward; else what only that needs is
    empty.
    """
    cell, dtype, (bias, projection) = CELLS[name], x.dtype, rest
    (n, features), size = h.shape, x.shape[1] // cell.gates
    run, starts, counts, lead, wide = _bound(name, dtype.str[1:], size, features, sizes, reverse, False, keeps)
    state, room = _state(h, (n, features), dtype, lead), plan.empty((n, wide), dtype)
    last = [contiguous(c)] if cell.carries else []
    rows = len(x) if keeps else 0
    out, before = plan.empty((len(x), features), dtype), plan.empty((rows, features), dtype)
    carried = [plan.empty((rows, size), dtype)] if cell.carries else []
    kept = [plan.empty((rows, cell.kept * size), dtype)] if cell.kept else []
    units = [plan.empty((len(x), size), dtype)] if cell.projects else []
    bias = _zeros(x.shape[1], dtype) if bias is None else dense(bias)
    run(
        dense(x), panels(weight.T), bias, panels(projection.T) if cell.projects else bias, state, *(last or [room]),
        room, starts, counts, out, before, *(carried or [before]), *(kept or [before]), *(units or [before]),
    )  # fmt: skip
    return out, contiguous(state[:, :features]), *last, before, *carried, *kept, *units


def backward(name: str, at: Any, sizes: Sizes, reverse: bool) -> list[Any]:
    """The gradients of x, of the first h, of the hidden part of the gates if `apart`, of the first c, and of h after
    each step if projected."""
    cell, dtype, weight, (n, features) = CELLS[name], at.weight.dtype, at.weight, (sizes[0], at.before.shape[1])
    dy, dh, *dc = at.slopes
    size = weight.shape[0] // cell.gates
    run, starts, counts, lead, wide = _bound(name, dtype.str[1:], size, features, sizes, reverse, True)
    state, room = _state(dh, (n, features), dtype, lead), plan.empty((n, wide), dtype)
    first = [_copied(d, (n, size), dtype) for d in dc]
    dx = plan.empty((len(at.before), cell.gates * size), dtype)
    hidden = [plan.empty(dx.shape, dtype)] if cell.apart else []
    projected = [plan.empty(at.before.shape, dtype)] if cell.projects else []
    g = filled(at.before.shape, dtype) if dy is None else dense(dy)
    run(
        g, *map(dense, (at.kept, at.before, at.before if at.carried is None else at.carried)), panels(weight),
        panels(at.projection) if cell.projects else room, state, *(first or [room]), room, starts, counts, dx,
        *(hidden or [dx]), *(projected or [dx]),
    )  # fmt: skip
    return [dx, contiguous(state[:, :features]), *hidden, *first, *projected]


@lru_cache(maxsize=1024)
def _bound(
    name: str, kind: str, size: int, features: int, sizes: Sizes, reverse: bool, back: bool, keeps: bool = True
) -> tuple[Bound, Any, Any, int, int]:
    """(the kernel, each step's first row and how many, elements from row to row of the states and of the room)"""
    cell, n, steps, pad = CELLS[name], sizes[0], len(sizes), PAD // SIZES[kind]
    rows = -(-n // (max(1, min(n // FEW, TASKS)) * recurrent.TALL)) * recurrent.TALL
    counts = np.array(sizes, np.int64)
    starts = np.cumsum(counts) - counts
    counts.flags.writeable = starts.flags.writeable = False
    lead, wide = features + pad, size * cell.gates + pad
    routine = (recurrent.backward if back else recurrent.forward)(kind, name)
    backwards = reverse != back
    run = routine.bind(
        -(-n // rows), parallel=sum(sizes) * size * size * cell.gates >= PARALLEL, rows=rows, steps=steps, size=size,
        features=features, lead=lead, wide=wide, keeps=int(keeps), first=steps - 1 if backwards else 0,
        step=-1 if backwards else 1,
    )  # fmt: skip
    return run, starts, counts, lead, wide


@lru_cache(maxsize=64)
def _zeros(n: int, dtype: Any) -> Any:
    """As a constant."""
    zeros = np.zeros(n, dtype)
    zeros.flags.writeable = False
    return zeros


def _copied(x: Any, shape: tuple[int, int], dtype: Any) -> Any:
    """A dense copy; zeros where there is nothing."""
    return filled(shape, dtype) if x is None else contiguous(x)


def _state(x: Any, shape: tuple[int, int], dtype: Any, lead: int) -> Any:
    """A copy whose rows are `lead` elements apart; zeros where there is nothing."""
    state = plan.empty((shape[0], lead), dtype)
    copy(state[:, : shape[1]], number(0, dtype) if x is None else x)
    return state


def panels(matrix: Any) -> Any:
    """The columns by panels as micro-kernels read them: (panels, rows, width); beyond the last column zeros."""
    rows, columns = matrix.shape
    width = blocking(matrix.dtype.str[1:]).width
    whole, left = divmod(columns, width)
    out = plan.empty((whole + (left > 0), rows, width), matrix.dtype)
    by_panel = matrix[:, : whole * width].T.reshape(whole, width, rows, copy=False)
    copy(out[:whole], by_panel.transpose(0, 2, 1))
    if left:
        copy(out[whole, :, :left], matrix[:, whole * width :])
        copy(out[whole, :, left:], number(0, matrix.dtype))
    return out
