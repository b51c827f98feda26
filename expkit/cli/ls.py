"""`expkit ls [GROUP]`: the groups, their options, one line each; `expkit ls runs`: the newest runs."""

import importlib
from dataclasses import asdict
from typing import Any

from expkit.cli.arguments import Parser
from expkit.cli.output import print_json, table
from expkit.cli.plugins import folders_with_plugins, split_plugins
from expkit.cli.runs import all_runs, outputs_root
from expkit.config.listing import groups, options
from expkit.config.paths import ConfFolder
from expkit.errors import ConfigError, did_you_mean
from expkit.registry import FOLDERS, GROUPS, describe, names

USAGE = """\
Usage: expkit ls [GROUP | runs] [plugins=[...]] [flags]

Lists what can be chosen: every group of conf/ with its options, or the options of one GROUP. With a GROUP also what
is registered without having a YAML file (metrics, callbacks, what plugins bring). `expkit ls runs` lists the newest
runs of the outputs folder with their status and the metric that they are ranked by.

Flags:
  -n, --number N            how many runs (default 20; 0: all)
      --json                as JSON
  -cd, --config-dir DIR     search this folder of YAML groups first
"""
RUNS = "runs"


def usage() -> str:
    """The text of `expkit ls --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit ls` understands."""
    made = Parser("ls")
    made.add_argument("group", nargs="?")
    made.add_argument("--number", "-n", type=int, default=20)
    made.add_argument("--json", action="store_true")
    made.add_argument("--config-dir", "-cd")
    return made


def run(argv: list[str]) -> int:
    """Prints the table; the exit code."""
    words, plugins = split_plugins(argv)
    arguments = parser().parse_intermixed_args(words)
    if arguments.group == RUNS:
        return _list_runs(arguments.number, arguments.json)
    folders = folders_with_plugins(plugins, arguments.config_dir)
    known = groups(folders)
    chosen = known if arguments.group is None else [folder_of(arguments.group, [*known, RUNS])]
    listed = {group: _rows(folders, group, whole=arguments.group is not None) for group in chosen}
    if arguments.json:
        print_json({group: [_as_json(group, *row) for row in rows] for group, rows in listed.items()})
        return 0
    for number, (group, rows) in enumerate(listed.items()):
        if number:
            print()
        table(("choice" if group in known else "name", ""), rows, title=group)
    return 0


def _rows(folders: list[ConfFolder], group: str, whole: bool) -> list[tuple[str, str]]:
    rows = _options(folders, group)
    return rows + (_registered(group, {name for name, _ in rows}) if whole else [])


def _as_json(group: str, choice: str, summary: str) -> dict[str, str]:
    return {"name": choice.removeprefix(f"{group}="), "summary": summary}


def folder_of(group: str, known: list[str]) -> str:
    """The folder of conf/ (or `metric`) that a user means by `group`. ConfigError when there is none."""
    folder = FOLDERS.get(group, group)
    everything = sorted({*known, *FOLDERS.values()})
    if folder not in everything:
        raise ConfigError(
            f"there is no group {group!r}.{did_you_mean(group, everything)} Groups: {', '.join(everything)}."
        )
    return folder


def group_of(folder: str) -> str | None:
    """The registry's group for a folder of conf/; None for a folder of plain YAML."""
    return next((group for group in GROUPS if FOLDERS[group] == folder), None)


def _options(folders: list[ConfFolder], group: str) -> list[tuple[str, str]]:
    return [(f"{group}={option.name}", option.summary) for option in options(folders, group)]


def _registered(folder: str, listed: set[str]) -> list[tuple[str, str]]:
    group = group_of(folder)
    if group is None:
        return []
    entries = [describe(group, name) for name in names(group) if f"{folder}={name}" not in listed]
    return [(entry.name, entry.summary) for entry in entries]


def _list_runs(number: int, as_json: bool) -> int:
    if number < 0:
        raise ConfigError(f"--number {number}: how many runs, or 0 for all of them.")
    summarize = importlib.import_module("expkit.cli.summary").summarize_any
    found = [summarize(path) for path in all_runs()[-number:][::-1]]
    if as_json:
        print_json([_run_as_json(run) for run in found])
    elif not found:
        print(f"there are no runs in {outputs_root()}")
    else:
        table(("run", "status", "started", "epochs", "metric", "model", "data"), [_run_row(run) for run in found])
    return 0


def _run_row(run: Any) -> tuple[str, ...]:
    metric = f"{run.best[0]} {run.best[1]:.4g}" if run.best else ""
    started = f"{run.started:%m-%d %H:%M}" if run.started else ""
    chosen = [str((run.config.get(group) or {}).get("name", "")) for group in ("model", "data")]
    return (run.name, run.status, started, str(run.epochs), metric, *chosen)


def _run_as_json(run: Any) -> dict[str, Any]:
    return {**asdict(run), "name": run.name, "path": str(run.path), "best": dict([run.best]) if run.best else {},
            "started": run.started.isoformat() if run.started else None}  # fmt: skip
