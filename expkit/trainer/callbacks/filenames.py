"""Names of checkpoints: "{epoch:03d}-{val/acc:.3f}" filled in."""

import re
from collections.abc import Mapping
from typing import Any

from expkit.errors import ConfigError, did_you_mean

DEFAULT = "epoch_{epoch:03d}-step_{step:06d}"
_FIELD = re.compile(r"\{([^{}]*)\}")


def check(pattern: str) -> None:
    """ConfigError where `pattern` cannot become the name of a file, whatever the values."""
    _whole(pattern, _FIELD.sub("", pattern))


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
