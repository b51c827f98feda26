"""RichProgressBar: a bar where there is a terminal, one plain line for each epoch elsewhere."""

from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.console import console, say

STAGES = {"validation": "validating", "test": "testing", "predict": "predicting"}


@register("callback", "rich_progress_bar")
class RichProgressBar(Callback):
    """Shows how far training is, and the metrics that were logged with prog_bar=True.

    refresh_rate: update the bar each so many batches; 0 = no bar. leave: keep the bar of each epoch on the screen.
    """

    late = True

    def __init__(self, refresh_rate: int = 1, leave: bool = False) -> None:
        if refresh_rate < 0:
            raise ConfigError(f"RichProgressBar: refresh_rate={refresh_rate}: expected 0 or above.")
        self.refresh_rate, self.leave = refresh_rate, leave
        self._bar: Progress | None = None
        self._jobs: dict[str, Any] = {}

    def _start(self, stage: str, description: str, total: int | None) -> None:
        if not console.is_terminal or self.refresh_rate == 0:
            return
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(),
                       TimeRemainingColumn(), TextColumn("{task.fields[metrics]}"))  # fmt: skip
            self._bar = Progress(*columns, console=console, transient=not self.leave, refresh_per_second=8)
            self._bar.start()
        self._end(stage)
        self._jobs[stage] = self._bar.add_task(description, total=total, metrics="")

    def _advance(self, stage: str, done: int, metrics: Mapping[str, float]) -> None:
        if self._bar is not None and done % self.refresh_rate == 0:
            self._bar.update(self._jobs[stage], completed=done, metrics=shown(metrics))

    def _end(self, stage: str) -> None:
        if self._bar is not None and stage in self._jobs:
            job = self._jobs.pop(stage)
            if not self.leave:
                self._bar.remove_task(job)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._jobs = None, {}

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        self._start("train", _epoch(trainer), trainer.num_training_batches)

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._bar is not None:
            if "train" not in self._jobs:  # resumed in the middle of an epoch
                self._start("train", _epoch(trainer), trainer.num_training_batches)
            self._advance("train", batch_idx + 1, trainer.progress_bar_metrics)

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        self._end("train")
        if self.refresh_rate:
            values = {n: value for n, value in trainer.progress_bar_metrics.items() if not n.endswith("_step")}
            say(f"{_epoch(trainer)}  step {trainer.global_step}  {shown(values)}")

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        self._begin(trainer, "validation", "val")

    def on_validation_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._advance("validation", batch_idx + 1, {})

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        self._end("validation")

    def on_test_start(self, trainer: Any, task: Any) -> None:
        self._begin(trainer, "test", "test")

    def on_test_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._advance("test", batch_idx + 1, {})

    def on_test_end(self, trainer: Any, task: Any) -> None:
        self._end("test")

    def on_predict_start(self, trainer: Any, task: Any) -> None:
        self._begin(trainer, "predict", "predict")

    def on_predict_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._advance("predict", batch_idx + 1, {})

    def on_predict_end(self, trainer: Any, task: Any) -> None:
        self._end("predict")

    def _begin(self, trainer: Any, stage: str, limit: str) -> None:
        counts = trainer.limits[limit]
        self._start(stage, STAGES[stage], counts[0] if len(counts) == 1 else None)

    def on_exception(self, trainer: Any, task: Any, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: Any, task: Any, stage: str) -> None:
        self._close()


def _epoch(trainer: Any) -> str:
    total = trainer.max_epochs
    return f"epoch {trainer.current_epoch}" + (f"/{total - 1}" if total not in (None, -1) else "")


def shown(metrics: Mapping[str, float]) -> str:
    """`train/loss 0.1234  val/acc 0.9800`"""
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
