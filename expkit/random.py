"""The default generator by torch.random's names, and `fork_rng`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from expkit.tensor import default_generator, get_rng_state, initial_seed, manual_seed, set_rng_state


def seed() -> int:
    """Seeds the default generator from the operating system's entropy; returns the seed."""
    return default_generator.seed()


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cuda") -> Iterator[None]:
    """Draws inside do not move the default generator: its state is put back at the end.

    devices and device_type are PyTorch's: one generator serves all devices here.
    """
    before = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(before)


__all__ = ["default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]
