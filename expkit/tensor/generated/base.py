"""Whether kernels are generated here, and the dtypes that most of them are for."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from expkit import flags
from expkit.kernels.cpu.machine import llvm, memory
from expkit.kernels.cpu.machine.call import OBJECT

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


@cache
def enabled() -> bool:
    """Whether kernels are generated here; decided once."""
    if not flags.read("KERNELS"):
        return False
    try:
        llvm.machine()
    except (ImportError, OSError, RuntimeError):
        return False
    if memory.keep():
        memory.align()
    probe = np.zeros(1)  # the generated calls read an array's data pointer behind the object's header
    return ctypes.c_int64.from_address(id(probe) + OBJECT).value == probe.ctypes.data
