"""One library in a process of its own: times what it is told to, line by line.

    python -m benchmarks.worker torch 2
    stdin:  {"case": "mlp_small", "seconds": 0.3}        stdout: {"seconds": 0.00052}

A process per library keeps their thread pools apart: two spinning pools in one process slow each other down many times.
"""

import json
import sys
import time
from typing import TextIO

from benchmarks.workloads import Run, Workloads


def per_call(run: Run, calls: int) -> float:
    """Seconds a call, over `calls` calls in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


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


def serve(library: str, threads: int, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until the input ends; a case is built and warmed up when it is first asked for."""
    workloads = Workloads(library)
    if library == "torch":  # NumPy's BLAS reads OMP_NUM_THREADS, which run.py sets
        workloads.lib.set_num_threads(threads)
    print(json.dumps({"version": workloads.lib.__version__}), file=answers, flush=True)
    built: dict[str, Run] = {}
    for line in requests:
        request = json.loads(line)
        name = request["case"]
        if name not in built:
            built[name] = getattr(workloads, name)()
            measure(built[name], 0.2)
        print(json.dumps({"seconds": measure(built[name], request["seconds"])}), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.stdin, sys.stdout)
