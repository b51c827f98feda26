"""Operations over many arrays at once: plainly, by kernels, and in place for programs that are recorded.

Operands of an update, for a formula of a arrays and c counters over `size` segments (see kernels/cpu/nets/formula.py):
the numbers, then the first array of each segment, the second of each, ..., then the counters in the same way. Results:
what is overwritten, in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.primitive import PRIMITIVES
from expkit.kernels.cpu.arrays.copy import contiguous, copy, like
from expkit.kernels.cpu.loops.program import Ref
from expkit.kernels.cpu.nets.formula import Formula, change
from expkit.kernels.cpu.nets.update import total
from expkit.tensor.generated.base import F32, F64, enabled
from expkit.tensor.generated.update import same_order

Columns = list[list[Any]]


def columns(operands: Sequence[Any], formula: Formula, size: int) -> tuple[Columns, Columns]:
    """(arrays, counters) of each operand, one of each segment."""
    found = [list(operands[k : k + size]) for k in range(0, len(operands), size)]
    return found[: formula.update.arrays], found[formula.update.arrays :]


def written(operands: Sequence[Any], formula: Formula, size: int) -> tuple[Any, ...]:
    """Those of the operands that are overwritten."""
    arrays, counters = columns(operands, formula, size)
    return tuple(x for column in [*(arrays[k] for k in formula.written), *counters] for x in column)


# ---- the implementation ----------------------------------------------------------------------------------------------


def updated(numbers: Any, *operands: Any, formula: Formula, size: int) -> tuple[Any, ...]:
    """What the update makes of the arrays, which stay as they are."""
    arrays, counters = columns(operands, formula, size)
    for k in formula.written:
        arrays[k] = [x.copy(order="K") for x in arrays[k]]
    counters = [[c.copy() for c in column] for column in counters]
    own = [x for column in (*arrays, *counters) for x in column]
    if not enabled() or in_place(numbers, *own, formula=formula, size=size) is None:
        _change(formula, numbers.tolist(), arrays, counters)
    return written(own, formula, size)


def _change(formula: Formula, numbers: list[float], arrays: Columns, counters: Columns) -> None:
    """The update in place, operation by operation."""
    *options, left = numbers
    if left:
        return
    for n in range(len(arrays[0])):
        mine, state = [column[n] for column in arrays], [column[n] for column in counters]
        taken, after = formula.numbers([*options, *(c.item() for c in state)])
        made = [*mine, *map(mine[0].dtype.type, taken)]
        for step in formula.update.steps:
            args = [made[a.number] if isinstance(a, Ref) else a for a in step.args]
            made.append(PRIMITIVES[step.name].impl(*args, **dict(step.kw)))
        for array, place in formula.update.writes:
            mine[array][...] = made[place]
        for c, x in zip(state, after, strict=True):
            c[...] = x


def summed(*arrays: Any, of: str) -> Any:
    """One of SUMS over all elements, as 0-d float64."""
    if enabled() and all(x.__class__ is np.ndarray and x.dtype in (F32, F64) for x in arrays):
        return total(of, [x if _dense(x) else np.ascontiguousarray(x) for x in arrays])
    parts = [x.astype(np.float64) for x in arrays]
    return np.asarray(sum(float((x * x if of == "squares" else x * 0.0).sum()) for x in parts))


# ---- by kernel calls alone -------------------------------------------------------------------------------------------


def in_place(numbers: Any, *operands: Any, formula: Formula, size: int) -> tuple[Any, ...] | None:
    """The update in the arrays' own memory, which is what it returns; None, and nothing done, where it cannot be.

    The arrays of a segment are dense in one order and share no memory with any others; what is only read may be in
    another order, and is copied then.
    """
    arrays, counters = columns(operands, formula, size)
    if not _usable(numbers, arrays, counters, formula.written):
        return None
    for k in set(range(formula.update.arrays)) - set(formula.written):
        arrays[k] = [_ordered(x, first) for x, first in zip(arrays[k], arrays[0], strict=True)]
    change(formula, numbers, arrays, counters)
    return written([x for column in (*arrays, *counters) for x in column], formula, size)


def _usable(numbers: Any, arrays: Columns, counters: Columns, overwritten: Sequence[int]) -> bool:
    if numbers.dtype != F64 or not numbers.flags.c_contiguous:
        return False
    if any(x.__class__ is not np.ndarray for column in (*arrays, *counters) for x in column):
        return False
    if any(len({c.dtype for c in column}) != 1 or column[0].dtype not in (F32, F64) for column in counters):
        return False
    kinds = {x.dtype for column in arrays for x in column}
    together = all(same_order(x, y) for k in overwritten for x, y in zip(arrays[0], arrays[k], strict=True))
    return len(kinds) == 1 and kinds <= {F32, F64} and together and all(map(_dense, arrays[0]))


def pure_update(numbers: Any, *operands: Any, formula: Formula, size: int) -> tuple[Any, ...] | None:
    """As `updated`, by kernel calls alone; None where there are none."""
    arrays, counters = columns(operands, formula, size)
    if not _usable(numbers, arrays, counters, formula.written):
        return None
    for k in formula.written:
        arrays[k] = [_copied(x) for x in arrays[k]]
    counters = [[_copied(c) for c in column] for column in counters]
    return in_place(numbers, *(x for column in (*arrays, *counters) for x in column), formula=formula, size=size)


def pure_sum(*arrays: Any, of: str) -> Any:
    """As `summed`, by kernel calls alone; None where there are none."""
    if not all(x.__class__ is np.ndarray and x.dtype in (F32, F64) for x in arrays):
        return None
    return total(of, [x if _dense(x) else contiguous(x) for x in arrays])


def _dense(x: Any) -> bool:
    """Whether x's elements fill a stretch of memory, in whatever order of its axes."""
    if x.flags.forc:
        return True
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    return bool(x.transpose(order).flags.c_contiguous)


def _copied(x: Any) -> Any:
    out = like(x)
    copy(out, x)
    return out


def _ordered(x: Any, first: Any) -> Any:
    """x, in the first array's order of memory."""
    if same_order(x, first) and _dense(x):
        return x
    out = like(first)
    copy(out, x)
    return out
