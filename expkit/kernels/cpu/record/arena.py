"""Memory of a recorded program: one reserved piece of address space, handed out by lifetime during the recording.

What is never touched costs nothing, so that space is reserved generously. Blocks that are given back are handed out
again, the smallest one that fits first.
"""

from __future__ import annotations

import mmap
import sys
from bisect import bisect_right, insort
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.machine.memory import HUGE, SPREAD, STAGGER

LINE = 64  # bytes: blocks begin on cache lines
PAGE = 1 << 12
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)  # Python names it from 3.12 on


class Block:
    """A part of the arena. users: how many values lie in it; born: how many calls had been recorded by then."""

    __slots__ = ("array", "born", "size", "start", "users")

    def __init__(self, start: int, size: int, array: Any) -> None:
        self.start, self.size, self.array, self.users, self.born = start, size, array, 0, 0


class Arena:
    """Hands out `memory`, an array of bytes. MemoryError where it does not suffice."""

    def __init__(self, memory: Any) -> None:
        self.memory, self.size = memory, len(memory)
        self.base = memory.ctypes.data
        self.peak = 0
        self._free = [(0, self.size)]  # (start, size), by start
        self._starts: list[int] = []
        self._blocks: dict[int, Block] = {}

    def empty(self, shape: Sequence[int] | int, dtype: Any) -> Any:
        """A new array in a block of its own."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        dtype = np.dtype(dtype)
        size = prod(shape) * dtype.itemsize
        start = self._take(_padded(size))
        array = np.ndarray(shape, dtype, self.memory, start)
        self.newest = self._blocks[start] = Block(start, size, array)
        insort(self._starts, start)
        return array

    def block(self, address: int) -> Block | None:
        """The block that an address lies in."""
        at = address - self.base
        if not 0 <= at < self.size:
            return None
        n = bisect_right(self._starts, at) - 1
        found = self._blocks[self._starts[n]] if n >= 0 else None
        return found if found is not None and at < found.start + max(found.size, 1) else None

    def give_back(self, block: Block) -> None:
        """The block's memory may be handed out again."""
        del self._blocks[block.start], self._starts[bisect_right(self._starts, block.start) - 1]
        insort(self._free, (block.start, _padded(block.size)))
        n = bisect_right(self._free, (block.start, self.size))
        merged: list[tuple[int, int]] = []
        low, high = max(0, n - 2), min(len(self._free), n + 1)
        for start, size in self._free[low:high]:
            if merged and sum(merged[-1]) == start:
                merged[-1] = merged[-1][0], merged[-1][1] + size
            else:
                merged.append((start, size))
        self._free[low:high] = merged

    def forget(self, block: Block) -> None:
        """Gives the memory of a block's whole pages back to the system; what it holds is lost."""
        space = getattr(self.memory.base, "obj", None)
        first, end = -(-block.start // PAGE) * PAGE, (block.start + block.size) // PAGE * PAGE
        if isinstance(space, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and first < end:
            space.madvise(mmap.MADV_DONTNEED, first, end - first)

    def _take(self, size: int) -> int:
        fitting = [(free, n) for n, (_, free) in enumerate(self._free) if free >= size]
        if fitting:
            free, n = min(fitting)
            start = self._free[n][0]
            self._free[n : n + 1] = [(start + size, free - size)] if free > size else []
            self.peak = max(self.peak, start + size)
            return start
        raise MemoryError(f"a compiled program needs more than the {self.size} bytes that were reserved for it")


def _padded(size: int) -> int:
    """Blocks of several pages begin at different places of a page, as in memory.py."""
    if size >= SPREAD:
        return -(-size // PAGE) * PAGE + (STAGGER // LINE) * LINE
    return -(-max(size, 1) // LINE) * LINE


def reserved(size: int) -> Any:
    """Address space of that size, without memory yet. OSError where there is none."""
    size = -(-size // PAGE) * PAGE
    flags = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0) | NO_RESERVE
    space = mmap.mmap(-1, size, flags=flags) if flags else mmap.mmap(-1, size)
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        space.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(space, np.uint8)


def most_of(size: int, least: int = 1 << 30) -> Any:
    """Address space of that size, or as much of it as there is; None where that is less than `least`."""
    while size >= least:
        try:
            return reserved(size)
        except OSError:
            size //= 2
    return None
