"""Many tensors overwritten, or added up, by one equation of a program: updates of parameters, clipping, running means.

Only a trace that is going to be replayed records these; elsewhere `generated/update.py` does the same at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle, wrap
from expkit.autograd.inplace import write
from expkit.autograd.mode import MODE, open_trace
from expkit.autograd.primitive import Primitive
from expkit.kernels.cpu.code.elementwise import kind_of
from expkit.kernels.cpu.nets.formula import Formula, named
from expkit.tensor.dtypes import float64
from expkit.tensor.generated import segments as arrays_of
from expkit.tensor.generated.base import F32, F64, enabled
from expkit.tensor.generated.update import disjoint
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.join import stack
from expkit.tensor.ops.movement import alias_p, overwrite_p

MANY = 0  # results: as many as there are arrays to overwrite


def _update_shape(_numbers: Any, *operands: Any, formula: Formula, size: int) -> tuple[Aval, ...]:
    return tuple(Aval(x.shape, x.dtype, x.device) for x in arrays_of.written(operands, formula, size))


update_p = Primitive("update", arrays_of.updated, _update_shape, nout=MANY)
sum_all_p = Primitive("sum_all", arrays_of.summed, lambda x, *_rest, of: Aval((), F64, x.device))


def recording() -> Any:
    """The trace at work, if it is one that is going to be replayed and may use kernels; else None."""
    trace = open_trace() if MODE.special else None
    return trace if trace is not None and trace.live and MODE.stack[-1] is trace and enabled() else None


def record_update(
    formula: Formula, numbers: Handle, arrays: Sequence[Sequence[Handle]], counters: Sequence[Sequence[Handle]] = ()
) -> None:
    """Overwrites tensors as the formula says, by one equation. numbers: float64, those of `formula.change`."""
    operands, size = [x for column in (*arrays, *counters) for x in column], len(arrays[0])
    made = update_p(numbers, *operands, formula=formula, size=size)
    for x, value in zip(arrays_of.written(operands, formula, size), made, strict=True):
        write(x, value, overwrite_p, fresh=True)


def record_all(name: str, operands: Sequence[Sequence[Handle]], *numbers: Any, left: Any = 0.0) -> bool:
    """One of SIMPLE for all tensors, recorded; False (and nothing done) where it is not for them, or nothing records.

    numbers: of the formula, as numbers or 0-d tensors; left: one that is not 0 where all is to be left as it is.
    """
    trace = recording()
    if trace is None or not operands[0]:
        return False
    columns = [[_whole(x) for x in column] for column in operands]
    tensors = [x for column in columns for x in column]
    if not all(recordable(trace, x) for x in tensors) or any(x.chain is not None for x in columns[0]):
        return False
    if any([x.shape for x in column] != [x.shape for x in columns[0]] for column in columns):
        return False
    if len({x.raw.dtype for x in tensors}) != 1 or not apart(tensors):
        return False
    record_update(named(name, kind_of(tensors[0].raw.dtype)), vector(*numbers, left), columns)
    return True


def _whole(x: Any) -> Any:
    """The tensor that x was detached from, if it was."""
    while isinstance(x, Handle) and x.chain is not None and x.chain.prim is alias_p:
        x = x.chain.parent
    return x


def record_sum(name: str, tensors: Sequence[Handle]) -> Any:
    """One of SUMS over all elements as a 0-d float64 tensor, recorded; None where it is not for them."""
    trace = recording()
    if trace is None or not tensors or not all(recordable(trace, x) for x in tensors):
        return None
    return sum_all_p(*tensors, of=name) if len({x.raw.dtype for x in tensors}) == 1 else None


def recordable(trace: Any, x: Any) -> bool:
    """Whether x is a tensor of float32 or float64 in the CPU's memory, as far as the trace knows."""
    if not isinstance(x, Handle) or x.raw.dtype not in (F32, F64):
        return False
    return x.raw.__class__ is np.ndarray or (getattr(x.raw, "trace", None) is trace and x.raw.device in (None, "cpu"))


def apart(tensors: Sequence[Handle]) -> bool:
    """Whether no two tensors share a value, or memory."""
    raws = [x.raw for x in tensors]
    return len(set(map(id, raws))) == len(raws) and disjoint([raw for raw in raws if raw.__class__ is np.ndarray])


def vector(*numbers: Any) -> Any:
    """Numbers and 0-d tensors as one float64 tensor."""
    if not any(isinstance(x, Handle) for x in numbers):
        return wrap(np.array(numbers, np.float64))
    return stack([as_dtype(x, float64) if isinstance(x, Handle) else wrap(np.array(x, np.float64)) for x in numbers])
