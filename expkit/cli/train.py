"""`expkit train`: Hydra's command line (flags and overrides) over expkit's composition; runs one job or many."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from expkit import config
from expkit.cli.arguments import Parser
from expkit.config.listing import groups, options
from expkit.config.paths import conf_folders
from expkit.errors import ConfigError

USAGE = """\
Usage: expkit train [group=option ...] [key=value ...] [flags]

Composes an experiment from the YAML files in conf/ and runs it.

  expkit train                              the default: an MLP on handwritten digits
  expkit train model=cnn optim.lr=0.01      another model, another learning rate
  expkit train experiment=wine_mlp          a whole experiment from one file
  expkit train -m optim.lr=1e-2,1e-3        every combination of the values given
  expkit train debug=fdr                    one batch of everything: does it run at all?

Groups (`expkit ls GROUP` says more):
{groups}

Overrides, as in Hydra: key=value sets, +key=value adds, ~key removes; lists are [64,64], null is null.

Flags:
  -m, --multirun            run every combination of the values given
  -c, --cfg job|hydra|all   print the config instead of running it
      --resolve             with --cfg: interpolations replaced by their values
  -p, --package PACKAGE     with --cfg: only this part, e.g. optim
  -cn, --config-name NAME   start from another file than config.yaml
  -cd, --config-dir DIR     search this folder of YAML groups first
  -i, --info [WHAT]         Hydra's inside: all, config, defaults, defaults-tree, plugins, searchpath
      --hydra-help          Hydra's own help
  -sc, --shell-completion   eval "$(expkit -sc install=bash)" completes overrides in this shell
  -r, --run                 run (the default)
"""


def usage() -> str:
    """The text of `expkit train --help`."""
    folders = conf_folders()
    lines = [f"  {group:<15} {', '.join(o.name for o in options(folders, group))}" for group in groups(folders)]
    return USAGE.format(groups="\n".join(lines))


def run(argv: list[str]) -> int:
    """Runs what the arguments ask for; the exit code."""
    arguments = parse(argv)
    where = {"config_name": arguments.config_name, "config_dir": arguments.config_dir}
    page = next((name for name in ("hydra_help", "info", "shell_completion", "cfg") if getattr(arguments, name)), None)
    if page is not None:
        return importlib.import_module("expkit.cli.pages").PAGES[page](arguments, where)
    if arguments.multirun:
        return _multirun(arguments.overrides, where)
    composed = config.compose(arguments.overrides, **where)
    if composed.multirun:  # hydra.mode=MULTIRUN, as files of hparams_search/ set it
        return _multirun(arguments.overrides, where)
    return _single(composed)


def parser() -> Parser:
    """What `expkit train` understands: Hydra's flags and overrides in any order."""
    made = Parser("train")
    made.add_argument("overrides", nargs="*")
    made.add_argument("--multirun", "-m", action="store_true")
    made.add_argument("--run", "-r", action="store_true")
    made.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    made.add_argument("--resolve", action="store_true")
    made.add_argument("--package", "-p")
    made.add_argument("--config-name", "-cn", default="config")
    made.add_argument("--config-dir", "-cd")
    made.add_argument("--hydra-help", action="store_true")
    made.add_argument("--info", "-i", nargs="?", const="all")
    made.add_argument("--shell-completion", "-sc", action="store_true")
    return made


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of `expkit train`. ConfigError for what does not belong there."""
    arguments = parser().parse_intermixed_args(list(argv))
    _refuse_contradictions(arguments)
    return arguments


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    commands = ("run", "multirun", "cfg", "info", "hydra_help", "shell_completion")
    chosen = [name.replace("_", "-") for name in commands if getattr(arguments, name)]
    if len(chosen) > 1:
        raise ConfigError(f"expkit train: only one of --{' and --'.join(chosen)} can be given.")
    if (arguments.resolve or arguments.package) and not arguments.cfg:
        flag = "--resolve" if arguments.resolve else "--package"
        raise ConfigError(f"expkit train: {flag} belongs to --cfg: write --cfg job {flag}.")


def _single(composed: "config.Composed") -> int:
    config.validate(composed)
    run_dir = config.make_run_dir(composed)
    result = _module("expkit.trainer.experiment").run(composed, run_dir)
    return exit_code(result)


def exit_code(result: Any) -> int:
    """What the shell is told: 0, or 130 and 143 after a signal that ended the run in good order."""
    if result.signal is not None:
        return 128 + int(result.signal)
    return 0 if result.status == "FINISHED" else 1


def _multirun(overrides: list[str], where: dict[str, Any]) -> int:
    return _module("expkit.sweep").multirun(overrides, **where)


def _module(name: str) -> Any:
    sys.stdout.flush()
    return importlib.import_module(name)  # here and not above: --help and --cfg need no engine
