"""The entry `task:` of a config: which training style, its own arguments, and which other groups it makes use of."""

from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import open_dict

from expkit.config.composition import Composed
from expkit.config.filled import DERIVED, TASK_PARTS
from expkit.errors import ConfigError
from expkit.registry import check, lookup, signature_of

AUTO = "auto"
NONE = "none"
# Group of the config -> the part of a task that it describes.
GROUP_PARTS = {
    "model": "model", "loss": "loss", "optim": "optimizer", "scheduler": "scheduler", "metrics": "metrics",
}  # fmt: skip


def check_task(entry: Mapping[str, Any], origin: Callable[[str], str]) -> None:
    """ConfigError for a task that does not exist, and for arguments that it does not take or that expkit fills in."""
    for key in entry:
        if key in TASK_PARTS:
            raise ConfigError(
                f"{origin(f'task.{key}')}: {key!r} of a task is filled in by expkit ({TASK_PARTS[key]}) and cannot be "
                "set there."
            )
    check("task", entry, {**DERIVED, **TASK_PARTS}, lambda key: origin(f"task.{key}"))


def is_chosen(entry: Mapping[str, Any] | None) -> bool:
    """Whether a group holds a choice: neither null nor `none`."""
    return entry is not None and entry.get("name") != NONE


def unused_groups(config: Mapping[str, Any]) -> list[str]:
    """The groups that the config's task has no use for: one that builds its own model takes none."""
    name = (config.get("task") or {}).get("name", AUTO)
    if name == AUTO:
        return []
    wanted = signature_of(lookup("task", name)).named()
    return [group for group, part in GROUP_PARTS.items() if part not in wanted]


def settle_task(composed: Composed) -> None:
    """Groups that the task has no use for become null. ConfigError for those that an override has chosen."""
    config = composed.resolved()
    for group in unused_groups(config):
        asked = [text for text in composed.overrides if text.lstrip("+").startswith((f"{group}=", f"{group}."))]
        if asked and is_chosen(config.get(group)):
            raise ConfigError(
                f"override {asked[0]!r}: task {config['task']['name']!r} makes its own {GROUP_PARTS[group]}, so this "
                "would change nothing. Leave it out."
            )
        with open_dict(composed.config):
            composed.config[group] = None
