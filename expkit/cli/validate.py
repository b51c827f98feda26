"""`expkit validate`: is this config right? All mistakes at once, and nothing is run."""

import importlib

from expkit.cli.arguments import CONFIG_FLAGS, Parser, experiment_parser
from expkit.cli.output import print_json, remarks_aside, table
from expkit.cli.units import shape_text

USAGE = """\
Usage: expkit validate [group=option ...] [key=value ...] [flags]

Checks what `expkit train` with the same arguments would do, without running it: overrides and YAML files, names and
arguments against what is registered, the header of the data, the shapes of a training step, the metrics that callbacks
wait for. Lists all problems, not the first alone. Exit code 0 where nothing is wrong, 1 where something is.

  expkit validate
  expkit validate experiment=wine_mlp model.dropout=0.2

Flags:
      --json                everything as JSON
"""


def usage() -> str:
    """The text of `expkit validate --help`."""
    return USAGE + CONFIG_FLAGS


def parser() -> Parser:
    """What `expkit validate` understands."""
    return experiment_parser("validate")


def run(argv: list[str]) -> int:
    """Prints the problems; 1 where there are some."""
    given = parser().parse_intermixed_args(argv)
    with remarks_aside(given.json):
        check = importlib.import_module("expkit.trainer.checked").check
        found = check(given.overrides, given.config_name, given.config_dir)
    if given.json:
        print_json(found.as_dict())
    elif found.problems:
        for number, problem in enumerate(found.problems, 1):
            print(f"{number}. {problem}")
        count = len(found.problems)
        print(f"\n{count} problem{'s' if count > 1 else ''}")
    else:
        data = found.data
        table(("", ""), [
            ("config", "no problems"),
            *((group, found.choices[group]) for group in ("data", "model", "optim") if group in found.choices),
            ("samples", f"{data['num_train']:,} of shape {shape_text(data['input_shape'])} for training"),
            ("parameters", "known once it trains" if found.parameters is None else f"{found.parameters:,}"),
            ("metrics", ", ".join(found.metrics)),
        ])  # fmt: skip
    return int(bool(found.problems))
