"""`expkit eval RUN`: the metrics of a trained run."""

import importlib
from pathlib import Path

from expkit.cli.arguments import Parser
from expkit.cli.output import print_json, remarks_aside, table
from expkit.cli.runs import CONFIG, MANIFEST, find_run, require_config

USAGE = """\
Usage: expkit eval RUN [overrides] [flags]

Evaluates a trained run: the metrics of its best checkpoint on its test data. RUN is a run directory, the name of one,
`last`, or the directory of a checkpoint.

  expkit eval last
  expkit eval last --split val --checkpoint last
  expkit eval last data.test_path=more.csv      the run's own data, another test file
  expkit eval last data=csv data.path=new.csv   other data altogether: columns by name, in the run's units

Flags:
      --split PART          test, val, train or all (default: test; of other data all)
      --checkpoint NAME     best (default), last, or the name of one in checkpoints/
      --json                the metrics as JSON
"""


def usage() -> str:
    """The text of `expkit eval --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit eval` understands."""
    made = Parser("eval")
    made.add_argument("run")
    made.add_argument("overrides", nargs="*")
    made.add_argument("--split", choices=("test", "val", "train", "all"))
    made.add_argument("--checkpoint", default="best")
    made.add_argument("--json", action="store_true")
    return made


def run(argv: list[str]) -> int:
    """Prints the metrics; the exit code."""
    given = parser().parse_intermixed_args(argv)
    path = trained_run(given.run, "eval")
    with remarks_aside(given.json):
        loaded = importlib.import_module("expkit.trainer.reloaded").reload(path, given.checkpoint, given.overrides)
        split = given.split or loaded.split
        metrics = loaded.evaluate(split)
    if given.json:
        print_json({"checkpoint": str(loaded.checkpoint), "split": split, "metrics": metrics})
        return 0
    table(("metric", "value"), [(name, f"{value:.5g}") for name, value in metrics.items()], title=split)
    print()
    table(("", ""), [("checkpoint", str(loaded.checkpoint)), ("samples", f"{len(loaded.loader(split).dataset):,}")])
    return 0


def trained_run(word: str, verb: str) -> Path:
    """The run directory, or the checkpoint, that a user means. ConfigError for anything else."""
    path = find_run(word, verb)
    if (path / MANIFEST).is_file() and not (path / CONFIG).is_file():
        return path
    return require_config(path, verb)
