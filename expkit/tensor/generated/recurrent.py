"""Recurrent layers by generated kernels: whole sequences in one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from expkit.kernels.cells import CELLS
from expkit.kernels.cpu.arrays.copy import contiguous
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


def has_recurrent(name: str, x: Any, weight: Any, *others: Any) -> bool:
    """Whether there is a kernel for such operands."""
    return (
        name in CELLS
        and (x.dtype is F32 or x.dtype is F64)
        and x.size * weight.shape[1] >= LEAST
        and all(v.__class__ is np.ndarray and v.dtype is x.dtype for v in (x, weight, *others))
        and enabled()
    )


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
    state, room = _state(h, lead), np.empty((n, wide), dtype)
    last = [np.array(c, order="C")] if cell.carries else []
    rows = len(x) if keeps else 0
    out, before = plan.empty((len(x), features), dtype), plan.empty((rows, features), dtype)
    carried = [plan.empty((rows, size), dtype)] if cell.carries else []
    kept = [plan.empty((rows, cell.kept * size), dtype)] if cell.kept else []
    units = [plan.empty((len(x), size), dtype)] if cell.projects else []
    given = np.ascontiguousarray(x), _panels(weight.T)
    if bias is None:
        bias = np.zeros(x.shape[1], dtype)
    run(
        *given, np.ascontiguousarray(bias), _panels(projection.T) if cell.projects else bias, state, *(last or [room]),
        room, starts, counts, out, before, *(carried or [before]), *(kept or [before]), *(units or [before]),
    )  # fmt: skip
    return out, state[:, :features].copy(), *last, before, *carried, *kept, *units


def backward(
    name: str, g: Any, dh: Any, dc: Any, weight: Any, projection: Any, saved: Sequence[Any], sizes: Sizes, reverse: bool
) -> tuple[Any, Any, Any, Any, Any]:
    """The gradients of x, of the hidden part of the gates, of the first h and c, and of h after each step if projected.

    g: that of the result; saved: h before each step, c before it or None, what is kept.
    """
    cell, dtype, (n, features) = CELLS[name], g.dtype, dh.shape
    size = weight.shape[0] // cell.gates
    run, starts, counts, lead, wide = _bound(name, dtype.str[1:], size, features, sizes, reverse, True)
    state, room = _state(dh, lead), np.empty((n, wide), dtype)
    first = np.array(dc, order="C") if cell.carries else None
    dx = plan.empty((len(g), cell.gates * size), dtype)
    hidden = plan.empty(dx.shape, dtype) if cell.apart else dx
    projected = plan.empty(g.shape, dtype) if cell.projects else None
    before, carried, kept = saved
    given = [np.ascontiguousarray(v) for v in (g, kept, before, before if carried is None else carried)]
    run(
        *given, _panels(weight), _panels(projection) if cell.projects else room, state,
        room if first is None else first, room, starts, counts, dx, hidden, dx if projected is None else projected,
    )  # fmt: skip
    return dx, hidden, state[:, :features].copy(), first, projected


@lru_cache(maxsize=1024)
def _bound(
    name: str, kind: str, size: int, features: int, sizes: Sizes, reverse: bool, back: bool, keeps: bool = True
) -> tuple[Bound, Any, Any, int, int]:
    """(the kernel, each step's first row and how many, elements from row to row of the states and of the room)"""
    cell, n, steps, pad = CELLS[name], sizes[0], len(sizes), PAD // SIZES[kind]
    rows = -(-n // (max(1, min(n // FEW, TASKS)) * recurrent.TALL)) * recurrent.TALL
    counts = np.array(sizes, np.int64)
    lead, wide = features + pad, size * cell.gates + pad
    routine = (recurrent.backward if back else recurrent.forward)(kind, name)
    backwards = reverse != back
    run = routine.bind(
        -(-n // rows), parallel=sum(sizes) * size * size * cell.gates >= PARALLEL, rows=rows, steps=steps, size=size,
        features=features, lead=lead, wide=wide, keeps=int(keeps), first=steps - 1 if backwards else 0,
        step=-1 if backwards else 1,
    )  # fmt: skip
    return run, np.cumsum(counts) - counts, counts, lead, wide


def _state(x: Any, lead: int) -> Any:
    """A copy whose rows are `lead` elements apart."""
    state = np.empty((len(x), lead), x.dtype)
    state[:, : x.shape[1]] = x
    return state


def _panels(matrix: Any) -> Any:
    """The columns by panels as micro-kernels read them: (panels, rows, width); beyond the last column zeros."""
    rows, columns = matrix.shape
    width = blocking(matrix.dtype.str[1:]).width
    count = -(-columns // width)
    if columns % width:
        wide = np.zeros((rows, count * width), matrix.dtype)
        wide[:, :columns] = matrix
        matrix = wide
    return contiguous(matrix.T.reshape(count, width, rows).transpose(0, 2, 1))
