"""PredictionSamples: a table of samples, of what was predicted for them, and of how wrong that is."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from expkit.errors import ConfigError
from expkit.nn import BCELoss
from expkit.registry import register
from expkit.tensor import Tensor
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.metrics.inputs import log_softmax

Row = dict[str, Any]
EPS = np.finfo(np.float64).eps


class Judged(NamedTuple):
    """A batch's predictions: how wrong each is, (N,), and a function of a sample's number that gives its row."""

    error: np.ndarray
    row: Callable[[int], Row]


@register("callback", "prediction_samples")
class PredictionSamples(Callback):
    """Logs tables of samples of test and validation, as artifacts samples/<stage>_step_<step>.json.

    A row has the input (images as pictures), the prediction, the target, and the error by which samples are ranked: for
    classes the surprise -log(probability of the target), with the confidence; for pixels the share of wrong ones; for
    numbers, and reconstructions, the mean squared error.
    select: "worst" (the largest errors), "best", or "first". every_n_epochs: also of validations in training, each n-th
    epoch's; None: of `validate` and `test` alone. class_names: instead of numbers. The model is run once more for it.
    """

    def __init__(
        self,
        num_samples: int = 16,
        select: Literal["worst", "best", "first"] = "worst",
        every_n_epochs: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        for name, value in (("num_samples", num_samples), ("every_n_epochs", every_n_epochs)):
            if value is not None and value < 1:
                raise ConfigError(f"PredictionSamples: {name}={value}: must be at least 1.")
        if select not in ("worst", "best", "first"):
            raise ConfigError(f"PredictionSamples: select={select!r}: expected 'worst', 'best' or 'first'.")
        self.num_samples, self.select, self.every_n_epochs = num_samples, select, every_n_epochs
        self.class_names = class_names
        self._found: list[tuple[float, int, Row]] = []  # (rank, number, row), the lowest rank first
        self._seen = 0

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        if stage != "predict" and getattr(task, "task", None) not in JUDGES:
            raise ConfigError(
                f"{trainer.where(self.config_key)}PredictionSamples is for {', '.join(JUDGES)}, got "
                f"{type(task).__name__} of {getattr(task, 'task', 'its own')}. Leave the callback out."
            )

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        self._found, self._seen = [], 0

    def on_validation_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._wanted(trainer):
            self._look(task, batch, batch_idx)

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        if self._wanted(trainer):
            self._log(trainer, "val")

    def on_test_start(self, trainer: Any, task: Any) -> None:
        self._found, self._seen = [], 0

    def on_test_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._look(task, batch, batch_idx)

    def on_test_end(self, trainer: Any, task: Any) -> None:
        self._log(trainer, "test")

    def _wanted(self, trainer: Any) -> bool:
        if not trainer.fitting:
            return True
        due = self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return due and not trainer.sanity_checking

    def _look(self, task: Any, batch: Any, batch_idx: int) -> None:
        x, y = batch if isinstance(batch, list | tuple) else (batch, batch)
        output = _host(task.predict_step(batch, batch_idx))
        if isinstance(getattr(task, "loss", None), BCELoss):
            output = log_odds(output)
        names = self.class_names
        judged = JUDGES[task.task](_host(x), output, _host(y), lambda c: names[c] if names else str(c))
        order = {"worst": -judged.error, "best": judged.error, "first": np.zeros(len(judged.error))}[self.select]
        order = np.where(np.isnan(order), -np.inf, order)
        ranked = [(float(rank), self._seen + number, number) for number, rank in enumerate(order)]
        self._seen += len(ranked)
        chosen = sorted(ranked)[: self.num_samples]
        rows = [(rank, number, {"sample": number, **judged.row(at)}) for rank, number, at in chosen]
        self._found = sorted([*self._found, *rows], key=lambda found: found[:2])[: self.num_samples]

    def _log(self, trainer: Any, stage: str) -> None:
        rows = [row for _, _, row in self._found]
        columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
        for logger in trainer.loggers:
            logger.log_table(columns, f"samples/{stage}_step_{trainer.global_step:06d}.json")
        self._found = []


def of_classes(x: np.ndarray, output: np.ndarray, y: np.ndarray, name: Callable[[int], str]) -> Judged:
    """Scores (N, C), or one score (N, 1) or (N,) for class 1, and classes (N,)."""
    scores = output.astype(np.float64).reshape(len(output), -1)
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    logs, truth = log_softmax(scores), y.astype(np.int64).reshape(-1)
    guess = logs.argmax(axis=1)
    error = -logs[np.arange(len(logs)), truth]
    return Judged(error, lambda at: {
        "input": shown(x[at]), "prediction": name(int(guess[at])), "target": name(int(truth[at])),
        "confidence": float(np.exp(logs[at, guess[at]])), "error": float(error[at])})  # fmt: skip


def of_pixels(x: np.ndarray, output: np.ndarray, y: np.ndarray, name: Callable[[int], str]) -> Judged:
    """Scores (N, C, height, width) and classes (N, height, width): grey levels in the pictures."""
    guess, count = output.argmax(axis=1), output.shape[1]
    error = (guess != y).reshape(len(y), -1).mean(axis=1)
    return Judged(error, lambda at: {
        "input": shown(x[at]), "prediction": np.clip(guess[at] / max(count - 1, 1), 0, 1),
        "target": np.clip(y[at] / max(count - 1, 1), 0, 1), "error": float(error[at])})  # fmt: skip


def of_numbers(x: np.ndarray, output: np.ndarray, y: np.ndarray, name: Callable[[int], str]) -> Judged:
    """Predictions and targets of the same size."""
    guess, truth = (values.astype(np.float64).reshape(len(values), -1) for values in (output, y))
    error = ((guess - truth) ** 2).mean(axis=1)
    return Judged(error, lambda at: {
        "input": shown(x[at]), "prediction": shown(guess[at]), "target": shown(truth[at]),
        "error": float(error[at])})  # fmt: skip


def of_reconstructions(x: np.ndarray, output: np.ndarray, y: np.ndarray, name: Callable[[int], str]) -> Judged:
    """Reconstructions of the inputs, whatever the targets."""
    error = ((output.astype(np.float64) - x) ** 2).reshape(len(x), -1).mean(axis=1)
    return Judged(
        error, lambda at: {"input": shown(x[at]), "reconstruction": shown(output[at]), "error": float(error[at])}
    )


JUDGES = {
    "classification": of_classes,
    "regression": of_numbers,
    "segmentation": of_pixels,
    "reconstruction": of_reconstructions,
}


def shown(sample: np.ndarray, most: int = 8) -> Any:
    """An image (channels last, from 0 to 1 over its own range), a number, or the first numbers as text."""
    if sample.ndim == 3 and sample.shape[0] in (1, 3, 4):
        low, high = float(sample.min()), float(sample.max())
        scaled = (sample.astype(np.float64) - low) / (high - low) if high > low else np.zeros(sample.shape)
        return np.clip(np.nan_to_num(np.moveaxis(scaled, 0, -1)), 0, 1)
    values = sample.reshape(-1)
    if len(values) == 1:
        return float(values[0])
    return ", ".join(f"{value:.4g}" for value in values[:most]) + (", ..." if len(values) > most else "")


def log_odds(chances: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)): the logits that give these probabilities."""
    wide = np.clip(chances.astype(np.float64), EPS, 1 - EPS)
    return np.log(wide) - np.log1p(-wide)


def _host(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
