"""`expkit resume RUN`: goes on with a run from its last checkpoint."""

import importlib
from pathlib import Path

from expkit import flags
from expkit.cli.arguments import Parser
from expkit.cli.train import exit_code
from expkit.errors import ConfigError, did_you_mean

USAGE = """\
Usage: expkit resume RUN

Goes on with a run from its last checkpoint, in the same run directory and the same MLflow run. RUN is a run
directory, the name of one (2026-01-31_12-00-00), or `last`.
"""


def usage() -> str:
    """The text of `expkit resume --help`."""
    return USAGE


def run(argv: list[str]) -> int:
    """Resumes; the exit code of the run."""
    parser = Parser("resume")
    parser.add_argument("run")
    run_dir = find_run(parser.parse_args(argv).run)
    return exit_code(importlib.import_module("expkit.trainer.experiment").resume(run_dir))


def find_run(run: str) -> Path:
    """The directory that RUN means. ConfigError when there is none."""
    path = Path(run).expanduser()
    if path.is_dir():
        return path.absolute()
    outputs = Path(str(flags.read("OUTPUTS") or "outputs")).absolute()
    found = sorted(_runs(outputs), key=lambda run_dir: run_dir.stat().st_mtime)
    if run == "last" and found:
        return found[-1]
    named = [run_dir for run_dir in found if run_dir.name == run or str(run_dir).endswith(f"/{run}")]
    if len(named) > 1:
        raise ConfigError(
            f"resume {run}: several runs are called so: {', '.join(map(str, named))}. Name one by its path."
        )
    if not named:
        hint = did_you_mean(run, [run_dir.name for run_dir in found])
        raise ConfigError(f"resume {run}: there is no such run directory, and no run of that name in {outputs}.{hint}")
    return named[0]


def _runs(outputs: Path) -> list[Path]:
    single = outputs.glob("*/runs/*/")
    children = outputs.glob("*/multiruns/*/*/")
    return [path for path in (*single, *children) if path.is_dir()]
