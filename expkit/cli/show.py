"""`expkit show GROUP NAME`: the YAML file of a choice, its arguments with types and defaults, its documentation."""

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from expkit.cli.arguments import Parser
from expkit.cli.ls import folder_of, group_of
from expkit.cli.output import print_json, table
from expkit.cli.plugins import folders_with_plugins, split_plugins
from expkit.cli.runs import CONFIG, find_run, require_config
from expkit.config.filled import DERIVED, POSITIONAL, TASK_PARTS
from expkit.config.listing import Option, groups, options
from expkit.config.paths import ConfFolder, conf_folders, label
from expkit.config.plain import read_content
from expkit.errors import ConfigError, did_you_mean
from expkit.registry import FOLDERS, Argument, Entry, describe, names, signature_of

USAGE = """\
Usage: expkit show GROUP NAME [plugins=[...]] [flags]
       expkit show RUN [--json]

Shows one choice: its YAML file, the arguments it takes (type, default) and its documentation. Or a run (a run
directory, the name of one, or `last`): its status, its metrics, its checkpoints, its config.

  expkit show model mlp
  expkit show callback early_stopping
  expkit show experiment digits_cnn
  expkit show last

Flags:
      --json                as JSON
  -cd, --config-dir DIR     search this folder of YAML groups first
"""


def usage() -> str:
    """The text of `expkit show --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit show` understands."""
    made = Parser("show")
    made.add_argument("group")
    made.add_argument("name", nargs="?")
    made.add_argument("--json", action="store_true")
    made.add_argument("--config-dir", "-cd")
    return made


def run(argv: list[str]) -> int:
    """Prints the page; the exit code."""
    words, plugins = split_plugins(argv)
    arguments = parser().parse_intermixed_args(words)
    if arguments.name is None and not _is_group(arguments.group, arguments.config_dir):
        path = require_config(find_run(arguments.group, "show"), "show")
        return importlib.import_module("expkit.cli.showrun").show_run(path, arguments.json)
    folders = folders_with_plugins(plugins, arguments.config_dir)
    folder = folder_of(arguments.group, groups(folders))
    if arguments.name is None:
        raise ConfigError(f"expkit show {folder}: which one? `expkit ls {folder}` lists them.")
    return _show_choice(folders, folder, arguments.name, arguments.json)


def _is_group(word: str, config_dir: str | None) -> bool:
    known = {*groups(conf_folders(config_dir)), *FOLDERS, *FOLDERS.values()}
    return word in known and not Path(word, CONFIG).is_file()


def _show_choice(folders: list[ConfFolder], folder: str, name: str, as_json: bool) -> int:
    option = next((o for o in options(folders, folder) if o.name == name), None)
    group = group_of(folder)
    entry = _entry(group, name, option)
    if option is None and entry is None:
        known = sorted({*(o.name for o in options(folders, folder)), *(names(group) if group else ())})
        raise ConfigError(f"there is no {folder} {name!r}.{did_you_mean(name, known)}\n  {folder}: {', '.join(known)}.")
    if as_json:
        print_json(_as_json(folder, name, option, entry))
        return 0
    if option is not None:
        _print_file(option)
    if entry is not None:
        _print_entry(entry)
    elif folder == "trainer":
        trainer = importlib.import_module("expkit.trainer").Trainer
        table(("argument", "type", "default"), _rows(list(signature_of(trainer).arguments)), title="trainer")
    return 0


def _as_json(folder: str, name: str, option: Option | None, entry: Entry | None) -> dict[str, Any]:
    rows = _rows(entry.arguments, _filled(entry)) if entry is not None else []
    return {
        "group": folder,
        "name": name,
        "file": str(option.path) if option is not None else None,
        "config": read_content(option.path) if option is not None else {},
        "doc": entry.doc if entry is not None else "",
        "arguments": [dict(zip(("name", "type", "default"), row, strict=True)) for row in rows],
    }


def _entry(group: str | None, name: str, option: Option | None) -> Entry | None:
    """The registered thing behind a YAML file (its `name`), or of that very name."""
    if group is None:
        return None
    built = name if option is None else _name_in(read_content(option.path))
    return describe(group, built) if built in names(group) else None


def _name_in(content: dict[str, Any]) -> str:
    """The registered name in a file: its `name`, or that of its only entry (callbacks and loggers are named dicts)."""
    entries = [content, *(value for value in content.values() if isinstance(value, dict))]
    found = [entry["name"] for entry in entries if isinstance(entry.get("name"), str)]
    return found[0] if len(found) == 1 else ""


def _print_file(option: Option) -> None:
    print(f"{option.group}={option.name}    {label(option.path)}\n")
    for line in option.path.read_text(encoding="utf-8").rstrip().splitlines():
        print(f"    {line}".rstrip())
    print()


def _print_entry(entry: Entry) -> None:
    print(f"{entry.group} {entry.name}\n")
    if entry.doc:
        for line in entry.doc.splitlines():
            print(f"    {line}".rstrip())
        print()
    if entry.arguments:
        table(("argument", "type", "default"), _rows(entry.arguments, _filled(entry)))
    else:
        print("It takes no arguments.")


def _filled(entry: Entry) -> set[str]:
    """The arguments that are expkit's business: the parameters of an optimizer, the model of a task."""
    first = {argument.name for argument in entry.arguments[: POSITIONAL.get(entry.group, 0)]}
    return first | (set(TASK_PARTS) if entry.group == "task" else set())


def _rows(arguments: list[Argument], filled: Collection[str] = ()) -> list[tuple[str, str, str]]:
    """A line per argument."""
    return [(a.name, a.type, "filled in by expkit" if a.name in filled else _default_of(a)) for a in arguments]


def _default_of(argument: Argument) -> str:
    if not argument.required:
        return _yaml(argument.default)
    return "from the data" if argument.name in DERIVED else "required"


def _yaml(value: Any) -> str:
    """A default as one would write it in YAML."""
    if value is None or isinstance(value, bool | int | float | str | list | tuple | dict):
        plain = list(value) if isinstance(value, tuple) else value
        return yaml.safe_dump(plain, default_flow_style=True, width=200).replace("\n...", "").strip()
    return str(value)
