"""The table of peak resident memory: ten steps of a workload in a fresh process of each peer."""

from collections.abc import Iterator

from benchmarks.options import Options
from benchmarks.show import at_most, memory_text, ratio_text
from benchmarks.training.peers import installed, once
from benchmarks.training.workloads import WORKLOADS

STEPS = 10
OURS, THEIRS = "expkit", "torch"


def memory(options: Options, data: dict) -> Iterator[str]:
    """Of each peer the peak (ru_maxrss), and the peak over what was resident right after the imports."""
    peers, missing = installed(options.peers)
    yield from missing
    yield f"{'':13}" + "".join(f" {name:>21}" for name in peers) + f" {'ratio':>6}  promise"
    yield f"{'':13}" + f" {'peak':>10} {'added':>10}" * len(peers)
    for case, workload in WORKLOADS.items():
        if options.chosen(case):
            arguments = ("--steps", STEPS, "--threads", options.threads)
            found = {name: once(name, case, *arguments) if peer.fits(workload) else {} for name, peer in peers.items()}
            data[case] = found
            yield row(case, found)
    yield "ratio: expkit's peak (compiled) over that of PyTorch's eager step"


def row(case: str, found: dict[str, dict]) -> str:
    figures = ""
    for answer in found.values():
        peak = answer.get("peak")
        added = None if peak is None else peak - answer["imported"]
        figures += f" {memory_text(peak)} {memory_text(added)}"
    ours, theirs = (found.get(name, {}).get("peak") for name in (OURS, THEIRS))
    ratio = ours / theirs if ours and theirs else None
    return f"{case:13}{figures} {ratio_text(ratio)}  {at_most(ratio, 1.0, 'x')}"
