"""Schedules one after the other."""

from bisect import bisect_right
from typing import Any

from expkit.errors import CheckpointError
from expkit.optim.optimizer import Optimizer
from expkit.optim.schedulers.base import LRScheduler, need
from expkit.optim.schedulers.decay import CosineAnnealingLR, LinearLR
from expkit.registry import register


class SequentialLR(LRScheduler):
    """One schedule after the other: `schedulers[i + 1]` begins at epoch `milestones[i]`, from the initial lr."""

    _not_saved = ("optimizer", "_schedulers")

    def __init__(self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int]) -> None:
        self._attach(optimizer)
        need(self, len(schedulers) > 0, "needs at least one schedule")
        need(
            self,
            len(milestones) == len(schedulers) - 1,
            f"{len(schedulers)} schedules need {len(schedulers) - 1} milestones, got {len(milestones)}",
        )
        for schedule in schedulers:
            need(self, schedule.monitor is None, f"{type(schedule).__name__} waits for a metric, so it stands alone")
            need(self, schedule.optimizer is optimizer, f"{type(schedule).__name__} is of another optimizer")
        self._schedulers, self._milestones = schedulers, milestones
        self.restart()

    def restart(self) -> None:
        self.last_epoch = 0
        self._begin(bisect_right(self._milestones, 0))

    def step(self) -> None:
        """Goes on by one epoch (or step) with the schedule whose turn it is."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            self._begin(turn)
        else:
            self._schedulers[turn].step()
            self._last_lr = self._current()

    def _begin(self, turn: int) -> None:
        self._schedulers[turn].restart()
        self._last_lr = self._current()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        saved = state_dict["_schedulers"]
        if len(saved) != len(self._schedulers):
            raise CheckpointError(f"SequentialLR: {len(saved)} schedules were saved, {len(self._schedulers)} are here.")
        for schedule, state in zip(self._schedulers, saved, strict=True):
            schedule.load_state_dict(state)


@register("scheduler", "warmup_cosine")
class WarmupCosineLR(SequentialLR):
    """A linear warm-up from `start_factor` * lr to lr in `warmup_steps`, then half a cosine to `eta_min`.

    `warmup_steps` below 1 (0.1, say) is a share of `total_steps`, which count the warm-up.
    """

    interval = "step"

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int | float = 0.1,
        start_factor: float = 0.01,
        eta_min: float = 0.0,
    ) -> None:
        warm = round(warmup_steps * total_steps) if 0 < warmup_steps < 1 else int(warmup_steps)
        need(self, 0 <= warm < total_steps, f"warmup_steps={warmup_steps} must be fewer than total_steps={total_steps}")
        cosine = CosineAnnealingLR(optimizer, total_steps - warm, eta_min)
        if warm == 0:
            super().__init__(optimizer, [cosine], [])
        else:
            super().__init__(optimizer, [LinearLR(optimizer, start_factor, 1.0, warm), cosine], [warm])
