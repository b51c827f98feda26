"""BasePredictionWriter and PredictionWriter: predictions go to files, a batch or an epoch at a time."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from expkit import tree
from expkit.errors import ConfigError
from expkit.registry import register
from expkit.tensor import Tensor
from expkit.trainer import feed
from expkit.trainer.callbacks.base import Callback

Interval = Literal["batch", "epoch", "batch_and_epoch"]


class BasePredictionWriter(Callback):
    """Base of callbacks that write what `predict` gives: write `write_on_batch_end` or `write_on_epoch_end`.

    write_interval: "batch", "epoch" or "batch_and_epoch". The indices are the places of the samples among those that
    the loader gave.
    """

    def __init__(self, write_interval: Interval = "batch") -> None:
        if write_interval not in ("batch", "epoch", "batch_and_epoch"):
            raise ConfigError(
                f"{type(self).__name__}: write_interval={write_interval!r}: expected 'batch', 'epoch' or "
                "'batch_and_epoch'."
            )
        self.by_batch, self.by_epoch = "batch" in write_interval, "epoch" in write_interval
        self._predictions: list[list[Any]] = []  # for each loader
        self._indices: list[list[list[int]]] = []
        self._next = 0

    def write_on_batch_end(self, trainer: Any, task: Any, prediction: Any, batch_indices: list[int], batch: Any,
                           batch_idx: int, dataloader_idx: int) -> None:  # fmt: skip
        """Writes the predictions of a batch."""

    def write_on_epoch_end(self, trainer: Any, task: Any, predictions: list[list[Any]],
                           batch_indices: list[list[list[int]]]) -> None:  # fmt: skip
        """Writes all predictions: for each loader those of each batch."""

    def on_predict_epoch_start(self, trainer: Any, task: Any) -> None:
        self._predictions, self._indices = [], []

    def on_predict_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int,
                             dataloader_idx: int) -> None:  # fmt: skip
        if batch_idx == 0:
            self._next = 0
            self._predictions.append([])
            self._indices.append([])
        indices = list(range(self._next, self._next + feed.batch_size(batch)))
        self._next += len(indices)
        if self.by_batch:
            self.write_on_batch_end(trainer, task, outputs, indices, batch, batch_idx, dataloader_idx)
        if self.by_epoch:
            self._predictions[-1].append(outputs)
            self._indices[-1].append(indices)

    def on_predict_epoch_end(self, trainer: Any, task: Any) -> None:
        if self.by_epoch:
            self.write_on_epoch_end(trainer, task, self._predictions, self._indices)


@register("callback", "prediction_writer")
class PredictionWriter(BasePredictionWriter):
    """Writes predictions as NumPy arrays: loader0_batch00000.npz, ..., or with "epoch" loader0.npz, all batches joined.

    A single tensor is called `prediction` in the file; those in dicts, lists and tuples by their paths; `index` says
    which samples they are of. output_dir: folder (default: predictions/ in the run directory).
    """

    def __init__(self, output_dir: str | Path | None = None, write_interval: Interval = "batch") -> None:
        super().__init__(write_interval)
        self.output_dir = None if output_dir is None else Path(output_dir).absolute()

    def write_on_batch_end(self, trainer: Any, task: Any, prediction: Any, batch_indices: list[int], batch: Any,
                           batch_idx: int, dataloader_idx: int) -> None:  # fmt: skip
        self._write(trainer, f"loader{dataloader_idx}_batch{batch_idx:05d}", arrays(prediction), batch_indices)

    def write_on_epoch_end(self, trainer: Any, task: Any, predictions: list[list[Any]],
                           batch_indices: list[list[list[int]]]) -> None:  # fmt: skip
        for number, (batches, indices) in enumerate(zip(predictions, batch_indices, strict=True)):
            parts = [arrays(batch) for batch in batches]
            joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            self._write(trainer, f"loader{number}", joined, [index for some in indices for index in some])

    def _write(self, trainer: Any, name: str, found: dict[str, np.ndarray], indices: list[int]) -> None:
        folder = self.output_dir or trainer.run_dir / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{name}.npz", index=np.array(indices), **found)  # type: ignore[arg-type]


def arrays(prediction: Any) -> dict[str, np.ndarray]:
    """The tensors of a prediction, by path. ConfigError where there is anything else."""
    found = {}
    for path, leaf in tree.items(prediction, "prediction"):
        if not isinstance(leaf, Tensor | np.ndarray):
            raise ConfigError(
                f"PredictionWriter: {path} is {type(leaf).__name__}: only tensors are written. Return them from "
                "predict_step, or write a BasePredictionWriter of your own."
            )
        found[path] = leaf.detach().cpu().numpy() if isinstance(leaf, Tensor) else leaf
    return found
