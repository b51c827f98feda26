"""GPU facts by torch.cuda's names."""

from expkit.tensor.devices import device_count, is_available, synchronize

__all__ = ["device_count", "is_available", "synchronize"]
