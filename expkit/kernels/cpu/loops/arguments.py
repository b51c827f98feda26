"""Where the extremum lies along an axis that is not the fastest: a block of columns keeps its best values and places.

The first place wins, and NaN before everything. (Along the fastest axis NumPy's own loop is at memory speed.)
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.code.builder import least
from expkit.kernels.cpu.code.elementwise import DTYPES
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, collapse
from expkit.kernels.cpu.machine.call import Bound

COLUMNS = 256  # of one task; their state stays in the nearest cache
_BETTER = {"argmax": ("ugt", "gt"), "argmin": ("ult", "lt")}


def _better(name: str, x: Value, best: Value) -> Value:
    floats, others = _BETTER[name]
    if not x.is_float:
        return x.compare(others, best)
    return x.block.put("b1", f"fcmp {floats} {x!r}, {best.name}") & best.compare("eq", best)


@lru_cache(maxsize=64)
def _routine(name: str, kind: str) -> Routine:
    def write(f: Task) -> None:
        x, out = f.arrays
        best, place = f.scratch(kind, COLUMNS), f.scratch("i4", COLUMNS)
        start = (f.index % f["blocks"]) * COLUMNS
        row = f.index / f["blocks"]
        count = least(f["columns"] - start, COLUMNS)
        first = x.move(row * f["outer"]).at(start)
        for i in f.range(count):
            best.store(first.load(i), i)
            place.store(f.constant("i4", 0), i)
        for m in f.range(f["middle"], 1):
            at, number = first.move(m * f["step"]), f.put("i4", f"trunc i64 {m.name} to i32")
            for i in f.range(count):
                new, old = at.load(i), best.load(i)
                wins = _better(name, new, old)
                best.store(wins.select(new, old), i)
                place.store(wins.select(number, place.load(i)), i)
        to = out.at(row * f["columns"] + start)
        for i in f.range(count):
            to.store(place.load(i).to("i8"), i)

    return Routine(f"{name}_{kind}", (kind, "i8"), ("columns", "blocks", "middle", "step", "outer"), write)


class Place:
    """argmax or argmin of one kind of elements: kernel(x, axis) -> int64 array; None where it is no column."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self._plans: dict[Any, tuple[Bound | None, tuple[int, ...]]] = {}

    def __call__(self, x: Any, axis: int) -> Any:
        key = (axis, x.shape, x.strides)
        found = self._plans.get(key)
        if found is None:
            found = plan.remembered(self._plans, key, self._plan(x, axis))
        run, shape = found
        if run is None:
            return None
        out = plan.empty(shape, np.int64)
        run(x, out)
        return out

    def _plan(self, x: Any, axis: int) -> tuple[Bound | None, tuple[int, ...]]:
        kept = [i for i in range(x.ndim) if i != axis]
        shape = tuple(x.shape[i] for i in kept)
        sizes, (steps,) = collapse(shape, [[x.strides[i] for i in kept]])
        middle, wide, step = x.shape[axis], DTYPES[self.kind].itemsize, x.strides[axis]
        sizes, steps = sizes or [1], steps or [wide]
        columns = len(sizes) in (1, 2) and steps[-1] == wide and abs(step) >= sizes[-1] * wide
        if not columns or not 0 < middle < 1 << 31 or not x.size:
            return None, shape
        blocks = -(-sizes[-1] // COLUMNS)
        run = _routine(self.name, self.kind).bind(
            prod(sizes[:-1]) * blocks, parallel=x.size >= PARALLEL, columns=sizes[-1], blocks=blocks, middle=middle,
            step=step, outer=steps[0] if len(sizes) == 2 else 0,
        )  # fmt: skip
        return run, shape
