"""What a trained run says of samples, as a table: classes by name, probabilities, regression in its own units."""

from typing import Any

import numpy as np

from expkit.data import DataLoader, TensorDataset
from expkit.errors import ConfigError, DataError
from expkit.nn import BCELoss, BCEWithLogitsLoss, NLLLoss
from expkit.tensor import Tensor, cat, exp, from_numpy, sigmoid, softmax
from expkit.trainer.reloaded import Reloaded
from expkit.trainer.sampling import sample_text

Columns = dict[str, np.ndarray]


def predict_samples(run: Reloaded, x: np.ndarray) -> Columns:
    """The predictions for samples x (n, ...) in their own units, as they were before the run's transforms."""
    transform = run.data.input_transform
    ready = transform(x) if transform else x.astype(np.float32)
    return _table(run, _outputs(run, DataLoader(TensorDataset(from_numpy(ready)), run.data.batch_size)))


def predict_part(run: Reloaded, split: str | None = None) -> Columns:
    """The predictions for a part of the run's data, beside its targets."""
    loader = run.loader(split)
    targets = np.concatenate([_array(batch[1]) for batch in loader])
    return _targets(run, targets) | _table(run, _outputs(run, loader))


def _outputs(run: Reloaded, loader: DataLoader) -> Tensor:
    outputs = run.trainer().predict(run.task, loader)
    parts = [part[0] if isinstance(part, list | tuple) else part for part in outputs]
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        raise DataError(f"{type(run.task).__name__}.predict_step gives no tensors, so there is nothing to tabulate.")
    return cat([part.float().cpu() for part in parts])


def _table(run: Reloaded, out: Tensor) -> Columns:
    kind = _kind(run)
    if kind == "regression":
        values = out.numpy().reshape(len(out), -1)
        inverse = run.data.target_transform
        return _numbered("prediction", inverse.inverse(values) if inverse else values)
    if kind == "classification":
        return _classes(run, _probabilities(run, out).numpy())
    if kind == "segmentation":
        return {"prediction": out.argmax(1).numpy()}
    whole = out.numpy()
    if kind == "reconstruction" and run.data.input_transform:
        whole = run.data.input_transform.inverse(whole)
    return {"prediction": whole}


def _kind(run: Reloaded) -> str:
    """What the task makes of its data; a language model is asked by a prompt."""
    kind = getattr(run.task, "kind", None) or run.data.task
    if kind == "language_modeling":
        raise ConfigError("a language model goes on with a text: give one with --prompt.")
    return kind


def _probabilities(run: Reloaded, out: Tensor) -> Tensor:
    """Class probabilities (n, classes) from what the model gives, as its loss reads it."""
    loss = getattr(run.task, "loss", None)
    if isinstance(loss, BCELoss | BCEWithLogitsLoss):
        p = out.reshape(len(out), 1)
        p = p if isinstance(loss, BCELoss) else sigmoid(p)
        return cat([1 - p, p], dim=1)
    return exp(out) if isinstance(loss, NLLLoss) else softmax(out, dim=1)


def _classes(run: Reloaded, p: np.ndarray) -> Columns:
    names = run.data.class_names or [str(number) for number in range(p.shape[1])]
    best = p.argmax(axis=1)
    chosen = {"prediction": np.array(names)[best], "probability": p[np.arange(len(p)), best]}
    return chosen | {f"p({name})": p[:, number] for number, name in enumerate(names)}


def _targets(run: Reloaded, y: np.ndarray) -> Columns:
    data = run.data
    if data.task == "classification":
        return {"target": np.array(data.class_names)[y] if data.class_names else y}
    if data.task == "regression":
        values = y.reshape(len(y), -1)
        return _numbered("target", data.target_transform.inverse(values) if data.target_transform else values)
    return {"target": y}


def _numbered(name: str, values: np.ndarray) -> Columns:
    """A column for each of (n, k) values; one alone has no number."""
    if values.shape[1] == 1:
        return {name: values[:, 0]}
    return {f"{name}_{number}": values[:, number] for number in range(values.shape[1])}


def _array(y: Any) -> np.ndarray:
    return y.numpy() if isinstance(y, Tensor) else np.asarray(y)


def sampled(run: Reloaded, prompt: str, **how: Any) -> str:
    """The prompt with what a language model makes of it. how: max_new_tokens, temperature, top_k, seed."""
    if run.data.tokenizer is None:
        raise ConfigError(f"a prompt needs a language model; this run was trained for {run.data.task}.")
    return sample_text(getattr(run.task, "model", run.task), run.data.tokenizer, prompt, **how)[0]
