"""Recording kernel calls, to run them again without Python (driver.py).

    with Recording(Arena(reserved(size))) as tape:  # plan.empty hands out the arena's memory now, each call is noted
        ...
    Script(tape).run()

A call may work on memory of the arena, on arrays that were announced (`know`), and on read-only arrays, which are
constants. Anything else makes `foreign` say so: what was done cannot be replayed.
"""

from __future__ import annotations

import ctypes
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.call import LISTENERS, OBJECT, Bound
from expkit.kernels.cpu.record.arena import Arena, Block


class Call(NamedTuple):
    """A kernel call: its kernel, its table without pointers, and the pointers."""

    kernel: Any
    words: Any
    pointers: tuple[int, ...]
    parallel: bool


class Recording:
    """What kernels do between `__enter__` and `__exit__`, in this thread. put_off: they are not run, only noted."""

    def __init__(self, arena: Arena, *, put_off: bool = False) -> None:
        self.arena, self.put_off = arena, put_off
        self.calls: list[Call] = []
        self.cells: list[tuple[int, Any]] = []  # (calls before, addresses that kernels read besides their tables)
        self.flags: list[tuple[Any, str]] = []  # cells that kernels set, and what that means
        self.foreign = ""
        self.kept: list[Any] = []  # constants
        self._known: list[tuple[int, int]] = []  # apart from each other, in order
        self._taken: list[Block] = []  # since the last unit
        self._thread = threading.get_ident()

    def __enter__(self) -> Recording:
        self._empty, plan.empty = plan.empty, self._made
        LISTENERS.append(self)
        RECORDINGS.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        RECORDINGS.remove(self)
        LISTENERS.remove(self)
        plan.empty = self._empty

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Meanwhile nothing is recorded, and memory is anybody's."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def _made(self, shape: Any, dtype: Any) -> Any:
        if threading.get_ident() != self._thread:
            return self._empty(shape, dtype)
        array = self.arena.empty(shape, dtype)
        block = self.arena.newest
        block.born = len(self.calls)
        self._taken.append(block)
        return array

    def know(self, arrays: Iterable[Any]) -> None:
        """Kernels may work on these arrays, which stay where they are or are looked up at each run."""
        bounds = sorted([*self._known, *map(np.lib.array_utils.byte_bounds, arrays)])
        self._known = []
        for low, high in bounds:
            if self._known and low < self._known[-1][1]:
                low, old = self._known.pop()
                high = max(high, old)
            self._known.append((low, high))

    def knows(self, x: Any) -> bool:
        """Whether an array lies in the arena or in one that was announced."""
        at = address(x)
        n = bisect_right(self._known, (at, 1 << 63)) - 1
        return (n >= 0 and at < max(self._known[n][1], self._known[n][0] + 1)) or self.arena.block(at) is not None

    def called(self, bound: Bound, arrays: Sequence[Any]) -> bool:
        """Told of a kernel call before it runs; whether it has taken the call's place."""
        if threading.get_ident() != self._thread:
            return False
        for x in arrays:
            self._meet(x)
        return self._note(bound, arrays)

    def _note(self, bound: Bound, arrays: Sequence[Any]) -> bool:
        self.calls.append(Call(bound.kernel, bound.table, tuple(map(address, arrays)), bound.parallel))
        return self.put_off

    def _meet(self, x: Any) -> None:
        """Takes note of an array that a kernel works on."""
        if not self.knows(x):
            if _changeable(x):
                self.foreign = f"an array of {x.dtype}{list(x.shape)} from elsewhere"
            self.kept.append(x)

    def records(self) -> bool:
        """Whether it is this thread's calls that are noted."""
        return threading.get_ident() == self._thread

    def pointers(self, arrays: Iterable[Any]) -> Any:
        """The addresses of what looks like these arrays to kernels that look for the data behind objects."""
        held = list(arrays)
        for x in held:
            self._meet(x)
        cells = np.array([address(x) for x in held], np.int64)
        self.cells.append((len(self.calls), cells))
        found = address(cells) - OBJECT + 8 * np.arange(len(cells))
        found.flags.writeable = False
        return found

    # ---- units: what is done in one go, or not at all ----

    def begin(self) -> tuple[int, ...]:
        """A unit begins; for `undo`."""
        self.foreign = ""
        self._taken = []
        return len(self.calls), len(self.cells), len(self.flags)

    def undo(self, mark: tuple[int, ...]) -> None:
        """Forgets what was recorded since."""
        calls, cells, flags = mark
        del self.calls[calls:], self.cells[cells:], self.flags[flags:]
        self.end([])

    def end(self, outs: Iterable[Any]) -> None:
        """The unit is done: of its memory, what these arrays lie in is kept until each of them has been dropped."""
        for x in outs:
            block = self.arena.block(address(x))
            if block is not None:
                block.users += 1
        for block in self._taken:
            if not block.users:
                self.arena.give_back(block)
        self._taken = []

    def drop(self, x: Any) -> None:
        """Nobody needs this result of a unit any more."""
        block = self.arena.block(address(x))
        if block is not None:
            block.users -= 1
            if not block.users:
                self.arena.give_back(block)


RECORDINGS: list[Recording] = []  # that are going on


def address(x: Any) -> int:
    """Where an array's data begins."""
    return ctypes.c_int64.from_address(id(x) + OBJECT).value


def objects(arrays: Iterable[Any]) -> Any:
    """What stands for these arrays where kernels look for the data behind objects: they themselves, by their ids; in a
    recording, cells. The caller keeps the arrays alive."""
    held = list(arrays)
    for tape in RECORDINGS:
        if tape.records():
            return tape.pointers(held)
    return np.array([id(x) for x in held], np.int64)


def in_one_block(arrays: Sequence[Any]) -> bool:
    """Whether arrays lie in one block of a recording that is going on: they stay where they are to each other."""
    for tape in RECORDINGS:
        blocks = [tape.arena.block(address(x)) for x in arrays]
        if blocks[0] is not None and all(b is blocks[0] for b in blocks):
            return True
    return False


def flag(message: str) -> Any:
    """A cell (int64, one element, 0) that a kernel sets where an index is out of range; `message` is for the user."""
    cell = np.zeros(1, np.int64)
    for tape in RECORDINGS:
        tape.know([cell])
        tape.flags.append((cell, message))
    return cell


def _changeable(x: Any) -> bool:
    """Whether somebody may write to the array."""
    if not x.size:
        return False
    while x.__class__ is np.ndarray and x.base is not None:
        x = x.base
    return not (x.__class__ is np.ndarray and not x.flags.writeable)
