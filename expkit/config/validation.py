"""`validate`: everything about a composed config that can be known to be wrong before anything is loaded."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from omegaconf import open_dict

from expkit.config.composition import Composed
from expkit.config.derived import is_derived
from expkit.config.device import settle_device, trainer_arguments
from expkit.config.filled import DERIVED, POSITIONAL
from expkit.config.initial import frozen_of, weights_of
from expkit.config.param_groups import check_optimizer, refuse_closures
from expkit.config.tasks import AUTO, check_task, is_chosen, settle_task, unused_groups
from expkit.errors import ConfigError, did_you_mean
from expkit.registry import LATER, bind, check

NAMED_GROUPS = {"callbacks": "callback", "logger": "logger", "metrics": "metric"}
# Trainer arguments that are objects in Python and groups in configs.
NOT_TRAINER_KEYS = ("callbacks", "logger", "default_root_dir")
# Names that the trainer resolves itself: nothing is built under them.
RESOLVED_LATER = {"loss": "auto", "scheduler": "none", "task": AUTO, "metrics": AUTO}


def root(
    task_name: str,
    tags: list[str],
    train: bool = True,
    test: bool = True,
    ckpt_path: str | None = None,
    weights: str | dict[str, Any] | None = None,
    freeze: str | list[str] = [],  # noqa: B006
    seed: int | None = None,
    optimized_metric: str | None = None,
    plugins: list[str] = [],  # noqa: B006
    vars: dict[str, Any] = {},  # noqa: B006
    data: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    loss: dict[str, Any] | None = None,
    task: dict[str, Any] | None = None,
    optim: dict[str, Any] | None = None,
    scheduler: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    callbacks: dict[str, Any] | None = None,
    logger: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    device: dict[str, Any] | None = None,
    distributed: dict[str, Any] | None = None,
    paths: dict[str, Any] | None = None,
) -> None:
    """The root keys of a config and their types; nothing else is legal there."""


TIMING = ("interval", "frequency", "monitor", "strict")
ROOT_KEYS = tuple(inspect.signature(root).parameters)


def validate(composed: Composed) -> dict[str, Any]:
    """Checks groups, trainer arguments, devices, monitors, missing values and interpolations; the resolved config.

    In it, and in `composed`, the device is settled: `device.name` (`auto`, `cpu`, `cuda:0`) and the trainer's aliases
    say the same. Raises ConfigError for the first thing that is wrong.
    """
    origin = composed.origins.of
    _check_root(composed.resolved(), origin)
    _settle(composed)
    config = composed.resolved()
    config["trainer"] = _check_trainer(config, origin)
    task = config.get("task") or {"name": AUTO}
    if task.get("name") == AUTO:
        _refuse_arguments("task", task, origin)
    else:
        check_task(symbolic(task), origin)
        settle_task(composed)
        config |= dict.fromkeys(unused_groups(config))
    _check_groups(composed, config)
    for folder, group in NAMED_GROUPS.items():
        for key, entry in named_entries(config.get(folder), folder, origin):
            if entry.get("name") == RESOLVED_LATER.get(folder, ""):
                _refuse_arguments(key, entry, origin)
            else:
                check(group, symbolic(entry), (), composed.origins.within(key))
    weights_of(config, origin)
    frozen_of(config, origin)
    _check_monitors(config, origin)
    return config


def _check_groups(composed: Composed, config: Mapping[str, Any]) -> None:
    """The choices of data, model, loss, ..., as far as the task makes use of them."""
    origin, unused = composed.origins.of, unused_groups(config)
    for group, positional in POSITIONAL.items():
        entry = config.get(group)
        if group in unused or (entry is None and group in ("scheduler", "loss")):
            continue
        if entry is None or (group == "model" and not is_chosen(entry)):
            raise ConfigError(f"{origin(group)}: a {group} must be chosen: write {group}=NAME (`expkit ls {group}`).")
        if group == "scheduler":
            entry, timing = split_schedule(entry)
            bind("a scheduler", schedule_timing, symbolic(timing), where=composed.origins.within(group))
        if group == "optim":
            entry = check_optimizer(entry, origin)
        if entry.get("name") == RESOLVED_LATER.get(group, ""):
            _refuse_arguments(group, entry, origin)
        else:
            check(group, symbolic(entry), DERIVED, composed.origins.within(group), positional=positional)
        if group == "optim" and config.get("train", True):
            refuse_closures(entry["name"], origin)


def schedule_timing(
    interval: Literal["epoch", "step"] = "epoch", frequency: int = 1, monitor: str | None = None, strict: bool = True
) -> None:
    """When a scheduler of a config is stepped: keys beside its arguments, as in Lightning's dictionaries."""


def split_schedule(entry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what registry.build takes, timing: interval, frequency, monitor, strict) of a scheduler's config."""
    timing = {key: value for key, value in entry.items() if key in TIMING}
    return {key: value for key, value in entry.items() if key not in TIMING}, timing


def named_entries(entries: Any, folder: str, origin: Callable[[str], str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(key, config) of each callback, logger, metric: a mapping of named entries, or one entry with its own `name`.

    An entry that is null is switched off.
    """
    if not entries:
        return
    if isinstance(entries.get("name"), str):
        yield folder, entries
        return
    for key, entry in entries.items():
        if entry is None:
            continue
        if not isinstance(entry, Mapping):
            raise ConfigError(
                f"{origin(f'{folder}.{key}')}: {folder}.{key} must be a mapping with a 'name', got {entry!r}. "
                f"Write ~{folder}.{key} to remove it."
            )
        yield f"{folder}.{key}", entry


def symbolic(value: Any) -> Any:
    """`value` with everything that still waits for the data replaced by LATER, which passes every type check."""
    if isinstance(value, Mapping):
        return {key: symbolic(child) for key, child in value.items()}
    if isinstance(value, list):
        return [symbolic(child) for child in value]
    return LATER if is_derived(value) else value


def _check_root(config: dict[str, Any], origin: Callable[[str], str]) -> None:
    for key in config:
        if key not in ROOT_KEYS:
            raise ConfigError(
                f"{origin(key)}: {key!r} is not a key of the config.{did_you_mean(key, ROOT_KEYS)}\n"
                f"  Keys: {', '.join(ROOT_KEYS)}. Values of your own go under vars, e.g. vars.width."
            )
    bind("the config", root, symbolic(config), where=origin)
    if not config["task_name"].strip():
        raise ConfigError(f"{origin('task_name')}: task_name is empty: it names the folder of the runs. Write a word.")
    if ".." in Path(config["task_name"]).parts or Path(config["task_name"]).is_absolute():
        raise ConfigError(
            f"{origin('task_name')}: task_name={config['task_name']!r} leads out of the folder of the runs. Write a "
            "word; paths.log_dir says where the folder is."
        )


def _refuse_arguments(group: str, entry: Mapping[str, Any], origin: Callable[[str], str]) -> None:
    for key in entry:
        if key != "name":
            raise ConfigError(
                f"{origin(f'{group}.{key}')}: {key!r} is not an argument of {group} {entry['name']!r}, which takes "
                f"none. Choose another: `expkit ls {group}`."
            )


def _settle(composed: Composed) -> None:
    device = settle_device(composed.resolved(), composed.origins.of)
    with open_dict(composed.config):
        composed.config.device = {"name": device}
        composed.config.trainer = composed.config.get("trainer") or {}
        composed.config.trainer.update(trainer_arguments(device))


def _check_trainer(config: dict[str, Any], origin: Callable[[str], str]) -> dict[str, Any]:
    # A layer above this one, so imported by name: unknown keys and types first, then the ranges.
    arguments = importlib.import_module("expkit.trainer.arguments")
    given = dict(config.get("trainer") or {})
    checked = bind(
        "the trainer", arguments.Arguments, given, closed=NOT_TRAINER_KEYS, where=lambda key: origin(f"trainer.{key}")
    )
    try:
        arguments.Arguments(**checked)
    except arguments.ArgumentError as error:
        raise ConfigError(f"{origin(f'trainer.{error.key}')}: {error}") from None
    return checked


def _check_monitors(config: dict[str, Any], origin: Callable[[str], str]) -> None:
    """The form of metric names; whether such a metric is logged is known once training starts."""
    wanted = [("optimized_metric", config.get("optimized_metric"))]
    wanted.append(("scheduler.monitor", (config.get("scheduler") or {}).get("monitor")))
    callbacks = named_entries(config.get("callbacks"), "callbacks", origin)
    wanted += [(f"{key}.monitor", entry.get("monitor")) for key, entry in callbacks]
    for key, name in wanted:
        if isinstance(name, str) and not is_derived(name) and not re.fullmatch(r"[\w/.\- :]*\w", name):
            raise ConfigError(
                f"{origin(key)}: {key}={name!r} is not the name of a metric: those are like val/loss or val/acc."
            )
