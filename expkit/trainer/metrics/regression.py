"""Metrics of numbers: errors, and the share of the variance that predictions explain. NaN in, NaN out."""

import math

import numpy as np

from expkit.registry import register
from expkit.trainer.metrics.base import Metric, Stats, no_fit, ratio


class ErrorMetric(Metric):
    """Base: the mean over all elements of what `error` makes of them. preds, target: the same shape."""

    higher_is_better = False
    of = "numbers"

    def error(self, preds: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The error of each element, in float64."""
        raise NotImplementedError(f"{type(self).__name__} must write error()")

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        error = self.error(*same_shape(self, preds, target))
        return {"sum": np.asarray(error.sum()), "count": np.asarray(error.size, np.float64)}

    def finish(self, stats: Stats) -> float:
        return ratio(stats["sum"], stats["count"])


@register("metric", "mae")
class MeanAbsoluteError(ErrorMetric):
    """Mean of |preds - target| over all elements. preds, target: the same shape."""

    def error(self, preds: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.abs(preds - target)


@register("metric", "mse")
class MeanSquaredError(ErrorMetric):
    """Mean of (preds - target)² over all elements. preds, target: the same shape."""

    def error(self, preds: np.ndarray, target: np.ndarray) -> np.ndarray:
        return (preds - target) ** 2


@register("metric", "rmse")
class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean of (preds - target)² over all elements. preds, target: the same shape."""

    def finish(self, stats: Stats) -> float:
        return float(np.sqrt(super().finish(stats)))


@register("metric", "mape")
class MeanAbsolutePercentageError(ErrorMetric):
    """Mean of |preds - target| / |target|, a share and no percentage, as scikit-learn's: 0.1 is ten percent.

    A target of 0 counts as 2.2e-16, so that an error there makes the mean huge.
    """

    def error(self, preds: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.abs(preds - target) / np.maximum(np.abs(target), np.finfo(np.float64).eps)


@register("metric", "r2")
class R2(Metric):
    """Coefficient of determination 1 - SS_res / SS_tot, averaged over outputs. preds, target: (N,) or (N, outputs).

    As scikit-learn's r2_score: a constant target gives 1 when predicted exactly and 0 otherwise; fewer than two samples
    give NaN. The batches' means and squared deviations are merged by Chan, Golub and LeVeque's formula (1983).
    """

    higher_is_better = True
    of = "numbers"

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        preds, target = same_shape(self, preds, target)
        preds, target = (values.reshape(len(values), math.prod(values.shape[1:])) for values in (preds, target))
        shift = target[:1].sum(axis=0)  # the first target, so that the mean of equal ones is exact
        mean = shift + (target - shift).mean(axis=0) if len(target) else shift
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
        scores = np.where(residual == 0, 1.0, np.where(np.isnan(residual), np.nan, 0.0))
        varied = total != 0
        scores[varied] = 1 - residual[varied] / total[varied]
        return float(scores.mean())


def same_shape(owner: object, preds: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64 and the target's shape. ShapeError when they do not fit."""
    if preds.shape != target.shape and preds.size == target.size and len(preds) == len(target):
        preds = preds.reshape(target.shape)  # (N, 1) predictions of (N,) targets
    if preds.shape != target.shape:
        raise no_fit(preds, target, owner)
    return preds.astype(np.float64), target.astype(np.float64)
