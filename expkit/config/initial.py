"""The root keys `weights` and `freeze`: what a model begins with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from expkit.errors import ConfigError
from expkit.registry import bind


@dataclass(frozen=True, kw_only=True)
class WeightsEntry:
    """Weights to begin with.

    path: a safetensors file, a folder with a model.safetensors, a checkpoint, or a run directory.
    strict: whether all of it has to fit all of the model; else what fits is taken, and the rest told.
    strip: a prefix of names in the file that the model's own lack, e.g. "model.".
    """

    path: str
    strict: bool = True
    strip: str | None = None


def weights_of(config: Mapping[str, Any], origin: Callable[[str], str]) -> WeightsEntry | None:
    """The checked entry `weights` of a config: a path, a mapping, or null. ConfigError for anything else."""
    entry = config.get("weights")
    if entry is None:
        return None
    entry = {"path": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{origin('weights')}: weights is a path or {{path, strict, strip}}, got {entry!r:.60}.")
    return WeightsEntry(**bind("weights", WeightsEntry, entry, where=lambda key: origin(f"weights.{key}")))


def frozen_of(config: Mapping[str, Any], origin: Callable[[str], str]) -> list[str]:
    """The patterns under `freeze` of a config: one or a list. ConfigError for anything else."""
    entry = config.get("freeze") or []
    patterns = [entry] if isinstance(entry, str) else entry
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ConfigError(
            f"{origin('freeze')}: freeze is a list of patterns of parameter names, e.g. ['features.*'], "
            f"got {entry!r:.60}."
        )
    return patterns
