"""Generated kernels as implementations of primitives: for large float arrays of NumPy, and only where there is one.

Each function here takes a plain implementation and gives one that runs the kernel from a size on at which it is
faster. The plain one keeps everything else: small arrays, other dtypes and array libraries, empty reductions, a machine
without llvmlite, EXPKIT_KERNELS=0. Results agree within the bounds of kernels/cpu/math.py.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import numpy as np

from expkit import flags
from expkit.kernels.cpu import llvm
from expkit.kernels.cpu.fuse import Kernel
from expkit.kernels.cpu.plan import OBJECT
from expkit.kernels.cpu.program import Program, Ref, Step, unary
from expkit.kernels.cpu.reduce import Reduction, RowKernel

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
LEAST = 1 << 12  # elements from which a costly function is faster than NumPy's
LEAST_SUM = 1 << 13  # elements from which a reduction is
_lock = threading.Lock()


@cache
def enabled() -> bool:
    """Whether kernels are generated here; decided once."""
    if not flags.read("KERNELS"):
        return False
    try:
        llvm.machine()
    except (ImportError, OSError, RuntimeError):
        return False
    probe = np.zeros(1)  # the generated calls read an array's data pointer behind the object's header
    return ctypes.c_int64.from_address(id(probe) + OBJECT).value == probe.ctypes.data


class Lazy:
    """The kernels of one program for both dtypes, made when first wanted."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._made: dict[str, Any] = {}

    def of(self, dtype: Any) -> Any:
        """The kernel, or None."""
        kind = "f4" if dtype is F32 else "f8" if dtype is F64 else ""
        found = self._made.get(kind, self)
        return self._first(kind) if found is self else found

    def _first(self, kind: str) -> Any:
        with _lock:
            if kind not in self._made:
                self._made[kind] = self._make(kind) if kind and enabled() else None
        return self._made[kind]


def elementwise(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of a costly function of one operand."""
    lazy = Lazy(lambda kind: Kernel(unary(name, kind)))

    @wraps(plain)
    def impl(x: Any) -> Any:
        if x.__class__ is np.ndarray and x.size >= LEAST:
            kernel = lazy.of(x.dtype)
            if kernel is not None:
                return kernel(x)
        return plain(x)

    return impl


def reduction(name: str, plain: Callable[..., Any], *, whole: bool = True) -> Callable[..., Any]:
    """The implementation of sum, amax or amin over axes, the last one among them: NumPy is as fast along the others.

    whole: also where all axes are reduced, at which NumPy's extrema are as fast.
    """
    lazy = Lazy(lambda kind: Reduction(Program((kind,), (Step(name, (Ref(0),)),), (1,))))

    @wraps(plain)
    def impl(x: Any, *, axes: tuple[int, ...]) -> Any:
        if x.__class__ is np.ndarray and x.size >= LEAST_SUM and _worth(axes, x.ndim, whole):
            kernel = lazy.of(x.dtype)
            if kernel is not None:
                return kernel((x,), axes)
        return plain(x, axes=axes)

    return impl


def _worth(axes: tuple[int, ...], ndim: int, whole: bool) -> bool:
    return bool(axes) and axes[-1] == ndim - 1 and (whole or len(axes) < ndim)


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
