"""functional_call under the name of its older place."""

from expkit.func import functional_call

__all__ = ["functional_call"]
