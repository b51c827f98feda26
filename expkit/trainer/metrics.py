"""Metrics that are exact over any split into batches: they add up statistics and divide once, at the end.

A metric writes `stats(preds, target) -> dict of float64 arrays` for one batch and `finish(stats) -> float`; where
adding statistics of two batches is not enough, `merge` too. It is registered under the name it is logged by (val/acc).

    acc = Accuracy(); acc.update(logits, labels); acc.compute(); acc.reset()
"""

from typing import Any

import numpy as np

from expkit.errors import ShapeError
from expkit.registry import build, register
from expkit.tensor import Tensor
from expkit.trainer.deferred import later, refuse_traced

Stats = dict[str, np.ndarray]
VALUE = "a metric has no value inside a step that is compiled; log the metric itself, or ask in a hook"


class Metric:
    """Base: streams statistics in float64 on the host. `higher_is_better` tells monitors which way is up."""

    higher_is_better: bool | None = None

    def __init__(self) -> None:
        self._total: Stats | None = None

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        """The statistics of one batch; `preds` and `target` are arrays with samples along axis 0."""
        raise NotImplementedError(f"{type(self).__name__} must write stats()")

    def finish(self, stats: Stats) -> float:
        """The metric's value from its statistics."""
        raise NotImplementedError(f"{type(self).__name__} must write finish()")

    def merge(self, a: Stats, b: Stats) -> Stats:
        """The statistics of two batches together: their sum unless a metric knows better."""
        return {name: a[name] + b[name] for name in a}

    def update(self, preds: Tensor, target: Tensor) -> Stats:
        """Takes in one batch; returns that batch's own statistics. In a step that is traced it happens later."""
        if later(self.update, preds, target):
            return {}
        batch = self.stats(_host(preds), _host(target))
        self._total = batch if self._total is None else self.merge(self._total, batch)
        return batch

    def __call__(self, preds: Tensor, target: Tensor) -> float:
        """Takes in one batch and returns its value."""
        refuse_traced(f"{type(self).__name__}(...)", VALUE)
        return self.finish(self.update(preds, target))

    def compute(self) -> float:
        """The value over all batches since the last reset; NaN when there were none."""
        refuse_traced(f"{type(self).__name__}.compute()", VALUE)
        return float("nan") if self._total is None else float(self.finish(self._total))

    def reset(self) -> None:
        """Forgets all batches."""
        refuse_traced(f"{type(self).__name__}.reset()", VALUE)
        self._total = None

    def state_dict(self) -> dict[str, Any]:
        """The statistics so far, for a checkpoint in the middle of an epoch."""
        return {"total": None if self._total is None else {name: value.copy() for name, value in self._total.items()}}

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
        return _ratio(stats["sum"], stats["weight"])


@register("metric", "acc")
class Accuracy(Metric):
    """Share of samples whose predicted class is right. preds: (N, C, ...) scores, (N, ...) logits or classes."""

    higher_is_better = True

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        right = _classes(preds, target) == target
        return {"right": np.asarray(right.sum(), np.float64), "count": np.asarray(right.size, np.float64)}

    def finish(self, stats: Stats) -> float:
        return _ratio(stats["right"], stats["count"])


@register("metric", "f1")
class F1(Metric):
    """F1 averaged over the classes that occur in targets or predictions (macro). Shapes as for acc.

    F1 of a class is 2 tp / (2 tp + fp + fn), 0 where tp is 0: scikit-learn's f1_score(average="macro").
    """

    higher_is_better = True

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        guess, truth = _classes(preds, target).reshape(-1), target.reshape(-1)
        if truth.size and min(guess.min(), truth.min()) < 0:
            raise ShapeError("f1: classes are counted from 0; a negative one came. Check the targets.")
        size = 1 + max(guess.max(initial=-1), truth.max(initial=-1))
        counts = (
            np.bincount(values.astype(np.int64), minlength=size) for values in (truth[guess == truth], guess, truth)
        )
        return {name: value.astype(np.float64) for name, value in zip(("tp", "guessed", "true"), counts, strict=True)}

    def merge(self, a: Stats, b: Stats) -> Stats:
        size = max(len(a["tp"]), len(b["tp"]))
        return {name: _padded(a[name], size) + _padded(b[name], size) for name in a}

    def finish(self, stats: Stats) -> float:
        total = stats["guessed"] + stats["true"]  # 2 tp + fp + fn
        seen = total > 0
        return float(np.mean(2 * stats["tp"][seen] / total[seen])) if seen.any() else float("nan")


@register("metric", "mae")
class MeanAbsoluteError(Metric):
    """Mean of |preds - target| over all elements. preds, target: the same shape."""

    higher_is_better = False

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        preds, target = _same_shape("mae", preds, target)
        error = np.abs(preds - target)
        return {"sum": np.asarray(error.sum()), "count": np.asarray(error.size, np.float64)}

    def finish(self, stats: Stats) -> float:
        return _ratio(stats["sum"], stats["count"])


@register("metric", "r2")
class R2(Metric):
    """Coefficient of determination 1 - SS_res / SS_tot, averaged over outputs. preds, target: (N,) or (N, outputs).

    As scikit-learn's r2_score: a constant target gives 1 when predicted exactly and 0 otherwise; fewer than two samples
    give NaN. The batches' means and squared deviations are merged by Chan, Golub and LeVeque's formula (1983).
    """

    higher_is_better = True

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        preds, target = _same_shape("r2", preds, target)
        preds, target = (values.reshape(len(values), -1) for values in (preds, target))
        mean = target.mean(axis=0) if len(target) else np.zeros(target.shape[1])
        return {
            "count": np.asarray(len(target), np.float64),
            "mean": mean,
            "total": ((target - mean) ** 2).sum(axis=0),
            "residual": ((target - preds) ** 2).sum(axis=0),
        }

    def merge(self, a: Stats, b: Stats) -> Stats:
        count = a["count"] + b["count"]
        delta, share = b["mean"] - a["mean"], b["count"] / max(count, 1.0)
        return {
            "count": count,
            "mean": a["mean"] + delta * share,
            "total": a["total"] + b["total"] + delta**2 * a["count"] * share,
            "residual": a["residual"] + b["residual"],
        }

    def finish(self, stats: Stats) -> float:
        if stats["count"] < 2:
            return float("nan")
        total, residual = stats["total"], stats["residual"]
        scores = np.where(residual == 0, 1.0, 0.0)
        varied = total != 0
        scores[varied] = 1 - residual[varied] / total[varied]
        return float(scores.mean())


TASK_METRICS = {"classification": ("acc", "f1"), "regression": ("mae", "r2")}


def task_metrics(task: str) -> dict[str, Metric]:
    """Fresh metrics of a task ("classification" or "regression"), by the name they are logged under."""
    return {name: build("metric", {"name": name}) for name in TASK_METRICS[task]}


def _host(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _ratio(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part / whole) if whole else float("nan")


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return values if len(values) == size else np.concatenate((values, np.zeros(size - len(values))))


def _classes(preds: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Predicted classes: argmax over axis 1 of scores, the sign of single logits, or classes given as such."""
    if preds.ndim == target.ndim + 1:
        preds = preds[:, 0] if preds.shape[1] == 1 else preds.argmax(axis=1)
    if preds.shape != target.shape:
        raise ShapeError(f"predictions of shape {preds.shape} do not fit targets of shape {target.shape}.")
    return (preds > 0).astype(np.int64) if preds.dtype.kind == "f" else preds


def _same_shape(name: str, preds: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if preds.shape != target.shape and preds.size == target.size and len(preds) == len(target):
        preds = preds.reshape(target.shape)  # (N, 1) predictions of (N,) targets
    if preds.shape != target.shape:
        raise ShapeError(f"{name}: predictions of shape {preds.shape} do not fit targets of shape {target.shape}.")
    return preds.astype(np.float64), target.astype(np.float64)
