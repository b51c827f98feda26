"""The table of first calls: how long a user waits for the first step of a workload, compilers' caches cold and warm.

Setting up the model and the batch comes before and does not count. A fresh process each; the warm one finds the folder
that the cold one filled. JAX keeps nothing on disk unless it is told to, so it has no warm figure.
"""

import tempfile
from collections.abc import Iterator, Mapping

from benchmarks.options import Options
from benchmarks.show import at_most, ratio_text, time_text
from benchmarks.training.peers import installed, once
from benchmarks.training.workloads import WORKLOADS

CACHES = {"expkit": "EXPKIT_KERNEL_CACHE", "torch": "TORCHINDUCTOR_CACHE_DIR"}  # by library
COLD, WARM = 1.0, 0.5  # the most: cold as a multiple of JAX's, warm in seconds


def first(options: Options, data: dict) -> Iterator[str]:
    asked = [name for name in options.peers if name in ("expkit", "expkit-eager", "torch-compile", "jax")]
    peers, missing = installed(asked)
    yield from missing
    columns = [(name, state) for name, peer in peers.items() for state in states(peer.library)]
    yield f"{'':13}" + "".join(f" {' '.join(column):>18}" for column in columns) + f" {'ratio':>6}  promises"
    for case in WORKLOADS:
        if options.chosen(case):
            times = {name: seconds(name, peer.library, case, options.threads) for name, peer in peers.items()}
            data[case] = times
            yield row(case, [times[name].get(state) for name, state in columns], times)
    yield "ratio: expkit's first call with a cold cache over JAX's"


def states(library: str) -> tuple[str, ...]:
    return ("cold", "warm") if library in CACHES else ("cold",)


def seconds(name: str, library: str, case: str, threads: int) -> dict[str, float]:
    """{"cold": seconds, "warm": seconds}; nothing where the peer failed or has no such workload."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = {CACHES[library]: folder} if library in CACHES else {}
        for state in states(library):
            answer = once(name, case, "--steps", 1, "--threads", threads, environment=cache)
            if "seconds" in answer:
                found[state] = sum(answer["seconds"])
    return found


def row(case: str, figures: list[float | None], times: Mapping[str, Mapping[str, float]]) -> str:
    ours, jax = times.get("expkit", {}), times.get("jax", {}).get("cold")
    ratio = ours["cold"] / jax if jax and "cold" in ours else None
    promises = "; ".join(filter(None, (at_most(ratio, COLD, "x"), at_most(ours.get("warm"), WARM, " s"))))
    return f"{case:13}" + "".join(f" {time_text(value):>18}" for value in figures) + f" {ratio_text(ratio)}  {promises}"
