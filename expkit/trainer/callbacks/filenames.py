"""Names of checkpoints: "{epoch:03d}-{val/acc:.3f}" filled in; and the folders that they go to."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expkit.errors import ConfigError, did_you_mean

DEFAULT = "epoch_{epoch:03d}-step_{step:06d}"
_FIELD = re.compile(r"\{([^{}]*)\}")


def check(pattern: str) -> None:
    """ConfigError where `pattern` cannot become the name of a file, whatever the values."""
    _whole(pattern, _FIELD.sub("", pattern))


def fields(pattern: str) -> list[str]:
    """The names of its fields."""
    return [field.partition(":")[0] for field in _FIELD.findall(pattern)]


def check_folder(owner: str, folder: Path) -> None:
    """ConfigError where no files can be made in `folder`, or it cannot be made; nothing is made."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "may not be written" if there.is_dir() else "is not a folder"
        raise ConfigError(f"{owner}: dirpath={str(folder)!r}: {there} {why}. Give another folder.")


def fill(pattern: str, values: Mapping[str, Any], *, insert_names: bool) -> str:
    """`pattern` with the values of its fields; with insert_names as `epoch=003-val_acc=0.912`."""

    def value(match: re.Match[str]) -> str:
        name, _, spec = match[1].partition(":")
        if name not in values:
            raise ConfigError(
                f"ModelCheckpoint: filename={pattern!r} needs {name!r}, which is not known."
                f"{did_you_mean(name, values)} Known: {', '.join(values)}."
            )
        text = format(values[name], spec)
        return (f"{name}={text}" if insert_names else text).replace("/", "_")

    try:
        return _whole(pattern, _FIELD.sub(value, pattern))
    except ValueError as error:
        raise ConfigError(f"ModelCheckpoint: filename={pattern!r}: {error}.") from None


def _whole(pattern: str, name: str) -> str:
    if re.search(r"[{}/]", name) or name.startswith("."):
        raise ConfigError(
            f"ModelCheckpoint: filename={pattern!r} is no name of a file. "
            f"Write e.g. '{DEFAULT}' or '{{epoch}}-{{val/acc:.3f}}'."
        )
    return name
