"""Orders of samples: pure functions of their seeds, the same on every machine, with nothing to save."""

import numpy as np

from expkit.tensor import Generator, randperm

_MASK = (1 << 64) - 1


def mixed(*numbers: int) -> int:
    """One 63-bit seed out of several numbers; neighbours give unrelated seeds (splitmix64, Steele et al. 2014)."""
    state = 0
    for number in numbers:
        state = (state + (number & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def seeded(*numbers: int) -> Generator:
    """A generator of its own for these numbers (seed, epoch, ...)."""
    generator = Generator()
    generator.manual_seed(mixed(*numbers))
    return generator


def permutation(n: int, *numbers: int) -> np.ndarray:
    """The integers below n in an order that hangs on `numbers` only: (n,) int64."""
    return randperm(n, generator=seeded(*numbers)).numpy()
