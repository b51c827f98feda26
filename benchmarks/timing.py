"""How a call is timed."""

import os
import time
from collections.abc import Callable

Run = Callable[[], object]


# "cpu" counts this thread's own time: for single-threaded comparisons on a machine that others use as well.
CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}
clock = CLOCKS[os.environ.get("EXPKIT_BENCH_CLOCK", "wall")]


def per_call(run: Run, calls: int) -> float:
    """Seconds a call, over `calls` calls in a row."""
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def measure(run: Run, seconds: float) -> float:
    """The median seconds a call within a budget; short calls are timed in bunches of about a millisecond."""
    calls = max(1, int(1e-3 / max(per_call(run, 3), 1e-9)))
    samples, end = [], time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        samples.append(per_call(run, calls))
    return median(samples)
