"""`expkit doctor`: what this machine has, what costs speed, what is broken."""

import importlib

from expkit.cli.arguments import Parser
from expkit.cli.output import print_json, table

USAGE = """\
Usage: expkit doctor [--json]

Looks at the machine, the folders, the libraries and their versions, the generated kernels, GPUs, environment settings
and the tracking store, and computes one step compiled and eagerly. Says what is slow for no good reason, and what is
broken; exit code 1 where something is.
"""
MARKS = {"ok": "", "note": "  <- ", "broken": "  BROKEN: "}


def usage() -> str:
    """The text of `expkit doctor --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit doctor` understands."""
    made = Parser("doctor")
    made.add_argument("--json", action="store_true")
    return made


def run(argv: list[str]) -> int:
    """Prints the findings; 1 where something is broken."""
    given = parser().parse_args(argv)
    findings = importlib.import_module("expkit.cli.health").examine()
    broken = [finding for finding in findings if finding.status == "broken"]
    if given.json:
        print_json({"healthy": not broken, "findings": [finding._asdict() for finding in findings]})
        return int(bool(broken))
    for area in dict.fromkeys(finding.area for finding in findings):
        rows = [
            (f.name, f.value + (MARKS[f.status] + f.advice if f.advice else "")) for f in findings if f.area == area
        ]
        print(f"{area}:")
        table(("", ""), rows)
        print()
    notes = sum(finding.status == "note" for finding in findings)
    print(f"{len(broken)} broken, {notes} to look at" if broken or notes else "all is well")
    return int(bool(broken))
