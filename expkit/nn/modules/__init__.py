"""torch.nn.modules' name for the layers of expkit.nn, and `modules.module`, where the hooks of all modules are."""

from typing import Any

from expkit import nn
from expkit.nn.modules import module

__all__ = ["module"]


def __getattr__(name: str) -> Any:
    found = getattr(nn, name, None)
    if not (isinstance(found, type) and issubclass(found, module.Module)):
        raise AttributeError(f"module 'expkit.nn.modules' has no attribute {name!r}")
    return found
