"""What a run directory says about its run: the config, the overrides, and what the logger is told."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from expkit.config import Composed
from expkit.data import DataModule
from expkit.errors import ConfigError
from expkit.tracking import JournalLogger, metadata
from expkit.trainer import facts
from expkit.trainer.callbacks import ModelCheckpoint
from expkit.trainer.callbacks.summary import counts, layers
from expkit.trainer.metrics import direction

CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
LOG = "run.log"
DIGESTED = 2**24  # bytes at each end of a large array that its digest covers
# Not parameters of the experiment: where things are.
NO_PARAMS = ("paths", "callbacks", "logger", "plugins", "tags")


def write_config(composed: Composed, config: Mapping[str, Any], run_dir: Path) -> None:
    """Writes the config (interpolations resolved but for those that wait for the data) and the overrides."""
    _write(run_dir / CONFIG, OmegaConf.to_yaml(OmegaConf.create(dict(config))))
    _write(run_dir / OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(list(composed.overrides))))


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def config_of(run_dir: Path) -> Path:
    """The config that a run was started with. ConfigError where there is none."""
    path = run_dir / CONFIG
    if not path.is_file():
        raise ConfigError(
            f"{run_dir} is no run directory: it has no {CONFIG}. Give the directory of an `expkit train`."
        )
    return path


def params(config: Mapping[str, Any], task: Any) -> dict[str, Any]:
    """What the logger gets as parameters."""
    chosen = {key: value for key, value in config.items() if key not in NO_PARAMS}
    chosen["callbacks"] = {
        key: {name: value for name, value in entry.items() if value is not None}
        for key, entry in (config.get("callbacks") or {}).items()
        if isinstance(entry, Mapping)
    }
    total, trainable, _ = counts(task)
    return {**chosen, "num_params": {"total": total, "trainable": trainable}}


def log_dataset(
    logger: JournalLogger, config: Mapping[str, Any], part: Any, context: str, features: list[str] | None = None
) -> None:
    """Notes which samples were used for what; the digest tells contents apart (of its ends, where it is large).

    features: names of the columns, where samples are rows of a table.
    """
    digest = hashlib.sha256(repr((len(part), dict(config))).encode())
    arrays = [tensor.detach().cpu().numpy() for tensor in getattr(part, "tensors", ())]
    for array in arrays:
        rows = max(1, DIGESTED // max(1, array[:1].nbytes))  # views, such as overlapping windows, are copied by parts
        for piece in (array[:rows], array[max(rows, len(array) - rows) :]):
            digest.update(piece.tobytes())
    profile: dict[str, Any] = {"num_rows": len(part)}
    for name, array in zip(("features", "targets"), arrays, strict=False):
        profile |= {f"{name}_shape": list(array.shape), f"{name}_nbytes": array.nbytes}
    source = str(config.get("path") or f"{config['name']} (part of expkit)")
    details = {"source": source, "profile": profile, "schema": _schema(arrays, features), "context": context}
    logger.log_dataset(config["name"], digest.hexdigest()[:16], **details)


def _schema(arrays: list[np.ndarray], features: list[str] | None) -> dict[str, Any]:
    """The schema of samples (x, y) in MLflow's form: columns of a table, or tensors."""
    if len(arrays) != 2:
        return {}
    if features and arrays[0].ndim == 2:
        targets = ["target"] if arrays[1].ndim == 1 else [f"target_{n}" for n in range(arrays[1].shape[1])]
        kind = "long" if arrays[1].dtype.kind == "i" else "float"
        columns = [*((name, "float") for name in features), *((name, kind) for name in targets)]
        return {"mlflow_colspec": [{"name": name, "type": kind, "required": True} for name, kind in columns]}
    texts = [
        json.dumps([{"type": "tensor", "tensor-spec": {"dtype": array.dtype.name, "shape": [-1, *array.shape[1:]]}}])
        for array in arrays
    ]
    return {"mlflow_tensorspec": dict(zip(("features", "targets"), texts, strict=True))}


def summary_text(task: Any) -> str:
    """The layers of a model as a table of plain text, with the sizes that it has in all."""
    head = ("name", "type", "parameters", "in", "out")
    rows = [head, *((name, kind, f"{n:,}", a, b) for name, kind, n, a, b in layers(task, task.trainer.shapes, -1))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total, trainable, size = counts(task)
    return "\n".join([*lines, "", f"parameters {total:,}, trainable {trainable:,}, {size / 2**20:.3g} MiB", ""])


def begin(
    logger: JournalLogger,
    config: Mapping[str, Any],
    task: Any,
    data: DataModule,
    run_dir: Path,
    primary: tuple[str, bool] | None,
) -> None:
    """Tells the logger what this run is; the run directory, what its data are."""
    facts.save(data, run_dir)
    logger.start()
    logger.log_params(params(config, task))
    tags = {
        "task_name": config.get("task_name"),
        "tags": ", ".join(config.get("tags") or []),
        "seed": config.get("seed"),
    }
    logger.set_tags({name: value for name, value in tags.items() if value not in (None, "")})
    for name in (CONFIG, OVERRIDES, metadata.NAME):
        if (run_dir / name).is_file():
            logger.log_artifact(run_dir / name, "config")
    logger.log_text(metadata.requirements(), "config/requirements.txt")
    logger.log_text(summary_text(task), "model_summary.txt")
    for context, part in (("training", data.train), ("validation", data.val), ("test", data.test)):
        if part is not None:
            log_dataset(logger, config["data"], part, context, data.feature_names)
    if primary is not None:
        logger.set_primary_metric(*primary)


def primary_metric(config: Mapping[str, Any], checkpoint: ModelCheckpoint | None) -> tuple[str, bool] | None:
    """(metric, whether greater is better) by which runs of this kind are ranked."""
    name = config.get("optimized_metric") or (checkpoint.monitor if checkpoint else None)
    if not name:
        return None
    if checkpoint is not None and checkpoint.monitor == name:
        return name, checkpoint.mode == "max"
    return name, direction(name) != "min"
