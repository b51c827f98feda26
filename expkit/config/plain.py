"""YAML files as plain containers, read quickly and without Hydra: for listings and completion."""

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same grammar in C, where PyYAML has it


def plain_content(path: Path) -> dict[str, Any]:
    """The mapping in a file, interpolations as they stand; empty where there is none that can be read."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), LOADER)  # noqa: S506  (both loaders are safe ones)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
