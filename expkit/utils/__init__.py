"""Helpers by torch.utils' names: `checkpoint`."""

from expkit.utils import checkpoint

__all__ = ["checkpoint"]
