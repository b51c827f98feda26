"""Metrics of rankings: the areas under the ROC and the precision-recall curve, exact or from fixed thresholds."""

from typing import Any, Literal

import numpy as np

from expkit.registry import register
from expkit.trainer.metrics.base import Stats, Value, at_least, one_of, ratio, ratios
from expkit.trainer.metrics.counts import class_suffixes, per_class, weighted_mean
from expkit.trainer.metrics.inputs import ClassMetric, sigmoid, softmax

AVERAGES = ("macro", "weighted", "none")


class CurveMetric(ClassMetric):
    """Base: one class against the rest, by the probability of the class; a subclass writes `area`.

    Two classes, or one score for each sample: the area of class 1. More: "macro" (mean over classes), "weighted" (by
    true samples) or "none" (an area for each class, logged as <name>_0, <name>_1, ...). A class for which the area is
    not defined is left out. NaN among the scores makes the value NaN.

    thresholds: null keeps the scores (8 bytes for each class and sample of an epoch) and is exact; a number of
    thresholds, evenly spaced over [0, 1], counts between them instead, whatever the number of samples.
    """

    higher_is_better = True

    def __init__(
        self,
        average: Literal["macro", "weighted", "none"] | None = "macro",
        thresholds: int | None = None,
        num_classes: int | None = None,
        ignore_index: int | None = None,
        logits: bool = True,
    ) -> None:
        super().__init__(num_classes, ignore_index, logits)
        self.average = one_of(self, "average", "none" if average is None else average, AVERAGES)
        self.thresholds = at_least(self, "thresholds", thresholds, 2)
        self._batches: list[Stats] = []

    def area(self, true: np.ndarray, false: np.ndarray) -> float:
        """The area, from the samples with a class and without at each score, the highest score first."""
        raise NotImplementedError(f"{type(self).__name__} must write area()")

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        scores, truth = self._ranking(preds, target)
        if self.thresholds is None:
            return {"scores": scores, "truth": truth}
        return _histograms(scores, _members(scores, truth), self.thresholds)

    def _ranking(self, preds: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What samples are ranked by, (columns, n): a row for each class that is looked at; true classes (n,)."""
        scores, truth = self.scores(preds, target)
        two = scores.ndim == 1 or scores.shape[1] == 2
        if self.logits and two and self.thresholds is None:  # logits rank as probabilities do, and never saturate
            chosen = scores if scores.ndim == 1 else scores[:, 1] - scores[:, 0]
            rows = np.stack([-chosen, chosen])
        elif scores.ndim == 1:
            chosen = sigmoid(scores) if self.logits else scores
            rows = np.stack([1 - chosen, chosen])
        else:
            rows = (softmax(scores) if self.logits else scores).T
        return rows[1:] if two and self.average != "none" else rows, truth

    def keep(self, batch: Stats) -> None:
        if self.thresholds is not None:
            super().keep(batch)
        else:
            self._batches.append(batch)

    def total(self) -> Stats | None:
        """Joins the batches when somebody asks: at each update it would copy all of them."""
        parts = [*([] if self._total is None else [self._total]), *self._batches]
        if len(parts) > 1:
            self._total = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
        elif parts:
            self._total = parts[0]
        self._batches = []
        return self._total

    def finish(self, stats: Stats) -> Value:
        if self.thresholds is None:
            members = _members(stats["scores"], stats["truth"])
            counts = [_at_each_score(*row) for row in zip(stats["scores"], members, strict=True)]
        else:
            counts = list(zip(stats["true"][:, ::-1], stats["false"][:, ::-1], strict=True))
        if any(np.isnan(true).any() for true, _ in counts):
            return np.full(len(counts), np.nan) if self.average == "none" else float("nan")
        areas = np.array([self.area(true, false) for true, false in counts])
        if self.average == "none":
            return areas
        defined = ~np.isnan(areas)
        weights = np.array([true.sum() if self.average == "weighted" else 1.0 for true, _ in counts])
        return weighted_mean(areas[defined], weights[defined]) if len(areas) > 1 else float(areas[0])

    def suffixes(self) -> list[str]:
        return class_suffixes(self, self.num_classes) if self.average == "none" else [""]

    def values(self) -> dict[str, float]:
        return per_class(self) if self.average == "none" else super().values()

    def reset(self) -> None:
        super().reset()
        self._batches = []

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._batches = []


@register("metric", "auroc")
class AUROC(CurveMetric):
    """Area under the ROC curve: the probability that a sample of the class is ranked above another; ties count half.

    NaN where all samples are of the class, or none. scikit-learn's roc_auc_score, of several classes with
    multi_class="ovr".
    """

    def area(self, true: np.ndarray, false: np.ndarray) -> float:
        above = np.cumsum(true) - true / 2
        return ratio((false * above).sum(), true.sum() * false.sum())


@register("metric", "average_precision")
class AveragePrecision(CurveMetric):
    """Mean of the precision at each threshold, weighted by the recall that it adds: the area under that curve.

    NaN where no sample is of the class. scikit-learn's average_precision_score.
    """

    def area(self, true: np.ndarray, false: np.ndarray) -> float:
        hits = np.cumsum(true)
        return ratio((true * ratios(hits, hits + np.cumsum(false))).sum(), true.sum())


def _members(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Which samples are of the class of each row: class 1 where there is one row only."""
    numbers = np.arange(len(scores)) if len(scores) > 1 else np.array([1])
    return truth == numbers[:, None]


def _at_each_score(scores: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many samples with the class, and without, are at each score; the highest first."""
    if np.isnan(scores).any():
        return np.array([np.nan]), np.array([np.nan])
    found, place = np.unique(-scores, return_inverse=True)
    true, false = (np.bincount(place[chosen], minlength=len(found)) for chosen in (member, ~member))
    return true.astype(np.float64), false.astype(np.float64)


def _histograms(scores: np.ndarray, member: np.ndarray, thresholds: int) -> Stats:
    """Counts (rows, thresholds) of the samples from each threshold up to the next."""
    if np.isnan(scores).any():
        return dict.fromkeys(("true", "false"), np.full((len(scores), thresholds), np.nan))
    place = np.searchsorted(np.linspace(0, 1, thresholds), scores, side="right") - 1
    place += thresholds * np.arange(len(scores))[:, None]
    shape = (len(scores), thresholds)
    return {
        name: np.bincount(place[chosen], minlength=shape[0] * thresholds).reshape(shape).astype(np.float64)
        for name, chosen in (("true", member), ("false", ~member))
    }
