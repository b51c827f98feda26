"""The schedule that goes to the constant learning rate of stochastic weight averaging."""

import math
from collections.abc import Callable
from typing import Literal

from expkit.optim.optimizer import Optimizer
from expkit.optim.schedulers.base import LRScheduler, need

_SHARES: dict[str, Callable[[float], float]] = {
    "cos": lambda t: (1 - math.cos(math.pi * t)) / 2,
    "linear": lambda t: t,
}


class SWALR(LRScheduler):
    """From the learning rate of the moment to `swa_lr` in `anneal_epochs`, where it stays.

    swa_lr: a number, or one for each parameter group. Izmailov et al., arXiv:1803.05407.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        count = len(optimizer.param_groups)
        rates = [float(r) for r in swa_lr] if isinstance(swa_lr, list | tuple) else [float(swa_lr)] * count
        need(self, len(rates) == count, f"swa_lr has {len(rates)} numbers for {count} parameter groups")
        need(
            self, anneal_strategy in _SHARES, f"anneal_strategy={anneal_strategy!r} cannot be: it is 'cos' or 'linear'"
        )
        whole = isinstance(anneal_epochs, int) and anneal_epochs >= 0
        need(self, whole, f"anneal_epochs={anneal_epochs!r} cannot be: it is a whole number, zero or above")
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        self.anneal_epochs, self.anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        step = max(self.last_epoch, 0 if self.anneal_epochs else 1)
        before, now = (self._share(step - 1), self._share(step))
        rates = []
        for group in self.optimizer.param_groups:
            lr, goal = float(group["lr"]), group["swa_lr"]
            start = goal if before == 1 else (lr - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates

    def _share(self, step: int) -> float:
        return _SHARES[self.anneal_strategy](min(1.0, max(0.0, step / max(1, self.anneal_epochs))))
