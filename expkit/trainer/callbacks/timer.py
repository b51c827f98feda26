"""Timer and GradientAccumulationScheduler: small callbacks that set one thing on the trainer."""

from datetime import timedelta
from time import monotonic
from typing import Any, Literal

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.console import say
from expkit.trainer.triggers import seconds

Stage = Literal["train", "validate", "test"]
STAGES: tuple[Stage, ...] = ("train", "validate", "test")


@register("callback", "timer")
class Timer(Callback):
    """Stops training after `duration` ("DD:HH:MM:SS" or {"hours": 1}); time before a resume counts.

    None: only keeps the time. interval: whether to look at the clock after each step or each epoch. verbose: say it.
    """

    def __init__(
        self,
        duration: str | timedelta | dict[str, int] | None = None,
        interval: Literal["step", "epoch"] = "step",
        verbose: bool = True,
    ) -> None:
        if interval not in ("step", "epoch"):
            raise ConfigError(f"Timer: interval={interval!r}: expected 'step' or 'epoch'.")
        self.limit, self.interval, self.verbose = seconds(duration, "duration"), interval, verbose
        self._times = dict.fromkeys(STAGES, 0.0)  # of what is over
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}

    def start_time(self, stage: Stage = "train") -> float | None:
        """When a stage began last, by time.monotonic; None before that."""
        return self._began.get(stage)

    def end_time(self, stage: Stage = "train") -> float | None:
        """When a stage ended last, by time.monotonic; None before that."""
        return self._ended.get(stage)

    def time_elapsed(self, stage: Stage = "train") -> float:
        """Seconds that a stage has taken so far."""
        if stage not in self._began:
            return 0.0
        return self._times[stage] + self._ended.get(stage, monotonic()) - self._began[stage]

    def time_remaining(self, stage: Stage = "train") -> float | None:
        """Seconds that are left of `duration`; None without one."""
        return None if self.limit is None else max(0.0, self.limit - self.time_elapsed(stage))

    def _begin(self, stage: Stage, before: float) -> None:
        self._times[stage], self._began[stage] = before, monotonic()
        self._ended.pop(stage, None)

    def on_train_start(self, trainer: Any, task: Any) -> None:
        self._begin("train", trainer.elapsed_before)

    def on_train_end(self, trainer: Any, task: Any) -> None:
        self._ended["train"] = monotonic()

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        self._begin("validate", self.time_elapsed("validate"))

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        self._ended["validate"] = monotonic()

    def on_test_start(self, trainer: Any, task: Any) -> None:
        self._begin("test", self.time_elapsed("test"))

    def on_test_end(self, trainer: Any, task: Any) -> None:
        self._ended["test"] = monotonic()

    def on_exception(self, trainer: Any, task: Any, exception: BaseException) -> None:
        for stage in self._began.keys() - self._ended.keys():
            self._ended[stage] = monotonic()

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.interval == "step":
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        self._look(trainer)

    def _look(self, trainer: Any) -> None:
        if self.limit is not None and not trainer.should_stop and trainer.elapsed() >= self.limit:
            trainer.should_stop = True
            if self.verbose:
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
