"""The CPU at hand: machine code and its cache, threads, memory, calls from Python."""
