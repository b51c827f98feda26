"""The table of agreement: the losses of 20 steps from the same weights, on the same batch, in expkit and PyTorch.

The weights are PyTorch's initial ones, carried by name through a .npz file. A difference counts in multiples of the
loss of the first step; dropout is switched off, since libraries draw different masks. How far rounding carries in 20
steps depends on the model (batch norms over few values are the worst): the yardstick is how far PyTorch's losses move
when the last bits of its own weights are changed.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.options import Options
from benchmarks.training.peers import installed, once
from benchmarks.training.workloads import WORKLOADS

Pair = tuple[float, float]  # differences: of the first loss, the largest

STEPS = 20
NUDGED = "torch nudged"
PAIRS = (("expkit", "expkit-eager"), ("expkit", "torch"), ("expkit-eager", "torch"))
# The largest difference of the first loss, and of all: the same, or OWN times what PyTorch differs from itself.
FIRST, OWN = 1e-5, 4.0


def agreement(options: Options, data: dict) -> Iterator[str]:
    peers, missing = installed(("torch", "expkit-eager", "expkit"))
    yield from missing
    pairs = [pair for pair in PAIRS if set(pair) <= set(peers)]
    yield f"{'':13}" + "".join(f" {' / '.join(pair):>22}" for pair in (*pairs, ("torch", NUDGED)))
    yield f"{'':13}" + f" {'first':>12} {f'{STEPS} steps':>9}" * (len(pairs) + 1)
    for case in WORKLOADS:
        if options.chosen(case):
            answers = losses(list(peers), case, options.threads)
            data[case] = answers
            found = [differences(answers[a], answers[b]) for a, b in pairs]
            yield row(case, found, differences(answers.get(NUDGED, ()), answers.get("torch", ())))


def losses(peers: Sequence[str], case: str, threads: int) -> dict[str, list[float]]:
    """{peer: its losses}, all from the first peer's weights; an empty list where it failed.

    PyTorch runs once more from nudged weights.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        common = ("--steps", STEPS, "--threads", threads, "--no-dropout")
        for number, name in enumerate(peers):
            where = "--weights" if number else "--save-weights"
            found[name] = once(name, case, *common, where, weights).get("losses", [])
        if "torch" in peers:
            found[NUDGED] = once("torch", case, *common, "--nudge").get("losses", [])
    return found


def differences(a: Sequence[float], b: Sequence[float]) -> Pair | None:
    """The difference of the first losses and the largest of all, relative to the first loss; None without losses."""
    if not a or not b:
        return None
    each = [abs(x - y) / abs(b[0]) for x, y in zip(a, b, strict=True)]
    return each[0], max(each)


def row(case: str, found: Sequence[Pair | None], own: Pair | None) -> str:
    figures = "".join(
        f" {'-':>12} {'-':>9}" if pair is None else f" {pair[0]:12.1e} {pair[1]:9.1e}" for pair in (*found, own)
    )
    return f"{case:13}{figures}  {verdict(found, own)}"


def verdict(found: Sequence[Pair | None], own: Pair | None) -> str:
    """A row with a run that failed has not kept its promise; NaN is never within it."""
    if None in found:
        return "NOT KEPT: a run failed"
    limit = max(FIRST, OWN * own[1]) if own else FIRST
    within = all(first <= FIRST and largest <= limit for first, largest in found)
    return f"at most {FIRST:.0e}, {limit:.0e}: {'kept' if within else 'NOT KEPT'}"
