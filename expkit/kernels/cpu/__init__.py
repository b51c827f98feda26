"""Kernels for the CPU at hand, through LLVM."""
