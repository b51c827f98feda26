"""LearningRateMonitor: the learning rates as metrics."""

from collections.abc import Callable
from typing import Any, Literal

from expkit.registry import register
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.triggers import Every

#: What is logged of a parameter group, by the end of its name.
VALUES: dict[str, Callable[[dict[str, Any]], float]] = {
    "": lambda group: group["lr"],
    "-momentum": lambda group: group["betas"][0] if "betas" in group else group.get("momentum", 0.0),
    "-weight_decay": lambda group: group.get("weight_decay", 0.0),
}


@register("callback", "learning_rate_monitor")
class LearningRateMonitor(Callback):
    """Logs lr-<optimizer> as the step begins that uses it: lr-Adam; with several parameter groups lr-Adam/pg1, ...; the
    second of two such optimizers is lr-Adam-1.

    logging_interval: "step" (each log_every_n_steps) or "epoch"; by default each epoch, and each step where a schedule
    is stepped by steps. log_momentum: also log the momentum, or Adam's first beta (lr-Adam-momentum).
    log_weight_decay: also lr-Adam-weight_decay.
    """

    def __init__(
        self,
        logging_interval: Literal["step", "epoch"] | None = None,
        log_momentum: bool = False,
        log_weight_decay: bool = False,
    ) -> None:
        self.logging_interval = logging_interval
        wanted = {"": True, "-momentum": log_momentum, "-weight_decay": log_weight_decay}
        self._kinds = {suffix: VALUES[suffix] for suffix, on in wanted.items() if on}

    def metric_names(self, trainer: Any) -> list[str]:
        return list(self._values(trainer))

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        if self.logging_interval != "step":
            self._log(trainer)

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        by_step = any(schedule.interval == "step" for schedule in trainer.schedules)
        wanted = self.logging_interval == "step" or (self.logging_interval is None and by_step)
        if wanted and not trainer.gathering() and Every(trainer.log_every_n_steps)(trainer.global_step):
            self._log(trainer)

    def _log(self, trainer: Any) -> None:
        values = self._values(trainer)
        trainer.note_metrics(values)
        trainer.log_metrics(values)

    def _values(self, trainer: Any) -> dict[str, float]:
        values, names = {}, _names(trainer.optimizers)
        for name, optimizer in zip(names, trainer.optimizers, strict=True):
            for number, group in enumerate(optimizer.param_groups, 1):
                suffix = f"/pg{number}" if len(optimizer.param_groups) > 1 else ""
                for kind, of in self._kinds.items():
                    values[f"{name}{kind}{suffix}"] = float(of(group))
        return values


def _names(optimizers: list[Any]) -> list[str]:
    """lr-Adam for each optimizer; further ones of a class are lr-Adam-1, ..."""
    kinds = [type(optimizer).__name__ for optimizer in optimizers]
    before = [kinds[:place].count(kind) for place, kind in enumerate(kinds)]
    return [f"lr-{kind}-{count}" if count else f"lr-{kind}" for kind, count in zip(kinds, before, strict=True)]
