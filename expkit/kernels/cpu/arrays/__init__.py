"""Kernels that move, pick, order, accumulate and resample elements."""
