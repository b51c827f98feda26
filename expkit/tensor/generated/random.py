"""Random numbers by a generated kernel, without their words in memory."""

from __future__ import annotations

from math import prod
from typing import Any

from expkit.kernels.cpu.code.elementwise import DTYPES
from expkit.kernels.cpu.code.vectors import bits
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, TILE
from expkit.kernels.cpu.nets import random as kernels
from expkit.tensor.generated.base import enabled

LEAST = 1 << 6  # numbers from which the kernel is faster than NumPy


def fill(name: str, seed: int, offset: int, shape: tuple[int, ...], chance: float = 0.0) -> Any:
    """An array of `shape` with the results `name` (see MAKERS) of the counters from `offset` on; None without a kernel.

    Words are int32 here.
    """
    count = prod(shape)
    if count < LEAST or name not in kernels.MAKERS or not enabled():
        return None
    out = plan.empty(shape, DTYPES[kernels.MAKERS[name][0]])
    run = kernels.fill(name).bind(
        -(-count // TILE), parallel=count >= PARALLEL,
        seed=_signed(seed), offset=_signed(offset), count=count, block=TILE, chance=bits(chance),
    )  # fmt: skip
    run(out)
    return out


def _signed(word: int) -> int:
    """The 64 bits of a number, as those of a signed one."""
    word %= 1 << 64
    return word - (1 << 64) if word >> 63 else word
