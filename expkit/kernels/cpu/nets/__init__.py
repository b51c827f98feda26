"""Kernels of networks' operations: attention, norms, losses, recurrence, random numbers, optimizers' updates."""
