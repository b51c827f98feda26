"""The report: a line for each name and check that has failures, and totals."""

import argparse
from collections import Counter
from collections.abc import Iterator

import torch

from tests.conformance import operators
from tests.conformance.convert import NAMES


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--only", default="", help="names, separated by commas (abs,nn.functional.conv2d); a prefix*")
    parser.add_argument("--names", default="", help="a file with a name on each line")
    parser.add_argument("--checks", default="value", help=f"of {', '.join([*operators.CHECKS, 'error'])}, or all")
    parser.add_argument("--dtypes", default="float64", help="names, or all")
    parser.add_argument("--limit", type=int, default=0, help="samples a variant (0: all)")
    parser.add_argument("--reference", action="store_true", help="the larger set of samples")
    parser.add_argument("--show", type=int, default=3, help="failures shown for each line")
    parser.add_argument("--modules", action="store_true", help="modules instead of operators")
    parser.add_argument("--optimizers", action="store_true", help="optimizers instead of operators")
    return parser.parse_args()


def wanted(options: argparse.Namespace, known: list[str]) -> list[str]:
    listed = [n for n in options.only.split(",") if n]
    if options.names:
        with open(options.names) as file:
            listed += [line.strip() for line in file if line.strip() and not line.startswith("#")]
    if not listed:
        return known
    starts = tuple(n[:-1] for n in listed if n.endswith("*"))
    return [n for n in known if n in listed or (starts and n.startswith(starts))]


def cases(options: argparse.Namespace) -> Iterator[tuple[str, str, Iterator[tuple[str, str]]]]:
    """(name, check and dtype, outcomes)"""
    if options.modules:
        from tests.conformance import modules

        for name in wanted(options, list(modules.modules())):
            for check in [*modules.CHECKS, "error"] if options.checks == "all" else options.checks.split(","):
                yield name, check, modules.run(name, check, options.limit)
        return
    if options.optimizers:
        from tests.conformance import optimizers

        for name in wanted(options, list(optimizers.optimizers())):
            yield name, "steps", optimizers.run(name)
        return
    checks = [*operators.CHECKS, "error"] if options.checks == "all" else options.checks.split(",")
    dtypes = NAMES if options.dtypes == "all" else options.dtypes.split(",")
    for name in wanted(options, list(operators.operators())):
        for check in checks:
            for dtype in dtypes if check != "error" else dtypes[:1]:
                outcomes = operators.run(name, check, getattr(torch, dtype), options.limit, options.reference)
                yield name, f"{check} {dtype}" if check != "error" else check, outcomes


def main() -> None:
    options = arguments()
    totals: dict[str, Counter[str]] = {}
    failing: dict[str, set[str]] = {}
    for name, check, outcomes in cases(options):
        counts: Counter[str] = Counter()
        shown: list[str] = []
        for outcome, what in outcomes:
            counts[outcome] += 1
            if outcome == "fail" and len(shown) < options.show:
                shown.append(what)
        totals.setdefault(check, Counter()).update(counts)
        if counts["fail"]:
            failing.setdefault(check, set()).add(name)
            print(f"{name} [{check}]: {counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped")
            for what in shown:
                print(f"    {what}")
    for check, counts in totals.items():
        names = failing.get(check, set())
        print(f"total {check}: {counts['pass']} passed, {counts['fail']} failed in {len(names)} names")


main()
