"""Random numbers by a generated kernel, without their words in memory."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.code.elementwise import DTYPES
from expkit.kernels.cpu.code.vectors import bits
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, TILE
from expkit.kernels.cpu.nets import random as kernels
from expkit.tensor.generated.base import enabled

LEAST = 1 << 6  # numbers from which the kernel is faster than NumPy


def fill(name: str, state: Any, shape: tuple[int, ...], chance: float = 0.0) -> Any:
    """An array of `shape` with the results `name` (see MAKERS) of a state, (seed, offset) as uint64; None without a
    kernel. Words are int32 here."""
    count = prod(shape)
    if name not in kernels.MAKERS or not enabled():
        return None
    out = plan.empty(shape, DTYPES[kernels.MAKERS[name][0]])
    if count:
        run = kernels.fill(name).bind(
            -(-count // TILE), parallel=count >= PARALLEL, count=count, block=TILE, chance=bits(chance)
        )
        run(state, out)
    return out


def large(shape: tuple[int, ...]) -> bool:
    """Whether a kernel is faster than NumPy."""
    return prod(shape) >= LEAST


def _words(state: Any, *, words: int, device: Any) -> Any:
    found = fill("words", state, (words,))
    return None if found is None else found.view(np.uint32)


ROWS: dict[str, Callable[..., Any]] = {  # of the table in pure.py
    "philox": _words,
    "random": lambda state, *, name, shape, chance: fill(name, state, shape, chance),
}
