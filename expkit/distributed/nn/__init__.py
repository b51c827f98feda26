"""torch.distributed.nn's place: `functional`, the collectives with gradients."""

from expkit.distributed.nn import functional

__all__ = ["functional"]
