"""`expkit resume RUN`: goes on with a run from its last checkpoint."""

import importlib

from expkit.cli.arguments import Parser
from expkit.cli.runs import find_run, require_config
from expkit.cli.train import exit_code

USAGE = """\
Usage: expkit resume RUN

Goes on with a run from its last checkpoint, in the same run directory and the same MLflow run. RUN is a run
directory, the name of one (2026-01-31_12-00-00), or `last`. A run without a checkpoint starts from its beginning.
"""


def usage() -> str:
    """The text of `expkit resume --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit resume` understands."""
    made = Parser("resume")
    made.add_argument("run")
    return made


def run(argv: list[str]) -> int:
    """Resumes; the exit code of the run."""
    run_dir = require_config(find_run(parser().parse_args(argv).run, "resume"), "resume")
    return exit_code(importlib.import_module("expkit.trainer.experiment").resume(run_dir))
