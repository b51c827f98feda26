"""Metric, the base: statistics that are added up over batches, and turned into a value once, at the end."""

from typing import Any, Literal

import numpy as np

from expkit.errors import ConfigError, ShapeError, did_you_mean
from expkit.registry import register
from expkit.tensor import Tensor
from expkit.trainer.deferred import later, refuse_traced

Stats = dict[str, np.ndarray]
Value = float | np.ndarray
TRACED = "a metric has no value inside a step that is compiled; log the metric itself, or ask in a hook"


class Metric:
    """Base: streams statistics in float64 on the host.

    `higher_is_better` tells monitors which way is up; `of` says what it is for, if that matters: classes or numbers.
    """

    higher_is_better: bool | None = None
    of: Literal["classes", "numbers"] | None = None

    def __init__(self) -> None:
        self._total: Stats | None = None

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        """The statistics of one batch; `preds` and `target` are arrays with samples along axis 0."""
        raise NotImplementedError(f"{type(self).__name__} must write stats()")

    def finish(self, stats: Stats) -> Value:
        """The metric's value from its statistics."""
        raise NotImplementedError(f"{type(self).__name__} must write finish()")

    def merge(self, a: Stats, b: Stats) -> Stats:
        """The statistics of two batches together: their sum unless a metric knows better."""
        return {name: a[name] + b[name] for name in a}

    def total(self) -> Stats | None:
        """The statistics since the last reset; None when there were no batches."""
        return self._total

    def keep(self, batch: Stats) -> None:
        """Adds a batch's statistics to the total."""
        self._total = batch if self._total is None else self.merge(self._total, batch)

    def update(self, preds: Tensor, target: Tensor) -> Stats:
        """Takes in one batch; returns that batch's own statistics. In a step that is traced it happens later."""
        if later(self.update, preds, target):
            return {}
        batch = self.stats(_host(preds), _host(target))
        self.keep(batch)
        return batch

    def __call__(self, preds: Tensor, target: Tensor) -> Value:
        """Takes in one batch and returns its value."""
        refuse_traced(f"{type(self).__name__}(...)", TRACED)
        return self.finish(self.update(preds, target))

    def compute(self) -> Value:
        """The value over all batches since the last reset; NaN when there were none."""
        refuse_traced(f"{type(self).__name__}.compute()", TRACED)
        total = self.total()
        return float("nan") if total is None else self.finish(total)

    def suffixes(self) -> list[str]:
        """What is appended to the name it is logged by, for each number that is logged: one number has no suffix."""
        return [""]

    def values(self) -> dict[str, float]:
        """The numbers that are logged, by suffix."""
        return {"": float(self.compute())}

    def reset(self) -> None:
        """Forgets all batches."""
        refuse_traced(f"{type(self).__name__}.reset()", TRACED)
        self._total = None

    def state_dict(self) -> dict[str, Any]:
        """The statistics so far, for a checkpoint in the middle of an epoch."""
        total = self.total()
        return {"total": None if total is None else {name: value.copy() for name, value in total.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict()`."""
        self._total = None if state["total"] is None else {k: np.asarray(v) for k, v in state["total"].items()}


@register("metric", "mean")
class MeanMetric(Metric):
    """Weighted mean of values: update(value, weight). An array of values counts each element with the same weight."""

    def update(self, value: Any, weight: Any = 1.0) -> Stats:
        if not isinstance(value, Tensor):
            refuse_traced("MeanMetric.update()", "a Python number may be another at the next step: give a tensor")
        return super().update(value, weight)

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        weight = np.broadcast_to(np.asarray(target, np.float64), preds.shape)
        weighted = np.where(weight == 0, 0.0, preds.astype(np.float64)) * weight  # 0 * inf would be NaN
        return {"sum": np.asarray(weighted.sum()), "weight": np.asarray(weight.sum())}

    def finish(self, stats: Stats) -> float:
        return ratio(stats["sum"], stats["weight"])


def ratio(part: Any, whole: Any) -> float:
    """part / whole; NaN where the whole is 0."""
    return float(part / whole) if whole else float("nan")


def ratios(part: np.ndarray, whole: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """part / whole, and `otherwise` where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), otherwise), where=whole != 0)


def one_of(owner: object, key: str, value: str, legal: tuple[str, ...]) -> str:
    """`value`, if it is one of `legal`; ConfigError names the argument."""
    if value not in legal:
        raise ConfigError(
            f"{type(owner).__name__}: {key}={value!r}: expected {', '.join(map(repr, legal))}."
            f"{did_you_mean(str(value), legal)}"
        )
    return value


def at_least(owner: object, key: str, value: int | None, least: int) -> int | None:
    """`value`, if it is None or an int of at least `least`; ConfigError names the argument."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ConfigError(f"{type(owner).__name__}: {key}={value!r}: expected an int of at least {least}.")
    return value


def no_fit(preds: np.ndarray, target: np.ndarray, owner: object) -> ShapeError:
    """The error of predictions and targets whose shapes do not go together."""
    return ShapeError(
        f"{type(owner).__name__}: predictions of shape {preds.shape} do not fit targets of shape {target.shape}."
    )


def _host(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
