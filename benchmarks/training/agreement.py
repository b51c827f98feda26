"""The table of agreement: the losses of 20 steps from the same weights, on the same batch, in expkit and PyTorch.

The weights are PyTorch's initial ones, carried by name through a .npz file. A difference counts in multiples of the
loss of the first step; dropout is switched off, since libraries draw different masks.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.options import Options
from benchmarks.training.peers import installed, once
from benchmarks.training.workloads import WORKLOADS

STEPS = 20
PAIRS = (("expkit", "expkit-eager"), ("expkit", "torch"), ("expkit-eager", "torch"))
# The largest difference of a loss: at the first step only the forward pass's rounding counts; over 20 steps rounding
# grows with the learning (float32, sums in other orders, Winograd convolutions).
FIRST, ALL = 1e-5, 1e-3


def agreement(options: Options, data: dict) -> Iterator[str]:
    peers, missing = installed(("torch", "expkit-eager", "expkit"))
    yield from missing
    pairs = [pair for pair in PAIRS if set(pair) <= set(peers)]
    yield f"{'':13}" + "".join(f" {' / '.join(pair):>36}" for pair in pairs)
    yield f"{'':13}" + f" {'first step':>20} {f'{STEPS} steps':>15}" * len(pairs)
    for case in WORKLOADS:
        if options.chosen(case):
            answers = losses(list(peers), case, options.threads)
            data[case] = answers
            found = [differences(answers[a], answers[b]) for a, b in pairs]
            yield row(case, found)


def losses(peers: Sequence[str], case: str, threads: int) -> dict[str, list[float]]:
    """{peer: its losses}, all from the first peer's weights; an empty list where it failed."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        for number, name in enumerate(peers):
            where = ("--weights" if number else "--save-weights", weights)
            arguments = ("--steps", STEPS, "--threads", threads, "--no-dropout", *where)
            found[name] = once(name, case, *arguments).get("losses", [])
    return found


def differences(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """The difference of the first losses and the largest of all, relative to the first loss; None without losses."""
    if not a or not b:
        return None
    each = [abs(x - y) / abs(b[0]) for x, y in zip(a, b, strict=True)]
    return each[0], max(each)


def row(case: str, found: Sequence[tuple[float, float] | None]) -> str:
    figures = "".join(
        f" {'-':>20} {'-':>15}" if pair is None else f" {pair[0]:20.1e} {pair[1]:15.1e}" for pair in found
    )
    return f"{case:13}{figures}  {verdict(found)}"


def verdict(found: Sequence[tuple[float, float] | None]) -> str:
    """A row with a run that failed has not kept its promise; NaN is never within it."""
    if None in found:
        return "NOT KEPT: a run failed"
    within = all(first <= FIRST and largest <= ALL for first, largest in found)
    return f"at most {FIRST:.0e} and {ALL:.0e}: {'kept' if within else 'NOT KEPT'}"
