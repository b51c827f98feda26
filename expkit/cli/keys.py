"""Keys and values of overrides, for completion: read off the YAML files, without composing anything."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expkit.config.listing import groups, options
from expkit.config.paths import ConfFolder
from expkit.config.plain import plain_content

PRIMARY = "config"
SIGNS = ("++", "+", "~")


def candidates_of_override(word: str, given: list[str], folders: list[ConfFolder]) -> list[str]:
    """What an override that begins with `word` may become, after the overrides `given`."""
    sign = next((sign for sign in SIGNS if word.startswith(sign)), "")
    key, equals, value = word.removeprefix(sign).partition("=")
    known = groups(folders)
    if equals:
        found = _values(key, value, known, given, folders)
    elif "." in key:
        found = _keys(key, given, folders)
    else:
        root = {name: child for name, child in _file(folders, PRIMARY).items() if name != "defaults"}
        found = [*(f"{group}=" for group in known), *(f"{group}." for group in known if group == key)]
        found += [f"{name}{'.' if isinstance(child, dict) else '='}" for name, child in root.items()]
    whole = [f"{sign}{candidate}" for candidate in found]
    return [candidate for candidate in whole if candidate.startswith(word)]


def _values(key: str, value: str, known: list[str], given: list[str], folders: list[ConfFolder]) -> list[str]:
    if key in known:
        before = value[: value.rfind(",") + 1]  # several, for a multirun
        return [f"{key}={before}{option.name}" for option in options(folders, key)]
    parent, _, last = key.rpartition(".")
    present = _children(parent, given, folders).get(last)
    values = [True, False] if isinstance(present, bool) else [present]
    return [f"{key}={text}" for text in map(_text, values) if text is not None]


def _keys(key: str, given: list[str], folders: list[ConfFolder]) -> list[str]:
    parent = key.rpartition(".")[0]
    children = _children(parent, given, folders)
    return [f"{parent}.{name}{'.' if isinstance(child, dict) else '='}" for name, child in children.items()]


def _children(path: str, given: list[str], folders: list[ConfFolder]) -> dict[str, Any]:
    """What is below `path` in the config, with the options that are chosen now."""
    group, *below = path.split(".")
    content: Any = _file(folders, PRIMARY)
    if group in groups(folders):
        own = content.get(group)
        content = {group: _option(folders, group, _choice(folders, group, given)) | (own if own else {})}
    for name in (group, *below) if path else ():
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _choice(folders: list[ConfFolder], group: str, given: list[str]) -> str:
    """The option of a group: of the overrides the last, else of a chosen experiment, else of config.yaml."""
    chosen = dict(_choices(_file(folders, PRIMARY)))
    overrides = dict(word.split("=", 1) for word in given if "=" in word)
    for whole in ("experiment", "hparams_search", "debug"):
        if whole in overrides:
            chosen |= dict(_choices(_file(folders, f"{whole}/{overrides[whole]}")))
    return str((chosen | overrides).get(group) or "")


def _choices(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(group, option) of each line of a file's defaults."""
    defaults = content.get("defaults")
    for item in defaults if isinstance(defaults, list) else ():
        if isinstance(item, dict):
            for group, option in item.items():
                yield str(group).removeprefix("override ").strip("/ "), option


def _option(folders: list[ConfFolder], group: str, option: str) -> dict[str, Any]:
    """The content of an option, with that of the options of its group which it names in its defaults."""
    content = dict(_file(folders, f"{group}/{option}")) if option else {}
    defaults = content.pop("defaults", None)
    inherited: dict[str, Any] = {}
    for item in defaults if isinstance(defaults, list) else ():
        if isinstance(item, str) and item not in ("_self_", option):
            inherited |= _option(folders, group, item)
    return inherited | content


def _file(folders: list[ConfFolder], name: str) -> dict[str, Any]:
    """The content of the first file of that name; empty where there is none that can be read."""
    path = next((path for path in (Path(f.path, f"{name}.yaml") for f in folders) if path.is_file()), None)
    return {} if path is None else plain_content(path)


def _text(value: Any) -> str | None:
    """A value as it is written on a command line; None for what would need quotes there."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return None if not text or set(text) & set(" \"'${}?*~&|;<>()#\\") else text
