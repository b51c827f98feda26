"""Memory of large arrays: kept by the process instead of going back to the system with each result.

glibc maps blocks above a threshold (at most 32 MiB, moving) straight from the system and unmaps them when they are
freed, and it gives back the heap's end. A 64 MiB result then costs 16 384 page faults, as long as computing it: an
addition of two such arrays takes 11 ms with and 6 ms without. `keep` has the heap hold what is freed: blocks up to
KEPT, up to SPARE bytes of unused memory at its end.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

KEPT = 1 << 29  # bytes of the largest block that comes from the heap
SPARE = (1 << 31) - 1  # bytes at the heap's end that stay; mallopt takes an int
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


@cache
def keep() -> bool:
    """Sets glibc's limits, once; whether they were set. What the environment says of them (mallopt(3)) has priority."""
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, KEPT)) and bool(mallopt(_TRIM_THRESHOLD, SPARE))
