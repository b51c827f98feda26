"""NumPy's products of host arrays, for what generated kernels leave to it: small ones on one thread.

OpenBLAS splits every product of some size over all cores and waits for the slowest part. For small products that gains
nothing, and where another process has one of the cores (the tracking process, a neighbour) the wait is a hundred times
the work: ten epochs on the digits then took 38 s instead of 2 s. So a product below `SMALL` multiplications runs on one
thread; the setting is put back after it, for NumPy is not ours alone.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from expkit.kernels.cpu.machine import pool

SMALL = 1 << 24  # multiplications: about 0.2 ms on one core
TINY = 1 << 13  # multiplications that OpenBLAS does on one thread by itself
_SYMBOLS = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
)


def _find() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """The thread functions of the OpenBLAS that NumPy's wheel brings along; None for another BLAS."""
    site = Path(np.__file__).parent
    for file in sorted((*(site.parent / "numpy.libs").glob("*openblas*"), *(site / ".dylibs").glob("*openblas*"))):
        try:
            library = ctypes.PyDLL(str(file))  # loaded already: the same library again, and calls keep the GIL
        except OSError:
            continue
        for getter, setter in _SYMBOLS:
            if hasattr(library, getter) and hasattr(library, setter):
                get, put = getattr(library, getter), getattr(library, setter)
                get.argtypes, get.restype = [], ctypes.c_int
                put.argtypes, put.restype = [ctypes.c_int], None
                return get, put
    return None


_THREADS = _find()


def get_num_threads() -> int:
    """How many threads a large product may use; 0 where the BLAS does not say."""
    return _THREADS[0]() if _THREADS else 0


def set_num_threads(n: int) -> None:
    """Limits the threads of large products and of generated kernels. RuntimeError where NumPy's BLAS cannot be told."""
    if not isinstance(n, int) or n < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {n!r}")
    if _THREADS is None:
        raise RuntimeError("NumPy's BLAS here is not OpenBLAS; set its own environment variable instead")
    _THREADS[1](n)
    pool.set_num_threads(n)


def matmul(x: Any, y: Any, out: Any = None) -> Any:
    """np.matmul for arrays (of two axes or more) of either library, with the threads that each product is worth."""
    if x.size * y.shape[-1] <= TINY:
        return x.dot(y) if x.ndim == y.ndim == 2 and out is None else np.matmul(x, y, out)  # dot is sooner there
    if _THREADS is None or x.__class__ is not np.ndarray or x.shape[-2] * x.shape[-1] * y.shape[-1] > SMALL:
        return np.matmul(x, y, out)
    get, put = _THREADS
    before = get()
    if before == 1:
        return np.matmul(x, y, out)
    put(1)
    try:
        return np.matmul(x, y, out)
    finally:
        put(before)
