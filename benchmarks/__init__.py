"""The same workloads in expkit, PyTorch and JAX, timed side by side: `make bench`. NOTES.md says how to read it."""
