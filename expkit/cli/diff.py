"""`expkit diff RUN RUN`: what differs between two runs."""

from collections.abc import Mapping
from typing import Any

from expkit.cli.arguments import Parser
from expkit.cli.output import print_json, table
from expkit.cli.runs import find_run, require_config
from expkit.cli.summary import summarize

USAGE = """\
Usage: expkit diff RUN RUN [--json]

Lists every key of the two configs that differs, and the newest values of all metrics side by side. A RUN is a run
directory, the name of one, or `last`.
"""
NOT_SETTINGS = ("paths",)  # where things are


def usage() -> str:
    """The text of `expkit diff --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit diff` understands."""
    made = Parser("diff")
    made.add_argument("first")
    made.add_argument("second")
    made.add_argument("--json", action="store_true")
    return made


def run(argv: list[str]) -> int:
    """Prints the differences; the exit code."""
    given = parser().parse_intermixed_args(argv)
    runs = [
        summarize(require_config(find_run(name, "diff"), "diff"), strict=True) for name in (given.first, given.second)
    ]
    configs = [dict(_leaves({k: v for k, v in run.config.items() if k not in NOT_SETTINGS})) for run in runs]
    changed = _changed(*configs)
    metrics = {name: [run.metrics.get(name) for run in runs] for name in {**runs[0].metrics, **runs[1].metrics}}
    if given.json:
        print_json({"runs": [str(run.path) for run in runs], "config": changed, "metrics": metrics})
        return 0
    names = [run.name for run in runs]
    table(("key", *names), [(key, *map(_text, values)) for key, values in changed.items()], title="config")
    if not changed:
        print("the configs are the same")
    print()
    table(("metric", *names), [(name, *map(_number, values)) for name, values in metrics.items()], title="metrics")
    return 0


def _changed(first: dict[str, Any], second: dict[str, Any]) -> dict[str, list[Any]]:
    """Key -> its two values, where they are not the same (null where a key is missing)."""
    keys = [key for key in {**first, **second} if key not in first or key not in second or first[key] != second[key]]
    return {key: [first.get(key), second.get(key)] for key in keys}


def _leaves(content: Any, prefix: str = "") -> Any:
    """(dotted key, value) of everything in a config."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"
