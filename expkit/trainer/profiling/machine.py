"""What the machine can do, measured: operations a second in registers, bytes a second from memory.

Both by kernels of the engine on all of its threads: products of matrices that fit into the caches, and sums of vectors
that do not (a += b: as in McCalpin's STREAM, 1995, two vectors are read and one is written).
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from expkit.tensor import matmul, no_grad, rand

SIZES = (512, 1024, 1536)  # of products: the fastest one counts
VECTOR = 1 << 24  # float32 numbers, 64 MiB: beyond all caches
ROUNDS = 5


class Peaks(NamedTuple):
    """Operations and bytes a second."""

    flops: float
    bandwidth: float

    def roof(self, intensity: float) -> float:
        """The operations a second that are within reach at so many operations for each byte (Williams et al., 2009)."""
        return min(self.flops, intensity * self.bandwidth)

    def least(self, flops: float, count: float) -> float:
        """The shortest time in seconds for so many operations and bytes."""
        return max(flops / self.flops, count / self.bandwidth)


def measure() -> Peaks:
    """The machine's peaks; takes about a second."""
    with no_grad():
        return Peaks(max(map(_product, SIZES)), _sum())


def _product(size: int) -> float:
    x, y = rand(size, size), rand(size, size)
    return 2 * size**3 / _fastest(lambda: matmul(x, y))


def _sum() -> float:
    a, b = rand(VECTOR), rand(VECTOR)
    return 3 * a.nbytes / _fastest(lambda: a.add_(b))


def _fastest(run: Callable[[], object]) -> float:
    """The shortest time of some runs, in seconds."""
    run()
    times = []
    for _ in range(ROUNDS):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)
