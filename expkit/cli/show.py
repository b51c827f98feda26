"""`expkit show GROUP NAME`: the YAML file of a choice, its arguments with types and defaults, its documentation."""

import importlib
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from expkit.cli.arguments import Parser
from expkit.cli.ls import folder_of, group_of
from expkit.cli.output import table
from expkit.config.filled import DERIVED, POSITIONAL
from expkit.config.listing import Option, groups, options
from expkit.config.paths import conf_folders, label
from expkit.errors import ConfigError, did_you_mean
from expkit.registry import Argument, Entry, describe, names, signature_of

USAGE = """\
Usage: expkit show GROUP NAME [-cd DIR]

Shows one choice: its YAML file, the arguments it takes (type, default) and its documentation.

  expkit show model mlp
  expkit show callback early_stopping
  expkit show experiment digits_cnn
"""


def usage() -> str:
    """The text of `expkit show --help`."""
    return USAGE


def run(argv: list[str]) -> int:
    """Prints the page; the exit code."""
    parser = Parser("show")
    parser.add_argument("group")
    parser.add_argument("name")
    parser.add_argument("--config-dir", "-cd")
    arguments = parser.parse_intermixed_args(argv)
    folders = conf_folders(arguments.config_dir)
    folder = folder_of(arguments.group, groups(folders))
    option = next((o for o in options(folders, folder) if o.name == arguments.name), None)
    group = group_of(folder)
    entry = _entry(group, arguments.name, option)
    if option is None and entry is None:
        known = sorted({*(o.name for o in options(folders, folder)), *(names(group) if group else ())})
        raise ConfigError(
            f"there is no {folder} {arguments.name!r}.{did_you_mean(arguments.name, known)}\n"
            f"  {folder}: {', '.join(known)}."
        )
    if option is not None:
        _print_file(option)
    if entry is not None:
        _print_entry(entry)
    elif folder == "trainer":
        trainer = importlib.import_module("expkit.trainer").Trainer
        table(("argument", "type", "default"), _rows(list(signature_of(trainer).arguments)), title="trainer")
    return 0


def _entry(group: str | None, name: str, option: Option | None) -> Entry | None:
    """The registered thing behind a YAML file (its `name`), or of that very name."""
    if group is None:
        return None
    built = name if option is None else _name_in(_content(option.path))
    return describe(group, built) if built in names(group) else None


def _name_in(content: dict[str, Any]) -> str:
    """The registered name in a file: its `name`, or that of its only entry (callbacks and loggers are named dicts)."""
    entries = [content, *(value for value in content.values() if isinstance(value, dict))]
    found = [entry["name"] for entry in entries if isinstance(entry.get("name"), str)]
    return found[0] if len(found) == 1 else ""


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{label(path)}: not valid YAML: {' '.join(str(error).split())}.") from None
    return content if isinstance(content, dict) else {}


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
        table(("argument", "type", "default"), _rows(entry.arguments, POSITIONAL.get(entry.group, 0)))
    else:
        print("It takes no arguments.")


def _rows(arguments: list[Argument], passed: int = 0) -> list[tuple[str, str, str]]:
    """A line per argument; the first `passed` are expkit's business."""
    return [(a.name, a.type, "filled in by expkit" if i < passed else _default_of(a)) for i, a in enumerate(arguments)]


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
