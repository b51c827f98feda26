"""Tensors and nested data in files: safetensors, strict JSON, `save` and `load`. Nothing is pickled."""

from expkit.serialization.files import load, save

__all__ = ["load", "save"]
