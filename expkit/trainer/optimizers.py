"""What configure_optimizers may return, brought to one form; clipping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expkit.errors import ConfigError, did_you_mean
from expkit.optim import Optimizer, clip_grad_norm_, clip_grad_value_

LEGAL = (
    "configure_optimizers returns an optimizer, ([optimizer], [schedulers]), or "
    '{"optimizer": ..., "lr_scheduler": scheduler or {"scheduler", "interval", "frequency", "monitor"}}; several '
    "optimizers, or such dicts, in a list"
)


class NotPlanned(ConfigError):
    """The trainer does not make the task's steps: nothing is wrong with it, but they are not known beforehand."""


@dataclass
class Schedule:
    """A scheduler, and when it is stepped: each `frequency`-th epoch or step, with the value of `monitor` if any."""

    scheduler: Any
    interval: str = "epoch"
    frequency: int = 1
    monitor: str | None = None
    strict: bool = True
    name: str | None = None

    def __post_init__(self) -> None:
        if self.interval not in ("epoch", "step"):
            raise ConfigError(f"lr_scheduler: interval={self.interval!r}: expected 'epoch' or 'step'.")
        if not isinstance(self.frequency, int) or self.frequency < 1:
            raise ConfigError(f"lr_scheduler: frequency={self.frequency!r}: expected an int of at least 1.")
        if not hasattr(self.scheduler, "step"):
            raise ConfigError(
                f"lr_scheduler: {type(self.scheduler).__name__} is no scheduler: it has no step(). {LEGAL}."
            )

    def step(self, count: int, metrics: Mapping[str, float]) -> None:
        """Steps the scheduler if the 1-based `count` of epochs or steps is one that it waits for.

        Without a value of its monitor (no validation ran) it stays, so that it counts validations.
        """
        if count % self.frequency:
            return
        if self.monitor is None:
            self.scheduler.step()
        elif self.monitor in metrics:
            self.scheduler.step(metrics[self.monitor])


def normalize(configured: Any) -> tuple[list[Optimizer], list[Schedule]]:
    """(optimizers, schedules) from what configure_optimizers returned. ConfigError says what is legal."""
    optimizers, schedulers = _parts(configured)
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            raise ConfigError(f"{type(optimizer).__name__} is no optimizer. {LEGAL}.")
    return optimizers, [_schedule(entry) for entry in schedulers]


def of_task(task: Any) -> tuple[list[Optimizer], list[Schedule]]:
    """(optimizers, schedules) of a task. ConfigError where the trainer could not make their steps."""
    optimizers, schedules = normalize(task.configure_optimizers())
    who = type(task).__name__
    if task.automatic_optimization and len(optimizers) != 1:
        several = (
            "the trainer makes the steps of one. Use parameter groups, or make the steps yourself: write "
            "`self.automatic_optimization = False` in __init__, and in training_step `a, b = self.optimizers()`, "
            "`self.manual_backward(loss)`, `a.step()`"
        )
        none = f"training needs one. {LEGAL}"
        raise ConfigError(f"{who} has {len(optimizers)} optimizers: {several if optimizers else none}.")
    return optimizers, schedules


def single(task: Any) -> tuple[Optimizer, list[Schedule]]:
    """(optimizer, schedules) of a task whose steps the trainer makes. NotPlanned for others."""
    optimizers, schedules = of_task(task)
    if not task.automatic_optimization:
        raise NotPlanned(
            f"{type(task).__name__} makes its steps itself (automatic_optimization = False): they can be trained, but "
            "neither planned nor profiled."
        )
    return optimizers[0], schedules


def _parts(configured: Any) -> tuple[list[Any], list[Any]]:
    if isinstance(configured, list | tuple) and configured and all(isinstance(one, Mapping) for one in configured):
        each = [_parts(one) for one in configured]
        return [optimizer for some, _ in each for optimizer in some], [one for _, some in each for one in some]
    if isinstance(configured, Mapping):
        unknown = [key for key in configured if key not in ("optimizer", "lr_scheduler", "monitor")]
        if unknown or "optimizer" not in configured:
            key = unknown[0] if unknown else "optimizer"
            what = (
                f"{key!r} is not legal.{did_you_mean(key, ['optimizer', 'lr_scheduler'])}"
                if unknown
                else f"no {key!r}."
            )
            raise ConfigError(f"configure_optimizers: {what} {LEGAL}.")
        schedulers = _listed(configured.get("lr_scheduler"))
        if "monitor" in configured:
            schedulers = [_monitoring(entry, configured["monitor"]) for entry in schedulers]
        return [configured["optimizer"]], schedulers
    if isinstance(configured, list | tuple) and len(configured) == 2 and all(_is_list(part) for part in configured):
        return list(configured[0]), list(configured[1])
    return _listed(configured), []


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _monitoring(entry: Any, monitor: str) -> Any:
    """A scheduler with the monitor that stands beside it, unless it has one of its own; only plateaus look at one."""
    if isinstance(entry, Mapping):
        return {"monitor": monitor, **entry}
    return {"scheduler": entry, "monitor": monitor} if getattr(entry, "monitor", None) else entry


def _schedule(entry: Any) -> Schedule:
    if isinstance(entry, Schedule):
        return entry
    if not isinstance(entry, Mapping):
        entry = {"scheduler": entry}
    known = Schedule.__dataclass_fields__
    unknown = [key for key in entry if key not in known]
    if unknown or "scheduler" not in entry:
        hint = did_you_mean(unknown[0], known) if unknown else ""
        raise ConfigError(
            f"lr_scheduler: {unknown or 'no scheduler'} in {dict(entry)!r:.80}.{hint} Keys: {', '.join(known)}."
        )
    scheduler = entry["scheduler"]
    own = {"interval": getattr(scheduler, "interval", "epoch"), "monitor": getattr(scheduler, "monitor", None)}
    return Schedule(**{**own, **entry})


def has_gradients(optimizer: Optimizer) -> bool:
    """Whether any parameter of an optimizer has a gradient."""
    return any(param.grad is not None for group in optimizer.param_groups for param in group["params"])


def clip(optimizer: Optimizer, value: float | None, algorithm: str) -> None:
    """Clips the gradients of all parameters of `optimizer`, by their common norm or each value; None, 0 = not."""
    if not value:
        return
    params = [param for group in optimizer.param_groups for param in group["params"]]
    if algorithm == "norm":
        clip_grad_norm_(params, value)
    else:
        clip_grad_value_(params, value)
