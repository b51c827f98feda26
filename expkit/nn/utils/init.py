"""Modules whose parameters are left as they come."""

from __future__ import annotations

from typing import Any

from expkit.nn.module import Module
from expkit.tensor import get_rng_state, set_rng_state


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """The module, its parameters of no particular value: for what is loaded over them. Draws no random numbers.

    `device` in the arguments is where it is put.
    """
    if not isinstance(module_cls, type) or not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    device = kwargs.pop("device", "cpu")
    state = get_rng_state()
    try:
        module = module_cls(*args, **kwargs)
    finally:
        set_rng_state(state)
    return module.to(device=device)
