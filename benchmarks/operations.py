"""The tables of expkit beside PyTorch: training steps of small models, and eager operations one by one."""

import importlib.util
import statistics
import sys
from collections.abc import Iterator

from benchmarks.eager import EAGER
from benchmarks.options import Options
from benchmarks.processes import Worker, in_turns
from benchmarks.show import at_most, middle, ratio_text, time_text
from benchmarks.workloads import STEPS, Row

LIBRARIES = ("expkit", "torch")


def steps(options: Options, data: dict) -> Iterator[str]:
    for line, _ in compare(STEPS, options, data):
        yield line


def eager(options: Options, data: dict) -> Iterator[str]:
    ratios = []
    for line, ratio in compare(EAGER, options, data):
        yield line
        ratios += [ratio] if ratio else []
    if ratios:
        speed = 1 / statistics.geometric_mean(ratios)
        yield f"geometric mean of the {len(ratios)} eager rows: {speed:.2f} times PyTorch's speed"


def compare(rows: dict[str, Row], options: Options, data: dict) -> Iterator[tuple[str, float | None]]:
    """The lines, each with expkit's time as a multiple of PyTorch's; None where there is none."""
    names = [name for name in LIBRARIES if importlib.util.find_spec(name)]
    command = [sys.executable, "-m", "benchmarks.worker"]
    workers = [Worker(name, [*command, name, str(options.threads)]) for name in names]
    data["versions"] = {worker.name: worker.about["version"] for worker in workers}
    data["rows"] = {}
    yield f"{'':58} {'expkit':>10} {'PyTorch':>10} {'ratio':>6}  promise", None
    for case, (what, _, limit) in rows.items():
        if options.chosen(case):
            answers = in_turns(workers, options.rounds, case, options.seconds)
            data["rows"][case] = answers
            ours, theirs = (middle(answers.get(name, [])) for name in LIBRARIES)
            ratio = ours / theirs if ours and theirs else None
            promise = at_most(ratio, limit, "x")
            yield f"{what:58} {time_text(ours)} {time_text(theirs)} {ratio_text(ratio)}  {promise}", ratio
    for worker in workers:
        worker.close()
