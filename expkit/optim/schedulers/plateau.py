"""The schedule that listens to a metric."""

from typing import Any, Literal

from expkit.optim.optimizer import Optimizer
from expkit.optim.schedulers.base import LRScheduler, need
from expkit.registry import register


@register("scheduler", "plateau")
class ReduceLROnPlateau(LRScheduler):
    """lr *= factor when the metric has not become better for more than `patience` epochs.

    Better: by `threshold`, relative or absolute. After a drop `cooldown` epochs do not count. lr never goes below
    `min_lr` (a number, or one for each parameter group), and changes of less than `eps` are left out.
    """

    monitor = "val/loss"

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self._attach(optimizer)
        count = len(optimizer.param_groups)
        floors = list(min_lr) if isinstance(min_lr, list | tuple) else [min_lr] * count
        need(self, factor < 1, f"factor={factor} cannot be: it is below 1")
        need(self, mode in ("min", "max"), f"mode={mode!r} cannot be: it is 'min' or 'max'")
        need(self, threshold_mode in ("rel", "abs"), f"threshold_mode={threshold_mode!r} cannot be: 'rel' or 'abs'")
        need(self, len(floors) == count, f"{len(floors)} values of min_lr for {count} parameter groups")
        self.mode, self.factor, self.patience, self.cooldown = mode, factor, patience, cooldown
        self.threshold, self.threshold_mode, self.eps = threshold, threshold_mode, eps
        self.min_lrs: list[float] = floors
        self.best = float("inf") if mode == "min" else -float("inf")
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = self._current()

    def step(self, metrics: Any) -> None:
        """Takes the metric of the epoch that ended (a number or a 0-d tensor), and drops the learning rates if due."""
        value = float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._drop()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * value < sign * self.best * (1 - sign * self.threshold)
        return sign * value < sign * self.best - self.threshold

    def _drop(self) -> None:
        rates = self._current()
        lower = [max(lr * self.factor, floor) for lr, floor in zip(rates, self.min_lrs, strict=True)]
        self._set([new if old - new > self.eps else old for old, new in zip(rates, lower, strict=True)])
