"""Memory for intermediate results: a piece of a buffer for each task that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.write import filled
from expkit.kernels.cpu.code.builder import Pointer
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.machine.pool import pool

LINE = 64  # bytes of a line of the cache


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
    return filled((count * LINE // 8,), np.dtype(np.int64))


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
