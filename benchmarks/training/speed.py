"""The table of whole training steps: all peers side by side, in turns."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.options import Options
from benchmarks.processes import Worker, in_turns
from benchmarks.show import at_least, middle, ratio_text, time_text
from benchmarks.training.peers import Peer, installed
from benchmarks.training.workloads import OTHERS, REFERENCE, WORKLOADS, Workload

OURS = "expkit"  # the compiled step: the one that is promised to be as fast as the best peer
EACH, TOGETHER = 1.0, 1.5  # the least speed of a row, and of the reference rows together, in the best peer's


def training(options: Options, data: dict) -> Iterator[str]:
    """Milliseconds a step of each peer, and expkit's compiled speed as a multiple of the best peer's."""
    peers, missing = installed(options.peers)
    yield from missing
    workers = {
        name: Worker(name, peer.command("benchmarks.training.worker", name, str(options.threads)), peer.environment)
        for name, peer in peers.items()
    }
    data["versions"] = {name: worker.about["version"] for name, worker in workers.items()}
    data["rows"], speeds = {}, {}
    yield heading(peers)
    for case, workload in WORKLOADS.items():
        if options.chosen(case):
            chosen = [workers[name] for name, peer in peers.items() if peer.fits(workload)]
            answers = in_turns(chosen, options.rounds, case, options.seconds)
            data["rows"][case] = answers
            times = {name: middle(answers.get(name, [])) for name in peers}
            speeds[case] = speed(times)
            yield row(case, times, speeds[case])
            yield from different_work(answers)
    for worker in workers.values():
        worker.close()
    yield from means(speeds)
    yield ""
    yield from explanations(speeds)


def heading(peers: Mapping[str, Peer]) -> str:
    return f"{'':13}" + "".join(f" {name:>13}" for name in peers) + f" {'speed':>6}  promise"


def row(case: str, times: Mapping[str, float | None], speed: float | None) -> str:
    figures = "".join(f" {time_text(seconds):>13}" for seconds in times.values())
    return f"{case:13}{figures} {ratio_text(speed)}  {at_least(speed, EACH, 'x')}"


def speed(times: Mapping[str, float | None]) -> float | None:
    """The best peer's time over ours; None where either is missing. expkit itself in another mode is no peer."""
    peers = [seconds for name, seconds in times.items() if seconds and not name.startswith("expkit")]
    ours = times.get(OURS)
    return min(peers) / ours if ours and peers else None


def different_work(answers: Mapping[str, Sequence[Mapping]]) -> Iterator[str]:
    """A line where the peers' models do not have the same number of parameters: then the row compares nothing."""
    counts = {name: past[-1]["parameters"] for name, past in answers.items() if past and "parameters" in past[-1]}
    if len(set(counts.values())) > 1:
        yield f"  NOT THE SAME MODEL, parameters: {counts}"


def means(speeds: Mapping[str, float | None]) -> Iterator[str]:
    for what, rows, least in (("reference", REFERENCE, TOGETHER), ("other", OTHERS, None)):
        known = [speeds[case] for case in rows if speeds.get(case)]
        if known:
            mean = statistics.geometric_mean(known)
            promise = at_least(mean, least, "x")
            yield f"geometric mean of {len(known)} of {len(rows)} {what} rows: {mean:.2f} {promise}".rstrip()


def explanations(cases: Mapping[str, object]) -> Iterator[str]:
    for case in cases:
        workload: Workload = WORKLOADS[case]
        yield f"{case:13} {workload.what}"
    yield "speed: the best peer's time over expkit's (compiled); torch's optimizers are the fused ones"
