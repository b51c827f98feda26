"""The entry `task:` of a config: which training style, and its own arguments."""

from collections.abc import Callable, Mapping
from typing import Any

from expkit.config.filled import DERIVED, TASK_PARTS
from expkit.errors import ConfigError
from expkit.registry import check

AUTO = "auto"


def check_task(entry: Mapping[str, Any], origin: Callable[[str], str]) -> None:
    """ConfigError for a task that does not exist, and for arguments that it does not take or that expkit fills in."""
    for key in entry:
        if key in TASK_PARTS:
            raise ConfigError(
                f"{origin(f'task.{key}')}: {key!r} of a task is filled in by expkit ({TASK_PARTS[key]}) and cannot be "
                "set there."
            )
    check("task", entry, {**DERIVED, **TASK_PARTS}, lambda key: origin(f"task.{key}"))
