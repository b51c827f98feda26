"""Where a mask holds: the coordinates of its nonzero bytes, in order.

Two passes over blocks of fixed size: how many each block has, then their places, which are written without a branch
into memory of the task (one is written too many times rather than asked for) and turned into coordinates from there.
Where another thread writes to the mask meanwhile, a block keeps to the room that was counted for it: the places are as
wrong as the mask, but lie in the array.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.code.builder import least
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops import plan

BLOCK = 1 << 15  # elements of one task
CHUNK = 1 << 11  # of them at a time
SERIAL = 1 << 17  # elements below which one thread is as fast


def _count(f: Task) -> None:
    mask, counts = f.arrays
    start = f.index * BLOCK
    total = f.cell(f.constant("i8", 0))
    for i in f.range(least(f["n"], start + BLOCK), start):
        total.value = total.value + mask.load(i).to("b1").to("i8")
    counts.store(total.value, f.index)


def _places(rank: int) -> Any:
    def write(f: Task) -> None:
        """Arrays: mask, where each block's places begin (and where the last one's end), result (count, rank)."""
        mask, bounds, out = f.arrays
        found, kept = f.cell(bounds.load(f.index)), f.scratch("i8", CHUNK + 1)
        stop = bounds.load(f.index + 1)
        begin = f.index * BLOCK
        end = least(f["n"], begin + BLOCK)
        for first in f.range(end, begin, CHUNK):
            count = f.cell(f.constant("i8", 0))
            for i in f.range(least(first + CHUNK, end), first):
                kept.store(i, count.value)
                count.value = count.value + mask.load(i).to("b1").to("i8")
            fitting = least(count.value, stop - found.value)
            for k in f.range(fitting):
                place, line = kept.load(k), out.at((found.value + k) * rank)
                for axis in range(rank - 1, 0, -1):
                    rest = place / f[f"size{axis}"]
                    line.store(place - rest * f[f"size{axis}"], axis)
                    place = rest
                line.store(place)
            found.value = found.value + fitting
        for k in f.range(stop, found.value):
            for axis in range(rank):
                out.at(k * rank).store(0, axis)

    return write


_counts = Routine("count nonzero", ("i1", "i8"), ("n",), _count)


@lru_cache(maxsize=16)
def _routine(rank: int) -> Routine:
    words = ["n", *(f"size{axis}" for axis in range(1, rank))]
    return Routine(f"nonzero {rank}", ("i1", "i8", "i8"), words, _places(rank))


def nonzero(mask: Any) -> Any:
    """The coordinates (count, ndim), int64, of the true elements of a dense array of bools."""
    n, rank = mask.size, mask.ndim
    tasks, parallel = -(-n // BLOCK), n >= SERIAL
    counts = np.empty(tasks, np.int64)
    _counts.bind(tasks, parallel=parallel, n=n)(mask, counts)
    bounds = np.zeros(tasks + 1, np.int64)
    counts.cumsum(out=bounds[1:])
    out = plan.empty((int(bounds[-1]), rank), np.dtype(np.int64))
    sizes = {f"size{axis}": mask.shape[axis] for axis in range(1, rank)}
    _routine(rank).bind(tasks, parallel=parallel, n=n, **sizes)(mask, bounds, out)
    return out
