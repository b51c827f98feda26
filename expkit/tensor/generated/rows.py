"""Functions of rows by generated kernels: a reduction along the last axis and what follows from it, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from expkit.kernels.cpu.program import Program, Ref, Step
from expkit.kernels.cpu.reduce import RowKernel
from expkit.tensor.generated.base import Lazy

LEAST = 1 << 12  # elements from which a kernel is faster than NumPy


def _steps(*steps: tuple[Any, ...]) -> tuple[Step, ...]:
    """(name, operands...): whole numbers are values, floats constants."""
    return tuple(Step(name, tuple(Ref(a) if isinstance(a, int) else a for a in args)) for name, *args in steps)


ROWS: dict[str, tuple[int, tuple[Step, ...]]] = {  # name: number of operands, steps; the last value is the result
    "softmax": (1, _steps(("amax", 0), ("sub", 0, 1), ("exp", 2), ("sum", 3), ("reciprocal", 4), ("mul", 3, 5))),
    "softmax_grad": (2, _steps(("mul", 0, 1), ("sum", 2), ("sub", 0, 3), ("mul", 1, 4))),  # g, out
    "log_softmax": (1, _steps(("amax", 0), ("sub", 0, 1), ("exp", 2), ("sum", 3), ("log", 4), ("sub", 2, 5))),
    "log_softmax_grad": (2, _steps(("sum", 0), ("exp", 1), ("mul", 3, 2), ("sub", 0, 4))),  # g, out
}


def _row_kernel(name: str) -> Lazy:
    operands, steps = ROWS[name]
    return Lazy(lambda kind: RowKernel(Program((kind,) * operands, steps, (operands + len(steps) - 1,))))


_ROWS = {name: _row_kernel(name) for name in ROWS}


def rowwise(name: str, *arrays: Any, axis: int) -> Any:
    """One of ROWS along the last axis of arrays of one shape; None where the plain implementation has to do it."""
    x = arrays[0]
    for a in arrays:
        if a.__class__ is not np.ndarray or a.dtype is not x.dtype or a.shape != x.shape:
            return None
    if x.size < LEAST or axis != x.ndim - 1:
        return None
    kernel = _ROWS[name].of(x.dtype)
    return None if kernel is None else kernel(*arrays)[0]
