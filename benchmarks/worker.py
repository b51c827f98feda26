"""One library in a process of its own: times what it is told to, line by line.

    python -m benchmarks.worker torch 2
    stdin:  {"case": "mlp_small", "seconds": 0.3}        stdout: {"seconds": 0.00052}

A process per library keeps their thread pools apart: two spinning pools in one process slow each other down many times.
"""

import json
import sys
from typing import TextIO

from benchmarks.eager import EAGER
from benchmarks.timing import Run, measure
from benchmarks.workloads import STEPS, Workloads


def serve(library: str, threads: int, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until the input ends; a case is built and warmed up when it is first asked for."""
    workloads = Workloads(library)
    if library == "torch":  # NumPy's BLAS reads OMP_NUM_THREADS, which run.py sets
        workloads.lib.set_num_threads(threads)
    print(json.dumps({"version": workloads.lib.__version__}), file=answers, flush=True)
    built: dict[str, Run] = {}
    for line in requests:
        request = json.loads(line)
        print(json.dumps(answer(workloads, built, request["case"], request["seconds"])), file=answers, flush=True)


def answer(workloads: Workloads, built: dict[str, Run], name: str, seconds: float) -> dict[str, object]:
    """The timing of a case, or what went wrong with it: one case that fails does not end the others."""
    try:
        if name not in built:
            built[name] = (STEPS | EAGER)[name].build(workloads)
            measure(built[name], 0.2)
        return {"seconds": measure(built[name], seconds)}
    except Exception as error:  # noqa: BLE001  (reported in the table)
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.stdin, sys.stdout)
