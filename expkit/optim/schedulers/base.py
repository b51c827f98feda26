"""The base of all learning-rate schedules."""

from collections.abc import Sequence
from typing import Any, ClassVar

from expkit.errors import CheckpointError, ConfigError
from expkit.optim.optimizer import Optimizer
from expkit.tensor import Tensor


class LRScheduler:
    """Base of all schedules. A subclass sets its own attributes, calls `super().__init__`, and writes `get_lr`.

    `last_epoch`: -1 starts anew, with the groups' `lr` as base; e - 1 goes on at epoch e with the `lr` as it is.
    """

    interval: ClassVar[str] = "epoch"
    monitor: ClassVar[str | None] = None
    _not_saved: ClassVar[tuple[str, ...]] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise ConfigError(
                    f"{type(self).__name__}: last_epoch={last_epoch} goes on with a schedule, but parameter group "
                    f"{number} has no 'initial_lr'. Load the optimizer's state first, or leave last_epoch at -1."
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._advance(first=True)

    def get_lr(self) -> list[float]:
        """The learning rate of each group at `last_epoch`, from the one before."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    def step(self) -> None:
        """Goes on by one epoch (or step) and sets the learning rates."""
        self._advance()

    def get_last_lr(self) -> list[float]:
        """The learning rates that were set last, one for each parameter group."""
        return self._last_lr

    def restart(self) -> None:
        """Begins anew from the initial learning rates."""
        self._set([group["initial_lr"] for group in self.optimizer.param_groups])
        self.last_epoch = -1
        self._advance(first=True)

    def state_dict(self) -> dict[str, Any]:
        """All that is not the optimizer: plain numbers, texts and lists."""
        return {key: value for key, value in self.__dict__.items() if key not in self._not_saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave. CheckpointError when it is of another kind of schedule."""
        if state_dict.keys() != self.state_dict().keys():
            strange = sorted(state_dict.keys() ^ self.state_dict().keys())
            raise CheckpointError(f"{type(self).__name__}: the saved state is of another schedule: {strange}.")
        self.__dict__.update({key: value for key, value in state_dict.items() if key not in self._not_saved})

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ConfigError(f"{type(self).__name__}: {type(optimizer).__name__} is not an optimizer.")
        self.optimizer = optimizer

    def _advance(self, first: bool = False) -> None:
        self.last_epoch += 1
        # A schedule that is picked up (last_epoch was given) finds the learning rates as they were left.
        self._set(self._current() if first and self.last_epoch > 0 else self.get_lr())

    def _current(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _times(self, factor: float) -> list[float]:
        return [lr * factor for lr in self._current()]

    def _set(self, rates: Sequence[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        self._last_lr = self._current()


def need(schedule: object, fits: bool, text: str) -> None:
    """ConfigError, naming the schedule, unless its arguments fit."""
    if not fits:
        raise ConfigError(f"{type(schedule).__name__}: {text}.")
