"""The trained model of an experiment as a folder of its own (tracking/packaged.py), which its logger publishes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expkit.data import DataModule
from expkit.errors import ExpkitError, TrackingError
from expkit.nn.module import Module
from expkit.tensor import Tensor
from expkit.tracking import JournalLogger, predictor
from expkit.tracking.packaged import Description
from expkit.trainer import checkpoint
from expkit.trainer.console import warn
from expkit.trainer.version import expkit_version

FOLDER = "model"
EXAMPLES = 3


def publish(
    logger: JournalLogger,
    config: Mapping[str, Any],
    trainer: Any,
    data: DataModule,
    metrics: Mapping[str, float],
    primary: tuple[str, bool] | None,
) -> None:
    """Packages the best model and hands it to the logger, where that keeps models.

    A model that cannot be packaged (it takes something else than one tensor, say) is told of: the run is over and good.
    """
    task = trainer.task
    if not logger.keeps_models or not isinstance(getattr(task, "model", None), Module):
        return
    if (config.get("model") or {}).get("name", "none") == "none":  # the task built it: no config says how
        return
    callback = trainer.checkpoint_callback
    best = callback.best_model_path if callback is not None else None
    try:
        weights = checkpoint.load_weights(best) if best else task.checkpoint_weights()
        folder = package(logger.run_dir / FOLDER, config, data, _of_model(weights, task.model))
    except ExpkitError as error:
        warn(f"the model is not published as one of MLflow (its checkpoint is): {error}")
        return
    step = checkpoint.read_manifest(best).get("global_step") if best else trainer.global_step
    named = {name: value for name, value in metrics.items() if name.startswith(("val/", "test/"))}
    logger.log_model(folder, step=step or 0, metrics=named, primary=primary)


def package(folder: Path, config: Mapping[str, Any], data: DataModule, weights: Mapping[str, Tensor]) -> Path:
    """Writes the model of `config` with `weights` to `folder`. TrackingError where inputs are no single tensor."""
    transforms = {"input": data.input_transform, "target": data.target_transform}
    example = _example(data)
    loss = config.get("loss") or {}
    given = {name: value for name, value in data.derived.items() if value is not None}
    if loss.get("name") in ("bce", "bce_with_logits") and data.num_classes == 2:
        given["output_size"] = 1
    description = Description(
        model=dict(config["model"]),
        given=given,
        output=predictor.output_kind(data.task, loss.get("name")),
        input_dtype=example.dtype.name,
        plugins=list(config.get("plugins") or []),
        class_names=data.class_names,
        feature_names=data.feature_names,
        expkit=expkit_version(),
    )
    present = {name: transform for name, transform in transforms.items() if transform is not None}
    predictor.save(folder, description, weights, present, example)
    return folder


def _example(data: DataModule) -> np.ndarray:
    """A few training inputs as they were before they were standardised."""
    rows = [data.train[index][0] for index in range(min(EXAMPLES, len(data.train)))]
    if not all(isinstance(row, Tensor) for row in rows):
        raise TrackingError("the model takes something else than one tensor for a sample.")
    stacked = np.stack([row.detach().cpu().numpy() for row in rows])
    return data.input_transform.inverse(stacked) if data.input_transform else stacked


def _of_model(weights: Mapping[str, Tensor], model: Module) -> dict[str, Tensor]:
    """The model's part of what a task keeps as its weights, under the model's own names."""
    names = set(model.state_dict())
    if names <= set(weights):
        return {name: weights[name] for name in names}
    return {name.removeprefix("model."): w for name, w in weights.items() if name.startswith("model.")}
