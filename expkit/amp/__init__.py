"""Mixed precision, by torch.amp's names: autocast, custom_fwd and custom_bwd for Functions, GradScaler."""

from expkit.amp.context import autocast, is_autocast_available
from expkit.amp.function import custom_bwd, custom_fwd
from expkit.amp.grad_scaler import GradScaler
from expkit.amp.settings import (
    clear_autocast_cache,
    get_autocast_dtype,
    is_autocast_cache_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)

__all__ = [
    "GradScaler", "autocast", "clear_autocast_cache", "custom_bwd", "custom_fwd", "get_autocast_dtype",
    "is_autocast_available", "is_autocast_cache_enabled", "is_autocast_enabled", "set_autocast_cache_enabled",
    "set_autocast_dtype", "set_autocast_enabled",
]  # fmt: skip
