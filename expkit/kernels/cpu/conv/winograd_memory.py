"""Memory for intermediate results: buffers that outlive a call, and a piece of one for each task that runs.

A fresh array of some megabytes costs more in page faults than the arithmetic that it is for. Calls that come at the
same time from several threads get buffers of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from expkit.kernels.cpu.code.builder import Pointer
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.machine.locks import forkable
from expkit.kernels.cpu.machine.pool import pool

LIMIT = 64 << 20  # bytes kept between calls
LINE = 64  # bytes: vectors that cross lines of the cache cost twice
_free: list[Any] = []
_lock = forkable()


@contextmanager
def borrowed(*sizes: int) -> Iterator[list[Any]]:
    """Float32 arrays of so many elements (at least), with undefined content, that begin on a cache line."""
    found = [_take(size) for size in sizes]
    yield found
    with _lock:
        _free.extend(found)
        while sum(a.nbytes for a in _free) > LIMIT:
            _free.pop(0)


def _take(size: int) -> Any:
    with _lock:
        fitting = [(a.size, k) for k, a in enumerate(_free) if a.size >= size]
        if fitting:
            return _free.pop(min(fitting)[1])
    return aligned(size)


def aligned(size: int) -> Any:
    """A float32 array that begins on a cache line, with undefined content."""
    block = np.empty(size + LINE // 4, np.float32)
    return block[-block.ctypes.data % LINE // 4 :][:size]


class Slotted:
    """A routine whose tasks claim pieces, with its numbers but for `slots`: one for each of the pool's threads."""

    def __init__(self, routine: Routine, tasks: int, **words: int) -> None:
        self._routine, self._tasks, self._words = routine, tasks, words
        self._bound: dict[int, Bound] = {}

    def run(self) -> tuple[Bound, int]:
        """The routine for the present number of threads, and that number."""
        slots = pool().threads
        if slots not in self._bound:
            self._bound[slots] = self._routine.bind(self._tasks, parallel=True, slots=slots, **self._words)
        return self._bound[slots], slots


def new_slots(count: int) -> Any:
    """Flags for `claimed`, each on a line of its own, all free."""
    return np.zeros(count * LINE // 8, np.int64)


@contextmanager
def claimed(f: Task, slots: Pointer, pieces: Pointer, size: Value) -> Iterator[Pointer]:
    """A piece of `pieces` (each of `size` elements) for this task alone: that of the first free one of the slots.

    There are as many slots as threads (the word `slots`); with fewer a task would wait until another ends.
    """
    step = LINE // 8
    slot = f.cell(f.constant("i8", 0))
    again, next_, got = f.label("claim"), f.label("next"), f.label("got")
    f.write(f"  br label %{again}\n{again}:")
    flag = slots.at(slot.value * step)
    was = f.put("i8", f"atomicrmw xchg {flag!r}, i64 1 acquire")
    free = was.compare("eq", 0)
    f.write(f"  br i1 {free.name}, label %{got}, label %{next_}\n{next_}:")
    slot.value = (slot.value + 1) % f["slots"]
    f.write(f"  br label %{again}\n{got}:")
    mine = slot.value
    yield pieces.at(mine * size)
    f.write(f"  store atomic i64 0, {slots.at(mine * step)!r} release, align 8")
