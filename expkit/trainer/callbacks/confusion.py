"""ConfusionMatrixLogger: which classes are taken for which, as a picture and as tables."""

import csv
import io
from collections.abc import MutableMapping, Sequence
from typing import Any, Literal

import numpy as np

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.metrics import ConfusionMatrix
from expkit.trainer.metrics.base import ratios

KEY = "confusion_matrix"
CLASSIFIES = ("classification", "segmentation")
WRITTEN_OUT = 20  # classes up to which the cells of the picture have numbers


@register("callback", "confusion_matrix")
class ConfusionMatrixLogger(Callback):
    """Logs confusion matrices of validation and test, as artifacts confusion_matrix/<stage>.png, .csv and .json.

    Rows are true classes, columns predicted ones; the picture's colours are shares of the rows. Of validation that of
    the last one in training (or of `validate`), and with every_n_epochs also .../val_epoch_<epoch>.
    class_names: instead of numbers. For tasks of classes that keep metrics as SupervisedTask does: a metric
    `confusion_matrix` is added to theirs, which logs no number.
    """

    def __init__(self, every_n_epochs: int | None = None, class_names: Sequence[str] | None = None) -> None:
        if every_n_epochs is not None and every_n_epochs < 1:
            raise ConfigError(f"ConfusionMatrixLogger: every_n_epochs={every_n_epochs}: must be at least 1.")
        self.every_n_epochs, self.class_names = every_n_epochs, class_names
        self._last: np.ndarray | None = None  # of validation

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        if stage == "predict":
            return
        metrics = getattr(task, "metrics", None)
        if getattr(task, "task", None) not in CLASSIFIES or not isinstance(metrics, MutableMapping):
            raise ConfigError(
                f"{trainer.where(self.config_key)}ConfusionMatrixLogger needs a task that predicts classes, got "
                f"{type(task).__name__} of {getattr(task, 'task', 'its own')}. Leave the callback out."
            )
        count = None if self.class_names is None else len(self.class_names)
        for part in ("val", "test"):
            if not isinstance(metrics[part].get(KEY), ConfusionMatrix):
                metrics[part][KEY] = ConfusionMatrix(num_classes=count)

    def on_validation_epoch_end(self, trainer: Any, task: Any) -> None:
        matrix = task.metrics["val"][KEY].compute()
        if trainer.sanity_checking or not isinstance(matrix, np.ndarray):
            return
        self._last = matrix
        if not trainer.fitting:
            self._log(trainer, matrix, "val")
        elif self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._log(trainer, matrix, f"val_epoch_{trainer.current_epoch:03d}")

    def on_fit_end(self, trainer: Any, task: Any) -> None:
        if self._last is not None:
            self._log(trainer, self._last, "val")

    def on_test_epoch_end(self, trainer: Any, task: Any) -> None:
        matrix = task.metrics["test"][KEY].compute()
        if isinstance(matrix, np.ndarray):
            self._log(trainer, matrix, "test")

    def _log(self, trainer: Any, matrix: np.ndarray, name: str) -> None:
        names = list(self.class_names or ())
        names += [str(number) for number in range(len(names), len(matrix))]
        rows = [[int(count) if np.isfinite(count) else None for count in row] for row in matrix]
        for logger in trainer.loggers:
            logger.log_figure(picture(matrix, names), f"{KEY}/{name}.png")
            logger.log_text(table(rows, names), f"{KEY}/{name}.csv")
            logger.log_dict({"classes": names, "counts": rows, "rows": "true", "columns": "predicted"},
                            f"{KEY}/{name}.json")  # fmt: skip


def table(rows: list[list[Any]], names: list[str]) -> str:
    """The matrix as CSV, with the classes above and beside it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *row] for name, row in zip(names, rows, strict=True))
    return text.getvalue()


def picture(matrix: np.ndarray, names: list[str]) -> Any:
    """A Matplotlib figure of the matrix: colours are shares of the row, numbers are counts."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    side = min(12.0, 3.0 + 0.4 * len(names))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = ratios(matrix, np.broadcast_to(matrix.sum(axis=1, keepdims=True), matrix.shape))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class")
    axes.set(xlabel="predicted", ylabel="true")
    if len(names) <= WRITTEN_OUT:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        for (row, column), count in np.ndenumerate(matrix):
            colour: Literal["white", "black"] = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:g}", ha="center", va="center", color=colour, fontsize=8)
    return figure
