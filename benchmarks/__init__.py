"""The same workloads in expkit and PyTorch, timed side by side: `make bench`. NOTES.md says how to read the table."""
