"""`expkit ls [GROUP]`: the groups, their options, one line each."""

from expkit.cli.arguments import Parser
from expkit.cli.output import table
from expkit.config.listing import groups, options
from expkit.config.paths import ConfFolder, conf_folders
from expkit.errors import ConfigError, did_you_mean
from expkit.registry import FOLDERS, GROUPS, describe, names

USAGE = """\
Usage: expkit ls [GROUP] [-cd DIR]

Lists what can be chosen: every group of conf/ with its options, or the options of one GROUP. With a GROUP also what
is registered without having a YAML file (callbacks, metrics, plugins).
"""


def usage() -> str:
    """The text of `expkit ls --help`."""
    return USAGE


def run(argv: list[str]) -> int:
    """Prints the table; the exit code."""
    parser = Parser("ls")
    parser.add_argument("group", nargs="?")
    parser.add_argument("--config-dir", "-cd")
    arguments = parser.parse_intermixed_args(argv)
    folders = conf_folders(arguments.config_dir)
    known = groups(folders)
    chosen = known if arguments.group is None else [folder_of(arguments.group, known)]
    for number, group in enumerate(chosen):
        rows = _options(folders, group)
        if arguments.group is not None:
            rows += _registered(group, {name for name, _ in rows})
        if number:
            print()
        table(("choice" if group in known else "name", ""), rows, title=group)
    return 0


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
