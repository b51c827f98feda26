"""Recording kernel calls, to run them again without Python (driver.py).

    with Recording(Arena(size)) as tape:   # plan.empty hands out the arena's memory now, each kernel call is noted
        ...
    Driver(tape.calls, tape.cells)()

A call may work on memory of the arena, on arrays that were announced (`know`), and on read-only arrays, which are
constants. Anything else makes `foreign` true: what was done cannot be replayed.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.call import LISTENERS, OBJECT, Bound
from expkit.kernels.cpu.record.arena import Arena


class Call(NamedTuple):
    """A kernel call: its kernel, its table without pointers, and the pointers."""

    kernel: Any
    words: Any
    pointers: tuple[int, ...]
    parallel: bool


class Recording:
    """What kernels do between `__enter__` and `__exit__`, in this thread."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.calls: list[Call] = []
        self.cells: list[Any] = []  # arrays of addresses that kernels read besides their tables
        self.foreign = ""
        self._known: list[tuple[int, int]] = []
        self._kept: list[Any] = []  # constants
        self._thread = threading.get_ident()

    def __enter__(self) -> Recording:
        self._empty, plan.empty = plan.empty, self._made
        LISTENERS.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        LISTENERS.remove(self)
        plan.empty = self._empty

    def _made(self, shape: Any, dtype: Any) -> Any:
        mine = threading.get_ident() == self._thread
        return self.arena.empty(shape, dtype) if mine else self._empty(shape, dtype)

    def know(self, array: Any) -> None:
        """Kernels may work on this array, which stays where it is or is looked up at each run."""
        self._known.append(np.lib.array_utils.byte_bounds(array))

    def called(self, bound: Bound, arrays: Sequence[Any]) -> None:
        """Told of a kernel call before it runs."""
        if threading.get_ident() != self._thread:
            return
        for x in arrays:
            if not self._allowed(x):
                self.foreign = f"an array of {x.dtype}{list(x.shape)} from elsewhere"
        pointers = tuple(address(x) for x in arrays)
        self.calls.append(Call(bound.kernel, bound.table, pointers, bound.parallel))

    def _allowed(self, x: Any) -> bool:
        at = address(x)
        if self.arena.block(at) is not None or any(low <= at < max(high, low + 1) for low, high in self._known):
            return True
        if x.size and x.flags.writeable:
            return False
        self._kept.append(x)
        return True

    def pointers(self, arrays: Iterable[Any]) -> Any:
        """The addresses of what looks like these arrays to kernels that look for the data behind objects."""
        cells = np.array([address(x) for x in arrays], np.int64)
        self.cells.append(cells)
        found = address(cells) - OBJECT + 8 * np.arange(len(cells))
        found.flags.writeable = False
        return found


def address(x: Any) -> int:
    """Where an array's data begins."""
    return ctypes.c_int64.from_address(id(x) + OBJECT).value
