"""One workload of one peer in a fresh process: what its first steps take in time and memory, and their losses.

    EXPKIT_BENCH_LIBRARY=torch python -m benchmarks.training.once torch lstm --steps 20 --save-weights lstm.npz

Prints a line of JSON: seconds and loss of each step, bytes resident after the imports and at the peak, parameters.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.training.peers import PEERS, Peer
from benchmarks.training.workloads import WORKLOADS

# Darwin counts ru_maxrss in bytes, Linux in KiB.
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
NUDGE = 2.0**-23  # float32's unit in the last place


def resident() -> int:
    """Bytes in memory now; where /proc does not tell, the most there ever were."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return peak()
    return int(status.read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT


def nudged(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with their last bits changed, by NUDGE of themselves at random; counters stay."""
    random = np.random.default_rng(0)

    def change(array: np.ndarray) -> np.ndarray:
        return (array * (1 + NUDGE * random.standard_normal(array.shape))).astype(array.dtype)

    return {name: change(array) if array.dtype.kind == "f" else array for name, array in weights.items()}


def run(peer: Peer, case: str, arguments: argparse.Namespace) -> dict[str, object]:
    imported = resident()
    training = peer.training(WORKLOADS[case])
    if arguments.no_dropout:
        training.without_dropout()
    if arguments.weights:
        with np.load(arguments.weights) as weights:
            training.set_weights(weights)
    if arguments.save_weights:
        np.savez(arguments.save_weights, **training.weights())
    if arguments.nudge:
        training.set_weights(nudged(training.weights()))
    seconds, losses = [], []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        loss = training.step()
        seconds.append(time.perf_counter() - start)
        losses.append(training.value(loss))
    return {
        "seconds": seconds,
        "losses": losses,
        "imported": imported,
        "peak": peak(),
        "parameters": training.parameters(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="the first steps of a workload in a fresh process")
    parser.add_argument("peer", choices=list(PEERS))
    parser.add_argument("case", choices=list(WORKLOADS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", help=".npz of initial weights by name")
    parser.add_argument("--save-weights", help="writes the initial weights there")
    parser.add_argument("--nudge", action="store_true", help="change the last bits of the weights")
    parser.add_argument("--no-dropout", action="store_true")
    arguments = parser.parse_args()
    peer = PEERS[arguments.peer]
    peer.steps().set_threads(arguments.threads)
    try:
        answer = run(peer, arguments.case, arguments)
    except NotImplementedError as error:
        answer = {"none": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
