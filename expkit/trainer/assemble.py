"""From a composed config to the objects of an experiment: data, then what follows from it, then everything else."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expkit import tree
from expkit.config import Composed, named_entries
from expkit.data import DataModule
from expkit.errors import ConfigError, DataError, ExpkitError, ShapeError
from expkit.registry import build, culprit, lookup
from expkit.tracking import JournalLogger, RunInfo
from expkit.trainer import feed
from expkit.trainer.arguments import Arguments
from expkit.trainer.callbacks import Callback

# Loggers that can be chosen beside another, whose journal they share.
SHARING = ("csv", "none")


def make(
    composed: Composed, group: str, entry: Mapping[str, Any], *args: Any, key: str | None = None, **how: Any
) -> Any:
    """`registry.build` for the config entry at `key`; what the factory itself refuses is told with its origin too."""
    key = key or group
    origin = composed.origins.within(key)
    try:
        return build(group, entry, *args, where=origin, **how)
    except MemoryError as error:
        raise ConfigError(f"{origin(_largest(entry))}: {group} {entry.get('name')!r} is too big: {error}") from None
    except (ConfigError, DataError, ShapeError) as error:
        if isinstance(error, DataError) and not re.match(rf"({'|'.join(map(re.escape, entry))})=", str(error)):
            raise  # about a file, which it names
        where = origin(culprit(entry, str(error), origin))
        if str(error).startswith(where):
            raise
        raise type(error)(f"{where}: {error}") from None


def _largest(entry: Mapping[str, Any]) -> str:
    """The key with the largest number in it, which is the likely culprit where memory does not suffice."""
    sizes = {
        name: max((leaf for _, leaf in tree.items(value) if isinstance(leaf, int | float)), default=0)
        for name, value in entry.items()
    }
    return max(sizes, key=sizes.__getitem__, default="name")


def make_data(composed: Composed, config: Mapping[str, Any]) -> DataModule:
    """The data module of a config."""
    data = make(composed, "data", config["data"])
    if not isinstance(data, DataModule):
        raise ConfigError(
            f"{composed.origins.of('data.name')}: data {config['data']['name']!r} is {type(data).__name__}, no "
            "DataModule (expkit.data.DataModule, ArrayData)."
        )
    return data


def derive(data: DataModule, trainer: Mapping[str, Any]) -> dict[str, Any]:
    """What configs may refer to as ${derived:...}: what the data says, and how long training will be."""
    arguments = Arguments(**{key: value for key, value in trainer.items() if not _is_symbolic(value)})
    batches = (
        1 if arguments.fast_dev_run else feed.limits([data.train_dataloader()], _limit(arguments), "trainer")[0] or 0
    )
    steps = -(-batches // arguments.accumulate_grad_batches)
    epochs = 1 if arguments.fast_dev_run else arguments.max_epochs
    limited = epochs not in (None, -1)
    total = steps * (epochs or 0) if limited else None
    if arguments.max_steps != -1:
        total = arguments.max_steps if total is None else min(total, arguments.max_steps)
    found = {"steps_per_epoch": steps, "max_epochs": epochs if limited else None, "total_steps": total}
    return data.derived | {key: value for key, value in found.items() if value is not None}


def _limit(arguments: Arguments) -> int | float:
    return arguments.overfit_batches or arguments.limit_train_batches or 0


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, str) and "${derived:" in value


def make_callbacks(composed: Composed, config: Mapping[str, Any]) -> list[Callback]:
    """The callbacks of a config, each knowing its key."""
    callbacks = []
    for key, entry in named_entries(config.get("callbacks"), "callbacks", composed.origins.of):
        callback = make(composed, "callback", entry, key=key)
        if not isinstance(callback, Callback):
            raise ConfigError(
                f"{composed.origins.of(key)}: {key} is {lookup('callback', entry['name']).__name__}, no Callback."
            )
        callback.config_key = key
        callbacks.append(callback)
    return callbacks


def make_logger(
    composed: Composed, config: Mapping[str, Any], run_dir: Path, parent: Path | None = None
) -> JournalLogger:
    """The logger of a config; without one the journal alone. A run that goes on keeps the store that it began in.

    Several share one journal: that of the one which is neither `csv` nor `none`; `csv` adds its table.
    """
    entries = list(named_entries(config.get("logger"), "logger", composed.origins.of))
    keepers = [(key, entry) for key, entry in entries if entry["name"] not in SHARING]
    if len(keepers) > 1:
        raise ConfigError(
            f"{composed.origins.of('logger')}: {' and '.join(key for key, _ in keepers)}: each of them keeps the "
            f"journal, so choose one, beside {' and '.join(SHARING)}."
        )
    if not entries:
        return JournalLogger(run_dir=str(run_dir))
    [(main, entry), *_] = keepers or entries
    logger = _make_logger(composed, main, entry, run_dir, parent)
    if any(other["name"] == "csv" for key, other in entries if key != main):
        logger.keep_table()
    return logger


def _make_logger(
    composed: Composed, key: str, entry: Mapping[str, Any], run_dir: Path, parent: Path | None
) -> JournalLogger:
    before = RunInfo.read(run_dir)
    if before is not None and entry["name"] == "mlflow" and not entry.get("tracking_uri"):
        entry = {**entry, "tracking_uri": before.tracking_uri}
    given = {"run_dir": str(run_dir), **({"parent": str(parent)} if parent is not None else {})}
    entry = {name: value for name, value in entry.items() if not (name in given and value is None)}
    return make(composed, "logger", entry, key=key, given=given)


def explain(error: ExpkitError, composed: Composed, derived: Mapping[str, Any]) -> ExpkitError:
    """An error that a first batch brought up, with the config keys that the shapes come from."""
    lines = [
        str(error),
        f"The data has input_shape {derived.get('input_shape')}, output_size {derived.get('output_size')}.",
    ]
    model = composed.config.get("model") or {}
    asked = [f"model.{name}" for name in ("input_shape", "output_size") if name in model]
    keys = [*asked, "model", "loss", "data"]
    lines.append("Set by: " + ", ".join(f"{key} ({composed.origins.of(key)})" for key in keys) + ".")
    return type(error)("\n  ".join(lines))
