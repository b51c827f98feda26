"""Whole training steps in expkit, PyTorch and JAX: speed, agreement, memory, first call (`benchmarks/NOTES.md`)."""
