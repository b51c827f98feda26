"""The configuration reference: a page for each folder of conf/, from its files and from the registry."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from expkit import flags
from expkit.cli.verbs import VERBS
from expkit.config.filled import DERIVED, POSITIONAL
from expkit.config.listing import Option, groups, options
from expkit.config.paths import ConfFolder
from expkit.registry import FOLDERS, GROUPS, Argument, Entry, describe, names, signature_of

COMMANDS = """\
# Commands

`expkit VERB --help` prints what is here. `expkit train`'s own lists all groups as well: see [settings](index.md).

"""

INDEX = """\
# Settings

An experiment is a choice from each group, and values: `expkit train model=cnn optim.lr=0.01`. `expkit show GROUP NAME`
prints what these pages say, and what you added yourself. The verbs are on [a page of their own](commands.md).

{groups}

## What a config starts from

`conf/config.yaml`:

```yaml
{primary}
```

## Environment variables

{flags}

## Exit codes

| | |
| --- | --- |
| 0 | done |
| 1 | the run failed |
| 2 | bad input: a config, an override, a file |
| 130, 143 | ended by Ctrl-C or SIGTERM, in good order: `expkit resume` goes on |
"""


def config_pages(conf: Path) -> dict[str, str]:
    """{page: text}; the page `index` links to the others."""
    folders = [ConfFolder("built-in", conf)]
    known = sorted({*groups(folders), *FOLDERS.values()})
    pages = {group: _page(group, options(folders, group)) for group in known}
    primary = (conf / "config.yaml").read_text(encoding="utf-8").strip()
    rows = [(f"`EXPKIT_{name}`", _default_of_flag(flag), flag.help) for name, flag in flags.FLAGS.items()]
    links = "\n".join(f"- [{group}]({group}.md): {_told(options(folders, group), group)}" for group in known)
    pages["commands"] = _commands()
    pages["index"] = INDEX.format(groups=links, primary=primary, flags=_table(("variable", "default", ""), rows))
    return pages


def _commands() -> str:
    """What `expkit VERB --help` says, verb by verb. Of `train` without the list of groups, which is long."""
    parts = []
    for verb in VERBS:
        text = importlib.import_module(f"expkit.cli.{verb}").usage().strip()
        if verb == "train":
            text = re.sub(r"(Groups \([^\n]*\n)(?:  .*\n)+", r"\1  ...\n", text)
        parts.append(f"## {verb}\n\n```text\n{text}\n```\n")
    return COMMANDS + "\n".join(parts)


def _told(chosen: list[Option], folder: str) -> str:
    group = _group_of(folder)
    found = [option.name for option in chosen] or (names(group) if group else [])
    return ", ".join(f"`{name}`" for name in found)


def _default_of_flag(flag: Any) -> str:
    value = getattr(flag, "default", "")
    return "" if value in ("", None) else f"`{value}`"


def _group_of(folder: str) -> str | None:
    return next((group for group in GROUPS if FOLDERS[group] == folder), None)


def _page(folder: str, chosen: list[Option]) -> str:
    group = _group_of(folder)
    entries = {name: describe(group, name) for name in names(group)} if group else {}
    parts = [f"# {folder}\n", "[All groups](index.md)\n"]
    for option in chosen:
        built = _name_in(option.path)
        parts.append(_choice(folder, option, entries.pop(built, None) if built == option.name else entries.get(built)))
    parts += [f"## {name}\n\n{_described(entry, {})}" for name, entry in sorted(entries.items())]
    return "\n".join(parts).rstrip() + "\n"


def _choice(folder: str, option: Option, entry: Entry | None) -> str:
    """A YAML file: what it says it is, then the arguments behind it, or the file itself where nothing is built."""
    title = f"## {option.name}\n\n{option.summary.rstrip('.')}.\n"
    text = option.path.read_text(encoding="utf-8")
    if folder == "trainer":
        trainer = importlib.import_module("expkit.trainer").Trainer
        return f"{title}\n{_arguments(signature_of(trainer).arguments, comments(text))}"
    if entry is None or entry.name != option.name:
        return f"{title}\n```yaml\n{text.strip()}\n```\n"
    return f"{title}\n{_described(entry, comments(text))}"


def _described(entry: Entry, remarks: dict[str, str]) -> str:
    passed = POSITIONAL.get(entry.group, 0)
    doc = f"{entry.doc.strip()}\n" if entry.doc else ""
    table = _arguments(entry.arguments[passed:], remarks) if entry.arguments[passed:] else "It takes no arguments.\n"
    return f"```text\n{doc}```\n\n{table}" if doc else table


def _arguments(arguments: Any, remarks: dict[str, str]) -> str:
    rows = [(f"`{a.name}`", _cell(a.type), _default(a), remarks.get(a.name, "")) for a in arguments]
    return _table(("argument", "type", "default", ""), rows) + "\n"


def _default(argument: Argument) -> str:
    if argument.required:
        return "from the data" if argument.name in DERIVED else "required"
    value = list(argument.default) if isinstance(argument.default, tuple) else argument.default
    if value is None or isinstance(value, bool | int | float | str | list | dict):
        return f"`{yaml.safe_dump(value, default_flow_style=True, width=200).replace(chr(10) + '...', '').strip()}`"
    return f"`{value}`"


def comments(text: str) -> dict[str, str]:
    """{key: the comment on its line} of a YAML file."""
    found = re.findall(r"^ *([\w]+):[^#\n]*#\s*(.+)$", text, re.MULTILINE)
    return {key: _cell(said) for key, said in reversed(found)}


def _name_in(path: Path) -> str:
    """The registered name in a file: its `name`, or that of its only entry."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content = content if isinstance(content, dict) else {}
    entries = [content, *(value for value in content.values() if isinstance(value, dict))]
    found = [entry["name"] for entry in entries if isinstance(entry.get("name"), str)]
    return found[0] if len(found) == 1 else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").strip()


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(_lines(header, rows))


def _lines(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
