"""What `self.log` was given: single values of steps, and means over an epoch that are exact for uneven batches."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from expkit.errors import ConfigError, did_you_mean
from expkit.tensor import Tensor
from expkit.trainer.metrics import Metric

REDUCTIONS: dict[str, Callable[[float, float], float]] = {
    "mean": lambda total, value: total + value,
    "sum": lambda total, value: total + value,
    "min": min,
    "max": max,
}


@dataclass
class Entry:
    """One logged name: how it is logged, and the epoch so far."""

    on_step: bool
    on_epoch: bool
    prog_bar: bool
    logger: bool
    reduce: str
    metric: Metric | None = None
    total: float | None = None
    weight: float = 0.0
    last: float | None = None

    def add(self, value: float, weight: float) -> None:
        self.last = value
        scaled = value * weight if self.reduce == "mean" else value
        self.total = scaled if self.total is None else REDUCTIONS[self.reduce](self.total, scaled)
        self.weight += weight

    def suffixes(self) -> list[str]:
        """What is appended to the name: a metric may log several numbers, or none."""
        return [""] if self.metric is None else self.metric.suffixes()

    def step_values(self) -> dict[str, float]:
        """The newest values, by suffix."""
        if self.metric is not None:
            return self.metric.values()
        return {} if self.last is None else {"": self.last}

    def epoch_values(self) -> dict[str, float]:
        """The values over the epoch, by suffix."""
        if self.metric is not None:
            return self.metric.values()
        if self.total is None:
            return {}
        return {"": self.total / self.weight if self.reduce == "mean" and self.weight else self.total}

    def forget_epoch(self) -> None:
        self.total, self.weight = None, 0.0
        if self.metric is not None:
            self.metric.reset()


class Logged:
    """The entries of one stage ("train", "validate", ...)."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def log(self, name: str, value: Any, *, weight: float, reduce_fx: str = "mean", **how: Any) -> None:
        """Takes in one value: a number, a 0-d tensor or a Metric. ConfigError for anything else."""
        if reduce_fx not in REDUCTIONS:
            raise ConfigError(
                f"log({name!r}, reduce_fx={reduce_fx!r}): unknown.{did_you_mean(str(reduce_fx), REDUCTIONS)} "
                f"Legal: {', '.join(REDUCTIONS)}."
            )
        entry = self.entries.get(name)
        if entry is None:
            entry = self.entries[name] = Entry(**how, reduce=reduce_fx)
        if isinstance(value, Metric):
            entry.metric = value
        else:
            entry.add(as_number(name, value), weight)

    def step_values(self, *, prog_bar: bool = False) -> dict[str, float]:
        """The newest value of each name that is logged on steps (prog_bar: of those that the progress bar shows)."""
        values = {}
        for name, entry in self.entries.items():
            if entry.on_step and (entry.prog_bar if prog_bar else entry.logger):
                for suffix, value in entry.step_values().items():
                    values[step_name(name + suffix, entry)] = value
        return values

    def epoch_values(self, forget: bool = True) -> dict[str, float]:
        """The value over the epoch of each name that is logged on epochs; `forget`: the next epoch starts anew."""
        values: dict[str, float] = {}
        for name, entry in self.entries.items():
            if entry.on_epoch:
                values |= {name + suffix: value for suffix, value in entry.epoch_values().items()}
            if forget:
                entry.forget_epoch()
        return values

    def names(self) -> list[str]:
        """Every name under which something will be found in callback_metrics."""
        names = []
        for name, entry in self._by_number():
            names += [step_name(name, entry)] if entry.on_step else []
            names += [name, f"{name}_epoch"] if entry.on_epoch and entry.on_step else [name] if entry.on_epoch else []
        return list(dict.fromkeys(names))

    def logged_names(self) -> set[str]:
        """The names that the logger gets, of epochs."""
        return {name for name, entry in self._by_number() if entry.logger}

    def names_of_both(self) -> set[str]:
        """The names that are logged on steps and on epochs."""
        return {name for name, entry in self._by_number() if entry.on_step and entry.on_epoch}

    def names_shown(self) -> set[str]:
        """The names that the progress bar shows."""
        return {name for name, entry in self._by_number() if entry.prog_bar}

    def _by_number(self) -> Iterator[tuple[str, Entry]]:
        """(name, entry) of each number that is logged."""
        for name, entry in self.entries.items():
            for suffix in entry.suffixes():
                yield name + suffix, entry

    def forget(self) -> None:
        """Starts anew: no entries."""
        for entry in self.entries.values():
            entry.forget_epoch()
        self.entries.clear()

    def state_dict(self) -> dict[str, Any]:
        """The epoch so far; metrics keep their own state."""
        keep = ("on_step", "on_epoch", "prog_bar", "logger", "reduce", "total", "weight", "last")
        return {name: {key: getattr(entry, key) for key in keep} for name, entry in self.entries.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Continues from `state_dict()`."""
        self.entries = {name: Entry(**values) for name, values in state.items()}


def occasions(training: bool, on_step: bool | None, on_epoch: bool | None) -> tuple[bool, bool]:
    """(on_step, on_epoch) of a `log` that leaves them open: each step in training, each epoch elsewhere."""
    on_step = (training and not on_epoch) if on_step is None else on_step
    return on_step, (not on_step or not training) if on_epoch is None else on_epoch


def step_name(name: str, entry: Entry) -> str:
    """`train/loss_step` where the epoch's value has the plain name."""
    return f"{name}_step" if entry.on_epoch else name


def as_number(name: str, value: Any) -> float:
    """`value` as a float. ConfigError unless it is one number."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ConfigError(f"log({name!r}): one number is logged at a time, got a tensor of shape {tuple(value.shape)}.")
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError):
        raise ConfigError(f"log({name!r}): expected a number, a 0-d tensor or a Metric, got {value!r:.60}.") from None
