"""YAML files as plain containers, read quickly and without Hydra: for listings and completion."""

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from expkit.config.paths import label
from expkit.errors import ConfigError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same grammar in C, where PyYAML has it


def plain_content(path: Path) -> dict[str, Any]:
    """The mapping in a file, interpolations as they stand; empty where there is none that can be read."""
    try:
        return read_content(path)
    except ConfigError:
        return {}


def read_content(path: Path) -> dict[str, Any]:
    """The mapping in a file, interpolations as they stand. ConfigError where there is none that can be read."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), LOADER)  # noqa: S506  (both loaders are safe ones)
    except OSError as error:
        raise ConfigError(f"{label(path)}: cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{label(path)}: not valid YAML: {' '.join(str(error).split())}.") from None
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{label(path)}: a config file holds 'key: value' lines, this one something else.")
    return content or {}
