"""Timer and GradientAccumulationScheduler: small callbacks that set one thing on the trainer."""

from datetime import timedelta
from typing import Any, Literal

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.console import say
from expkit.trainer.triggers import seconds


@register("callback", "timer")
class Timer(Callback):
    """Stops training after `duration` ("DD:HH:MM:SS" or {"hours": 1}); time before a resume counts.

    interval: whether to look at the clock after each step or each epoch.
    """

    def __init__(self, duration: str | timedelta | dict[str, int], interval: Literal["step", "epoch"] = "step") -> None:
        limit = seconds(duration, "duration")
        if limit is None:
            raise ConfigError("Timer: give a duration, e.g. '00:01:30:00' for an hour and a half.")
        if interval not in ("step", "epoch"):
            raise ConfigError(f"Timer: interval={interval!r}: expected 'step' or 'epoch'.")
        self.limit, self.interval = limit, interval

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.interval == "step":
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        self._look(trainer)

    def _look(self, trainer: Any) -> None:
        if not trainer.should_stop and trainer.elapsed() >= self.limit:
            trainer.should_stop = True
            say(f"time limit of {timedelta(seconds=self.limit)} reached: training stops.")


@register("callback", "gradient_accumulation_scheduler")
class GradientAccumulationScheduler(Callback):
    """Accumulates gradients over as many batches as `scheduling` says from each epoch on: {0: 8, 4: 2}."""

    def __init__(self, scheduling: dict[int, int]) -> None:
        wrong = [f"{epoch}: {count}" for epoch, count in scheduling.items() if epoch < 0 or count < 1]
        if wrong or not scheduling:
            raise ConfigError(
                f"GradientAccumulationScheduler: scheduling={scheduling}: expected epoch: batches, e.g. {{0: 8, 4: 2}}."
            )
        self.scheduling = dict(scheduling)

    def on_train_start(self, trainer: Any, task: Any) -> None:
        self._set(trainer)

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        self._set(trainer)

    def _set(self, trainer: Any) -> None:
        reached = [epoch for epoch in self.scheduling if epoch <= trainer.current_epoch]
        trainer.accumulate_grad_batches = self.scheduling[max(reached)] if reached else 1
