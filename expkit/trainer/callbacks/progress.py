"""RichProgressBar: a bar where there is a terminal, plain lines elsewhere."""

from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.console import console, say

STAGES = {"validation": "validating", "test": "testing", "predict": "predicting"}
REDRAWN = 0.2  # seconds between two looks of a bar
SAID = 30.0  # seconds between two lines of a long epoch, where there is no terminal
WIDE = 120  # columns of a terminal that has room for all that a bar can show
WINDOW = 50  # looks over which speed is measured


class Pace:
    """How fast something is done, over the last looks at it."""

    def __init__(self, total: int | None, done: int = 0) -> None:
        self.total = total
        self._looks: deque[tuple[float, int]] = deque([(monotonic(), done)], maxlen=WINDOW)

    def look(self, now: float, done: int) -> None:
        """Notes how much is done."""
        self._looks.append((now, done))

    @property
    def rate(self) -> float | None:
        """Per second; None before anything is known."""
        (start, before), (now, done) = self._looks[0], self._looks[-1]
        return (done - before) / (now - start) if now > start and done > before else None

    def __str__(self) -> str:
        """`120 batches/s, 0:00:41 left`"""
        rate = self.rate
        if rate is None:
            return ""
        speed = f"{rate:.3g} batches/s" if rate >= 1 else f"{1 / rate:.3g} s a batch"
        return speed if self.total is None else f"{speed}, {left((self.total - self._looks[-1][1]) / rate)}"


@register("callback", "rich_progress_bar")
class RichProgressBar(Callback):
    """Shows how far training is, how fast, how long it will take, and what was logged with prog_bar=True.

    In a terminal a bar, redrawn five times a second at most; elsewhere a line for each epoch, and one each half minute
    of long ones. refresh_rate: look each so many batches; 0 = nothing is shown. leave: keep the bar of each epoch on
    the screen.
    """

    late = True

    def __init__(self, refresh_rate: int = 1, leave: bool = False) -> None:
        if refresh_rate < 0:
            raise ConfigError(f"RichProgressBar: refresh_rate={refresh_rate}: expected 0 or above.")
        self.refresh_rate, self.leave = refresh_rate, leave
        self._bar: Progress | None = None
        self._jobs: dict[str, Any] = {}
        self._paces: dict[str, Pace] = {}
        self._drawn = 0.0
        self._began: float | None = None
        self._epochs = 0  # since it began

    # ---- bars

    def _start(self, stage: str, description: str, total: int | None, done: int = 0) -> None:
        if self.refresh_rate == 0:
            return
        self._paces[stage] = Pace(total, done)
        if not console.is_terminal:
            self._drawn = monotonic()
            return
        if self._bar is None:
            self._bar = Progress(
                *_columns(), console=console, transient=not self.leave, auto_refresh=False, expand=True
            )
            self._bar.start()
        self._end(stage)
        self._jobs[stage] = self._bar.add_task(description, total=total, pace="", metrics="")

    def _advance(self, stage: str, done: int, trainer: Any) -> None:
        """A batch is done. Nearly always there is nothing to do: it is too early to look again."""
        pace = self._paces.get(stage)
        if pace is None or done % self.refresh_rate:
            return
        now = monotonic()
        if now - self._drawn < (SAID if self._bar is None else REDRAWN) and done != pace.total:
            return
        pace.look(now, done)
        if self._bar is not None:
            self._drawn = now
            metrics = shown(trainer.progress_bar_metrics) if stage == "train" else ""
            self._bar.update(self._jobs[stage], completed=done, pace=str(pace), metrics=metrics)
            self._bar.refresh()
        elif stage == "train" and done != pace.total:
            self._drawn = now
            of = "" if pace.total is None else f"/{pace.total}"
            say(f"{_epoch(trainer)}  batch {done}{of}  {pace}  {shown(trainer.progress_bar_metrics)}")

    def _end(self, stage: str) -> None:
        if self._bar is not None and stage in self._jobs:
            job = self._jobs.pop(stage)
            if not self.leave:
                self._bar.remove_task(job)
            self._bar.refresh()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._jobs, self._paces = None, {}, {}

    # ---- training

    def on_train_start(self, trainer: Any, task: Any) -> None:
        self._began, self._epochs = monotonic(), 0

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        self._start("train", _epoch(trainer), trainer.num_training_batches)

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if "train" not in self._paces:  # resumed in the middle of an epoch
            self._start("train", _epoch(trainer), trainer.num_training_batches, batch_idx)
        self._advance("train", batch_idx + 1, trainer)

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        self._end("train")
        self._epochs += 1
        if self.refresh_rate:
            values = {n: value for n, value in trainer.progress_bar_metrics.items() if not n.endswith("_step")}
            parts = (_epoch(trainer), f"step {trainer.global_step}", shown(values), self._left(trainer))
            say("  ".join(filter(None, parts)))

    def _left(self, trainer: Any) -> str:
        """How long the epochs that are left will take; empty where that is less than seconds, or unknown."""
        total = trainer.max_epochs
        if total in (None, -1) or self._began is None:
            return ""
        seconds = (monotonic() - self._began) / self._epochs * (total - trainer.current_epoch - 1)
        return left(seconds) if seconds >= 5 else ""

    # ---- evaluation

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        self._begin(trainer, "validation", "val")

    def on_validation_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._advance("validation", batch_idx + 1, trainer)

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        self._end("validation")

    def on_test_start(self, trainer: Any, task: Any) -> None:
        self._begin(trainer, "test", "test")

    def on_test_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._advance("test", batch_idx + 1, trainer)

    def on_test_end(self, trainer: Any, task: Any) -> None:
        self._end("test")

    def on_predict_start(self, trainer: Any, task: Any) -> None:
        self._begin(trainer, "predict", "predict")

    def on_predict_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._advance("predict", batch_idx + 1, trainer)

    def on_predict_end(self, trainer: Any, task: Any) -> None:
        self._end("predict")

    def _begin(self, trainer: Any, stage: str, limit: str) -> None:
        counts = trainer.limits[limit]
        self._start(stage, STAGES[stage], counts[0] if len(counts) == 1 else None)

    def on_exception(self, trainer: Any, task: Any, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: Any, task: Any, stage: str) -> None:
        self._close()


def _columns() -> list[ProgressColumn]:
    """What a bar shows; where it is too long for the terminal, metrics are cut off."""
    wide = console.width >= WIDE
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return [
        TextColumn("{task.description}"),
        BarColumn(30 if wide else 10),
        MofNCompleteColumn(),
        *([TimeElapsedColumn()] if wide else []),
        TextColumn("{task.fields[pace]}"),
        TextColumn("{task.fields[metrics]}", table_column=rest),
    ]


def _epoch(trainer: Any) -> str:
    total = trainer.max_epochs
    return f"epoch {trainer.current_epoch}" + (f"/{total - 1}" if total not in (None, -1) else "")


def left(seconds: float) -> str:
    """`0:01:30 left`"""
    return f"{timedelta(seconds=round(seconds))} left"


def shown(metrics: Mapping[str, float]) -> str:
    """`train/loss 0.1234  val/acc 0.9800`"""
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
