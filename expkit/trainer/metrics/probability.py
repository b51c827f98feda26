"""Metrics of predicted probabilities: how likely the targets were, and whether confidence is deserved."""

from typing import Literal

import numpy as np

from expkit.registry import register
from expkit.trainer.metrics.base import Stats, at_least, one_of, ratio, ratios
from expkit.trainer.metrics.inputs import ClassMetric, log_softmax


@register("metric", "log_loss")
class LogLoss(ClassMetric):
    """Mean of -log(probability of the true class).

    Probabilities (logits=False) are first clipped to [eps, 1 - eps], eps being that of their dtype: scikit-learn's.
    """

    higher_is_better = False

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        scores, truth = self.scores(preds, target)
        if scores.ndim == 1 and self.logits:
            surprise = np.logaddexp(0, np.where(truth == 1, -scores, scores))
        elif self.logits:
            surprise = -np.take_along_axis(log_softmax(scores), truth[:, None], axis=1)
        else:
            own = np.where(truth == 1, scores, 1 - scores) if scores.ndim == 1 else _own(scores, truth)
            eps = np.finfo(preds.dtype).eps
            surprise = -np.log(np.clip(own, eps, 1 - eps))
        return {"sum": np.asarray(surprise.sum()), "count": np.asarray(len(truth), np.float64)}

    def finish(self, stats: Stats) -> float:
        return ratio(stats["sum"], stats["count"])


@register("metric", "perplexity")
class Perplexity(LogLoss):
    """exp(log loss): among how many equally likely words the model hesitates.   preds: (N, C, ...), target: (N, ...)"""

    def finish(self, stats: Stats) -> float:
        return float(np.exp(super().finish(stats)))


@register("metric", "brier")
class Brier(ClassMetric):
    """Mean squared difference of probabilities and outcomes. Two classes: of class 1; more: summed over classes.

    scikit-learn's brier_score_loss. Brier, 1950.
    """

    higher_is_better = False

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        chances, truth = self.probabilities(preds, target)
        if chances.ndim == 2 and chances.shape[1] == 2:
            chances = chances[:, 1]
        outcome = truth if chances.ndim == 1 else truth[:, None] == np.arange(chances.shape[1])
        squares = (chances - outcome) ** 2
        return {"sum": np.asarray(squares.sum()), "count": np.asarray(len(truth), np.float64)}

    def finish(self, stats: Stats) -> float:
        return ratio(stats["sum"], stats["count"])


@register("metric", "calibration_error")
class CalibrationError(ClassMetric):
    """How far confidence is from accuracy, in bins of equal confidence. Naeini et al., 2015; Guo et al., 2017.

    Confidence is the highest probability, or that of class 1 where there is one score (accuracy is then the share of
    class 1). n_bins: over [0, 1], each with its lower end. norm: "l1" mean over samples (the expected calibration
    error), "l2" root of the mean square, "max" the worst bin.
    """

    higher_is_better = False

    def __init__(
        self,
        n_bins: int = 15,
        norm: Literal["l1", "l2", "max"] = "l1",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        logits: bool = True,
    ) -> None:
        super().__init__(num_classes, ignore_index, logits)
        at_least(self, "n_bins", n_bins, 1)
        self.n_bins, self.norm = n_bins, one_of(self, "norm", norm, ("l1", "l2", "max"))

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        chances, truth = self.probabilities(preds, target)
        confidence = chances if chances.ndim == 1 else chances.max(axis=1, initial=0.0)
        right = truth if chances.ndim == 1 else chances.argmax(axis=1) == truth
        if np.isnan(confidence).any():
            return dict.fromkeys(("count", "confidence", "right"), np.full(self.n_bins, np.nan))
        edges = np.linspace(0, 1, self.n_bins + 1)[1:-1]
        place = np.searchsorted(edges, confidence, side="right")
        sums = {"count": None, "confidence": confidence, "right": right.astype(np.float64)}
        return {
            name: np.bincount(place, weights, minlength=self.n_bins).astype(np.float64)
            for name, weights in sums.items()
        }

    def finish(self, stats: Stats) -> float:
        count = stats["count"]
        gaps = np.abs(ratios(stats["right"] - stats["confidence"], count))
        if self.norm == "max":
            return float(gaps.max()) if count.sum() else float("nan")
        if self.norm == "l2":
            return float(np.sqrt(ratio((gaps**2 * count).sum(), count.sum())))
        return ratio((gaps * count).sum(), count.sum())


def _own(chances: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.take_along_axis(chances, truth[:, None], axis=1)[:, 0]
