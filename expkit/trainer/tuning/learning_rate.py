"""The learning-rate range test.   Smith, arXiv:1506.01186.

The learning rate grows from step to step; where the loss falls most steeply is a good one to begin with.
"""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expkit.errors import ConfigError, HookError, NonFiniteError
from expkit.trainer.callbacks import Callback
from expkit.trainer.console import warn
from expkit.trainer.task import Task, loss_of
from expkit.trainer.trainer import Trainer
from expkit.trainer.tuning import trials

Mode = Literal["exponential", "linear"]
SMOOTHING = 0.98  # Lightning's


class LRFinder:
    """What a range test found. results: {"lr": [...], "loss": [...]}, the losses smoothed."""

    def __init__(self, mode: Mode, lr_min: float, lr_max: float, num_training: int) -> None:
        checks = (
            (mode in ("exponential", "linear"), f"mode={mode!r}", "'exponential' or 'linear'"),
            (lr_min > 0, f"min_lr={lr_min}", "a number above 0"),
            (lr_max > lr_min, f"max_lr={lr_max}", f"a number above min_lr={lr_min}"),
            (num_training > 1, f"num_training={num_training}", "at least 2 steps"),
        )
        for legal, given, wanted in checks:
            if not legal:
                raise ConfigError(f"lr_find: {given}: expected {wanted}.")
        self.mode, self.lr_min, self.lr_max, self.num_training = mode, lr_min, lr_max, num_training
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}

    def rate(self, step: int) -> float:
        """The learning rate of a step, the first being 0."""
        share = step / (self.num_training - 1)
        if self.mode == "linear":
            return self.lr_min + (self.lr_max - self.lr_min) * share
        return self.lr_min * (self.lr_max / self.lr_min) ** share

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """The learning rate where the loss falls most steeply from step to step; None where too few losses are left.

        skip_begin, skip_end: steps at the ends that do not count.
        """
        found = self._best(skip_begin, skip_end)
        return None if found is None else self.results["lr"][found]

    def _best(self, skip_begin: int = 10, skip_end: int = 1) -> int | None:
        count = len(self.results["loss"])
        places = np.arange(count)[skip_begin : count - skip_end]
        losses = np.array(self.results["loss"])[places]
        finite = np.isfinite(losses)
        places, losses = places[finite], losses[finite]
        if len(losses) < 2:
            return None
        return int(places[np.gradient(losses).argmin()])

    def plot(self, path: str | Path | None = None, suggest: bool = True) -> Any:
        """The losses over the learning rates as a matplotlib Figure; path: where to save it (.png)."""
        from matplotlib.figure import Figure  # noqa: PLC0415  (heavy, and needed here alone)

        figure = Figure(figsize=(6, 4), layout="tight")
        axes = figure.subplots()
        axes.plot(self.results["lr"], self.results["loss"])
        axes.set(xlabel="learning rate", ylabel="loss (smoothed)", xscale="log" if self.mode != "linear" else "linear")
        best = self._best() if suggest else None
        if best is not None:
            rate = self.results["lr"][best]
            axes.plot(rate, self.results["loss"][best], "o", color="tab:red", label=f"suggestion: {rate:.3g}")
            axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


class _Growing(Callback):
    """Sets the learning rate of each step and notes its loss. Groups keep their learning rates' proportions."""

    def __init__(self, found: LRFinder, early_stop_threshold: float | None) -> None:
        self.found, self.threshold = found, early_stop_threshold
        self.step, self.mean, self.best = 0, 0.0, math.inf
        self.shares: list[list[float]] = []
        self.losses: list[float] = []  # of the batches of a step

    def on_train_start(self, trainer: Any, task: Any) -> None:
        trainer.schedules = []
        first = initial(trainer.optimizers[0].param_groups[0])
        if first == 0:
            raise ConfigError(
                "lr_find: the learning rate of the first parameter group is 0, and the others' are set in proportion "
                "to it: give the optimizer one above 0."
            )
        self.shares = [[initial(group) / first for group in o.param_groups] for o in trainer.optimizers]

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        rate = self.found.rate(self.step)
        for optimizer, shares in zip(trainer.optimizers, self.shares, strict=True):
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = loss_of(outputs, task)
        if loss is None and not task.automatic_optimization:
            raise HookError(f"lr_find: {type(task).__name__}.training_step returns no loss to look at: return one.")
        self.losses += [] if loss is None else [float(loss)]
        if trainer.gathering() or not self.losses:
            return
        value, self.losses = sum(self.losses) / len(self.losses), []
        self.mean = SMOOTHING * self.mean + (1 - SMOOTHING) * value
        smooth = self.mean / (1 - SMOOTHING ** (self.step + 1))
        self.found.results["lr"].append(self.found.rate(self.step))
        self.found.results["loss"].append(smooth)
        self.step += 1
        if self.threshold is not None and self.step > 1 and smooth > self.threshold * self.best:
            trainer.should_stop = True
        self.best = min(self.best, smooth)


def initial(group: dict[str, Any]) -> float:
    """The learning rate that a group was made with, whatever a schedule has made of it."""
    return float(group.get("initial_lr", group["lr"]))


def find(trainer: Trainer, task: Task, loader: Any, found: LRFinder, early_stop_threshold: float | None) -> LRFinder:
    """Makes the test; task, loader and generators are afterwards as before."""
    try:
        trials.run(trainer, task, loader, found.num_training, _Growing(found, early_stop_threshold))
    except NonFiniteError:
        if not found.results["loss"]:
            raise  # with the smallest learning rate already
    if len(found.results["loss"]) < found.num_training // 2:
        warn(
            f"lr_find: the loss grew too large after {len(found.results['loss'])} of {found.num_training} steps. "
            "Lower max_lr, or raise early_stop_threshold, for a finer look."
        )
    return found


def set_rate(trainer: Trainer, rate: float) -> None:
    """Gives a trainer that is about to fit another learning rate: of the first group, the others in proportion.

    Schedules start from it. ConfigError for those that say all learning rates themselves.
    """
    factor = rate / initial(trainer.optimizers[0].param_groups[0])
    for schedule in trainer.schedules:
        for scheduler in _nested(schedule.scheduler):
            if hasattr(scheduler, "max_lrs"):
                raise ConfigError(
                    f"a learning rate of {rate:.3g} was found, but {type(scheduler).__name__} sets the rates itself: "
                    "give it this one as max_lr and leave out learning_rate_finder, or set update_attr=false."
                )
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [base * factor for base in scheduler.base_lrs]
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            for name in ("lr", "initial_lr"):
                if name in group:
                    group[name] = float(group[name]) * factor


def _nested(scheduler: Any) -> list[Any]:
    """A schedule and those that it is made of."""
    inner = [part for value in vars(scheduler).values() if isinstance(value, list) for part in value]
    return [scheduler, *(found for part in inner if hasattr(part, "step") for found in _nested(part))]
