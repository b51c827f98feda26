"""softmax and log_softmax along one axis, a kernel each, for programs that are recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from expkit.kernels.cpu.loops.program import Program, Ref, Step
from expkit.kernels.cpu.loops.reduce import RowKernel
from expkit.kernels.cpu.loops.strips import StripKernel
from expkit.tensor.generated.base import F32, F64, enabled

# of a row x, which is operand 0: what follows is operand 1, 2, ...
_LOWERED = (Step("amax", (Ref(0),)), Step("sub", (Ref(0), Ref(1))), Step("exp", (Ref(2),)), Step("sum", (Ref(3),)))
_STEPS = {
    "softmax": (*_LOWERED, Step("reciprocal", (Ref(4),)), Step("mul", (Ref(3), Ref(5)))),
    "log_softmax": (*_LOWERED, Step("log", (Ref(4),)), Step("sub", (Ref(2), Ref(5)))),
}


@cache
def _kernel(name: str, kind: str, axis: int | None) -> Callable[..., list[Any]]:
    """axis: None for the last one."""
    program = Program((kind,), _STEPS[name], (len(_STEPS[name]),))
    return RowKernel(program) if axis is None else StripKernel(program, axis)


def _along(name: str, x: Any, *, axis: int) -> Any:
    """By a kernel; None where there is none."""
    if x.__class__ is not np.ndarray or (x.dtype is not F32 and x.dtype is not F64) or not x.size or not enabled():
        return None
    return _kernel(name, x.dtype.str[1:], None if axis == x.ndim - 1 else axis)(x)[0]


ROWS: dict[str, Callable[..., Any]] = {name: partial(_along, name) for name in _STEPS}  # of the table in pure.py
