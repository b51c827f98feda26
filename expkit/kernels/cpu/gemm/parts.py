"""Products with a long k and few tiles: parts of k have tasks of their own, whose results are then added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import Place, along
from expkit.kernels.cpu.gemm.epilogue import Places, tail
from expkit.kernels.cpu.gemm.microkernel import blocking
from expkit.kernels.cpu.loops import plan

WORDS = ("rows", "m", "n", "parts", "c_row", "adds", "finish")
BAND = 1 << 12  # elements of C in a task


@lru_cache(maxsize=16)
def adding(kind: str) -> Routine:
    """C (= or +=) the sum of parts, one [m, n] after another, and what follows: (parts, steps, slots, C)."""
    lanes = blocking(kind).lanes

    def write(f: Task) -> None:
        parts, places = f.arrays[0], Places(f)
        top, part = f.index * f["rows"], f["m"] * f["n"]
        rows = least(f["m"] - top, f["rows"])
        for r in f.range(rows):
            source, target = parts.at((top + r) * f["n"]), places.c.move((top + r) * f["c_row"])
            along(f, 0, f["n"], lanes, partial(_add, f, source, target, part))
        places.finish(top, 0, rows, f["n"])

    return Routine(f"gemm parts {kind}", (kind, *tail(kind)), WORDS, write, explicit=True)


def _add(f: Task, source: Pointer, target: Pointer, part: Value, place: Place) -> None:
    total = f.cell(place.load(source))
    for p in f.range(f["parts"], start=1):
        total.value = total.value + place.load(source.at(p * part))
    with f.when(f["adds"].compare("ne", 0)):
        total.value = total.value + place.load(target)
    place.store(target, total.value)


class Split:
    """The calls of one product: call(A, B, slots, C); `product` makes the parts."""

    __slots__ = ("_add", "_product", "_shape", "_steps")

    def __init__(self, product: Callable[..., None], kind: str, words: dict[str, int], steps: Any) -> None:
        rows = max(1, BAND // words["n"])
        self._add = adding(kind).bind(-(-words["m"] // rows), parallel=True, rows=rows, **words)
        self._product, self._steps = product, steps
        self._shape = (words["parts"], words["m"], words["n"])

    def __call__(self, a: Any, b: Any, slots: Sequence[Any], c: Any) -> None:
        parts = plan.empty(self._shape, c.dtype)
        self._product(a, b, (self._steps,) * len(slots), parts)
        self._add(parts, self._steps, *slots, c)
