"""Schedules that are a formula of the epoch."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from expkit.optim.optimizer import Optimizer
from expkit.optim.schedulers.base import LRScheduler, need
from expkit.registry import register


@register("scheduler", "none")
class NoSchedule(LRScheduler):
    """The learning rate stays what it is."""

    def get_lr(self) -> list[float]:
        return self._current()


@register("scheduler", "step")
class StepLR(LRScheduler):
    """lr *= gamma every `step_size` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        need(self, step_size > 0, f"step_size={step_size} cannot be: it is the number of epochs between two drops")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return self._times(self.gamma if due else 1.0)


@register("scheduler", "multistep")
class MultiStepLR(LRScheduler):
    """lr *= gamma at each of the `milestones` (epochs)."""

    def __init__(self, optimizer: Optimizer, milestones: list[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._times(self.gamma ** Counter(self.milestones)[self.last_epoch])


@register("scheduler", "exponential")
class ExponentialLR(LRScheduler):
    """lr *= gamma every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._times(self.gamma if self.last_epoch > 0 else 1.0)


@register("scheduler", "constant")
class ConstantLR(LRScheduler):
    """lr * factor for the first `total_iters` epochs, then lr."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        need(self, 0 < factor <= 1, f"factor={factor} cannot be: it is above zero and at most 1")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._times(self.factor)
        return self._times(1 / self.factor if self.last_epoch == self.total_iters else 1.0)


@register("scheduler", "linear")
class LinearLR(LRScheduler):
    """lr times a factor that goes from `start_factor` to `end_factor` in `total_iters` epochs: a warm-up, mostly."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        need(self, 0 < start_factor <= 1, f"start_factor={start_factor} cannot be: it is above zero and at most 1")
        need(self, 0 <= end_factor <= 1, f"end_factor={end_factor} cannot be: it is between 0 and 1")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._times(self.start_factor)
        if self.last_epoch > self.total_iters:
            return self._current()
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return self._times(1 + rise / before)


@register("scheduler", "cosine")
class CosineAnnealingLR(LRScheduler):
    """Half a cosine from lr to `eta_min` in `T_max` epochs (and back up, should it go on).

    Loshchilov and Hutter, arXiv:1608.03983, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        need(self, T_max > 0, f"T_max={T_max} cannot be: it is the number of epochs down to eta_min")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, half = self.last_epoch, self.T_max
        if t == 0:
            return self._current()
        if (t - 1 - half) % (2 * half) == 0:  # at eta_min nothing is left that could be multiplied
            up = (1 - math.cos(math.pi / half)) / 2
            return [lr + (base - self.eta_min) * up for lr, base in zip(self._current(), self.base_lrs, strict=True)]
        factor = (1 + math.cos(math.pi * t / half)) / (1 + math.cos(math.pi * (t - 1) / half))
        return [factor * (lr - self.eta_min) + self.eta_min for lr in self._current()]


class LambdaLR(LRScheduler):
    """Initial lr times `lr_lambda(epoch)`: one function for all parameter groups, or a list with one for each."""

    _not_saved = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        count = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * count if callable(lr_lambda) else list(lr_lambda)
        need(self, len(self.lr_lambdas) == count, f"{len(self.lr_lambdas)} functions for {count} parameter groups")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * fn(self.last_epoch) for base, fn in zip(self.base_lrs, self.lr_lambdas, strict=True)]
