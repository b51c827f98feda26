"""`expkit sync [RUNS]`: sends MLflow what it has missed of the runs at or below the given paths."""

import importlib
from pathlib import Path

from expkit.cli.arguments import Parser
from expkit.errors import ConfigError

USAGE = """\
Usage: expkit sync [RUN ...]

Sends MLflow what it lacks of the runs in the given run directories or folders of runs (default: all runs in the
outputs folder). Nothing is sent twice.
"""


def usage() -> str:
    """The text of `expkit sync --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit sync` understands."""
    made = Parser("sync")
    made.add_argument("runs", nargs="*")
    return made


def run(argv: list[str]) -> int:
    """Prints one line per run; 1 when one could not be sent."""
    arguments = parser().parse_intermixed_args(argv)
    for path in arguments.runs:
        if not Path(path).is_dir():
            raise ConfigError(f"sync {path}: there is no such folder; name a run directory or a folder of runs.")
    reports = importlib.import_module("expkit.tracking").sync(arguments.runs or None)
    for report in reports:
        print(report)
    if not reports:
        print("no tracked runs found")
    return int(any(report.outcome == "failed" for report in reports))
