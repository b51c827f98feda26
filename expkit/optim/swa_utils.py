"""torch.optim.swa_utils' names. They need nn as well, so they live a layer above, in expkit/averaging.py."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("expkit.averaging"), name)
