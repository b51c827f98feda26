"""One peer in a process of its own: times the training step that it is asked for.

    EXPKIT_BENCH_LIBRARY=torch python -m benchmarks.training.worker torch-nhwc 2
    stdin:  {"case": "resnet20", "seconds": 0.3}        stdout: {"seconds": 0.110, "parameters": 272474}

The step stays set up until another is asked for. Where a library has none of that name, the answer is {"none": why}.
"""

import json
import sys
import time
from typing import Any, TextIO

from benchmarks.timing import Run, median
from benchmarks.training.peers import PEERS, Peer
from benchmarks.training.workloads import WORKLOADS

WARM_UP = 4  # expkit.compile runs eagerly, then traces, then replays


def seconds_a_call(run: Run, budget: float) -> float:
    """The median of single calls within the budget, two at least, after one that brings the caches back."""
    run()
    samples, end = [], time.perf_counter() + budget
    while len(samples) < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return median(samples)


def set_up(peer: Peer, case: str) -> Any:
    training = peer.training(WORKLOADS[case])
    for _ in range(WARM_UP):
        training.step()
    return training


def serve(peer: Peer, requests: TextIO, answers: TextIO) -> None:
    """Answer until the input ends; a workload that fails is reported and does not end the others."""
    print(json.dumps({"version": peer.steps().VERSION}), file=answers, flush=True)
    case, training = "", None
    for line in requests:
        request = json.loads(line)
        try:
            if request["case"] != case:
                case, training = "", None  # frees what the one before held
                case, training = request["case"], set_up(peer, request["case"])
            seconds = seconds_a_call(training.step, request["seconds"])
            answer = {"seconds": seconds, "parameters": training.parameters()}
        except NotImplementedError as error:
            answer = {"none": str(error)}
        except Exception as error:  # noqa: BLE001  (reported in the table)
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    measured = PEERS[sys.argv[1]]
    measured.steps().set_threads(int(sys.argv[2]))
    serve(measured, sys.stdin, sys.stdout)
