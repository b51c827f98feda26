"""The base of all learning-rate schedules."""

import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar

from expkit.errors import CheckpointError, ConfigError, TraceError
from expkit.optim.optimizer import Optimizer
from expkit.optim.traced import live_trace
from expkit.tensor import Tensor

# What PyTorch's schedules have in their state beside, or instead of, what ours have: it says that a state is PyTorch's.
PYTORCHS = {
    "_get_lr_called_within_step", "_is_initial", "lr_lambdas", "default_min_lr", "mode_worse", "_scale_fn_custom",
    "base_momentums", "max_momentums", "use_beta1", "_anneal_func_type", "_schedule_phases",
}  # fmt: skip


def _outside_programs(step: Callable[..., None]) -> Callable[..., None]:
    """A schedule's `step`, refused where a trace is going to stand for calls: it would be made once."""

    @wraps(step)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        if live_trace() is not None:
            raise TraceError(f"{type(self).__name__}.step() cannot be compiled. Call it after the compiled function.")
        step(self, *args, **kwargs)

    return checked


class LRScheduler:
    """Base of all schedules. A subclass sets its own attributes, calls `super().__init__`, and writes `get_lr`.

    `last_epoch`: -1 starts anew, with the groups' `lr` as base; e - 1 goes on at epoch e with the `lr` as it is.
    """

    interval: ClassVar[str] = "epoch"
    monitor: ClassVar[str | None] = None
    _not_saved: ClassVar[tuple[str, ...]] = ("optimizer",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _outside_programs(cls.step)  # type: ignore[method-assign]

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
        self._step_count = 1
        self._advance(first=True)

    def get_lr(self) -> list[float]:
        """The learning rate of each group at `last_epoch`, from the one before."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    @_outside_programs
    def step(self) -> None:
        """Goes on by one epoch (or step) and sets the learning rates."""
        self._count()
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
        """Takes over what `state_dict` gave, here or in PyTorch. CheckpointError when it is of another schedule.

        What PyTorch keeps of a schedule's arguments in another form is left as this one's arguments say.
        """
        mine, given = self.state_dict().keys(), state_dict.keys()
        foreign = bool(given & PYTORCHS)
        if given - mine - PYTORCHS or (not foreign and mine != given):
            strange = sorted(mine ^ given)
            raise CheckpointError(f"{type(self).__name__}: the saved state is of another schedule: {strange}.")
        kept = ((mine & given) - {"milestones"} if foreign else mine) - set(self._not_saved)
        self.__dict__.update({key: value for key, value in state_dict.items() if key in kept})

    def _count(self) -> None:
        """One more step; a warning where the first comes before any of the optimizer's."""
        if self._step_count == 1 and not self.optimizer.stepped:
            warnings.warn(
                f"{type(self).__name__}.step() was called before optimizer.step(), so the first learning rate is never "
                "used. Step the optimizer first.",
                stacklevel=3,
            )
        self._step_count += 1

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
