"""Whether kernels are generated here, and the kernels of one program for both float dtypes."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from expkit import flags
from expkit.kernels.cpu import llvm, memory
from expkit.kernels.cpu.call import OBJECT

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
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
    memory.keep()
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
