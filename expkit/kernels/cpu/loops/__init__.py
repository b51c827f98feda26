"""Programs over arrays: elementwise chains, reductions, and both in one kernel; from graphs."""
