"""Metrics of predicted classes. All follow from three counts of each class: hits, predicted, and true samples.

scikit-learn's formulas: a ratio of which the denominator is 0 counts as 0 (zero_division=0), and the mean over classes
is over those that occur in targets or predictions. NaN among the scores makes the value NaN.
"""

from typing import Literal

import numpy as np

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.metrics.base import Stats, Value, at_least, one_of, ratio, ratios
from expkit.trainer.metrics.inputs import ClassMetric

Average = Literal["micro", "macro", "weighted", "binary", "none"]
AVERAGES = ("micro", "macro", "weighted", "binary", "none")


class CountedMetric(ClassMetric):
    """Base: statistics tp, guessed and true, (classes,) each, for classes up to the largest seen (or num_classes)."""

    higher_is_better = True

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        guess, truth = self.classes(preds, target)
        unknown = bool((guess < 0).any())
        size = max(self.num_classes or 0, 1 + max(guess.max(initial=-1), truth.max(initial=-1)))
        known = guess[guess >= 0]
        rows = {"tp": truth[guess == truth], "guessed": known, "true": truth}
        counts = {name: np.bincount(values, minlength=size).astype(np.float64) for name, values in rows.items()}
        return {name: np.full(size, np.nan) for name in counts} if unknown else counts

    def merge(self, a: Stats, b: Stats) -> Stats:
        size = max(len(a["tp"]), len(b["tp"]))
        return {name: _padded(a[name], size) + _padded(b[name], size) for name in a}


class AveragedMetric(CountedMetric):
    """Base of metrics with a score for each class; a subclass writes `score`.

    average: "micro" (all decisions alike), "macro" (mean over classes), "weighted" (by true samples), "binary" (of
    class 1 alone), "none" (a score for each class, logged as <name>_0, <name>_1, ...; NaN where it does not occur).
    """

    def __init__(
        self,
        average: Average | None = "macro",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        logits: bool = True,
    ) -> None:
        super().__init__(num_classes, ignore_index, logits)
        self.average = one_of(self, "average", "none" if average is None else average, AVERAGES)
        if self.average == "binary" and num_classes is None:
            self.num_classes = 2

    def score(self, tp: np.ndarray, guessed: np.ndarray, true: np.ndarray, total: float) -> np.ndarray:
        """The score of each class. total: all samples."""
        raise NotImplementedError(f"{type(self).__name__} must write score()")

    def finish(self, stats: Stats) -> Value:
        tp, guessed, true = stats["tp"], stats["guessed"], stats["true"]
        total = true.sum()
        if np.isnan(total) or not total:
            return np.full_like(true, np.nan) if self.average == "none" else float("nan")
        if self.average == "micro":
            return float(self.score(tp.sum(), guessed.sum(), total, total * len(true)))
        scores = self.score(tp, guessed, true, total)
        if self.average == "binary":
            return self._of_class_one(scores)
        occurs = guessed + true > 0
        if self.average == "none":
            return np.where(occurs, scores, np.nan)
        return weighted_mean(scores, true if self.average == "weighted" else occurs.astype(np.float64))

    def _of_class_one(self, scores: np.ndarray) -> float:
        if len(scores) != 2:
            raise ConfigError(
                f"{type(self).__name__}(average='binary') is for two classes, but there are {len(scores)}: "
                "give average='macro'."
            )
        return float(scores[1])

    def suffixes(self) -> list[str]:
        return class_suffixes(self, self.num_classes) if self.average == "none" else [""]

    def values(self) -> dict[str, float]:
        return per_class(self) if self.average == "none" else super().values()


def weighted_mean(scores: np.ndarray, weights: np.ndarray) -> float:
    """Mean of the scores whose weight is not 0; NaN where there are none."""
    counted = weights > 0
    return ratio((scores[counted] * weights[counted]).sum(), weights[counted].sum())


def class_suffixes(owner: ClassMetric, num_classes: int | None) -> list[str]:
    """_0, _1, ...: ConfigError unless the number of classes is known."""
    if num_classes is None:
        raise ConfigError(f"{type(owner).__name__}(average='none') is logged class by class: give num_classes.")
    return [f"_{number}" for number in range(num_classes)]


def per_class(owner: ClassMetric) -> dict[str, float]:
    """A metric's value, an array of classes, by suffix; NaN for classes that did not occur."""
    names, scores = owner.suffixes(), np.atleast_1d(owner.compute())
    return {name: float(scores[place]) if place < len(scores) else float("nan") for place, name in enumerate(names)}


@register("metric", "precision")
class Precision(AveragedMetric):
    """Share of the samples predicted to be of a class that are: tp / (tp + fp)."""

    def score(self, tp: np.ndarray, guessed: np.ndarray, true: np.ndarray, total: float) -> np.ndarray:
        return ratios(tp, guessed)


@register("metric", "recall")
class Recall(AveragedMetric):
    """Share of the samples of a class that are predicted to be: tp / (tp + fn). Also called sensitivity."""

    def score(self, tp: np.ndarray, guessed: np.ndarray, true: np.ndarray, total: float) -> np.ndarray:
        return ratios(tp, true)


@register("metric", "specificity")
class Specificity(AveragedMetric):
    """Share of the samples of other classes that are not predicted to be of a class: tn / (tn + fp)."""

    def score(self, tp: np.ndarray, guessed: np.ndarray, true: np.ndarray, total: float) -> np.ndarray:
        return ratios(total - guessed - true + tp, total - true)


@register("metric", "fbeta")
class FBeta(AveragedMetric):
    """(1 + β²) P R / (β² P + R) of precision P and recall R, which counts β times as much. van Rijsbergen, 1979."""

    def __init__(
        self,
        beta: float = 1.0,
        average: Average | None = "macro",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        logits: bool = True,
    ) -> None:
        super().__init__(average, num_classes, ignore_index, logits)
        if not beta > 0:
            raise ConfigError(f"{type(self).__name__}: beta={beta!r}: expected a number above 0.")
        self.beta = beta

    def score(self, tp: np.ndarray, guessed: np.ndarray, true: np.ndarray, total: float) -> np.ndarray:
        square = self.beta**2
        return ratios((1 + square) * tp, guessed + square * true)


@register("metric", "f1")
class F1(AveragedMetric):
    """2 tp / (2 tp + fp + fn): the harmonic mean of precision and recall."""

    def score(self, tp: np.ndarray, guessed: np.ndarray, true: np.ndarray, total: float) -> np.ndarray:
        return ratios(2 * tp, guessed + true)


@register("metric", "dice")
class Dice(F1):
    """2 |A ∩ B| / (|A| + |B|) of the pixels predicted to be of a class and those that are; the same as f1."""


@register("metric", "iou")
class IoU(AveragedMetric):
    """|A ∩ B| / |A ∪ B| of the samples (pixels) predicted to be of a class and those that are: the Jaccard index."""

    def score(self, tp: np.ndarray, guessed: np.ndarray, true: np.ndarray, total: float) -> np.ndarray:
        return ratios(tp, guessed + true - tp)


@register("metric", "acc")
class Accuracy(CountedMetric):
    """Share of samples whose predicted class is right.

    average: "micro" (of all samples) or "macro" (mean over the classes that occur in the targets: scikit-learn's
    balanced_accuracy_score).
    """

    def __init__(
        self,
        average: Literal["micro", "macro"] = "micro",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        logits: bool = True,
    ) -> None:
        super().__init__(num_classes, ignore_index, logits)
        self.average = one_of(self, "average", average, ("micro", "macro"))

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        if self.average == "macro":
            return super().stats(preds, target)
        guess, truth = self.classes(preds, target)
        right = np.nan if guess.min(initial=0) < 0 else float((guess == truth).sum())
        return {"tp": np.array([right]), "true": np.array([float(len(truth))])}  # as if there were one class

    def finish(self, stats: Stats) -> float:
        tp, true = stats["tp"], stats["true"]
        if self.average == "micro" or np.isnan(true).any():
            return ratio(tp.sum(), true.sum())
        return weighted_mean(ratios(tp, true), (true > 0).astype(np.float64))


@register("metric", "cohen_kappa")
class CohenKappa(CountedMetric):
    """Agreement beyond chance, (p_o - p_e) / (1 - p_e). Cohen, 1960. NaN where one class is all that occurs."""

    def finish(self, stats: Stats) -> float:
        total = stats["true"].sum()
        chance = (stats["guessed"] * stats["true"]).sum()
        return ratio(total * stats["tp"].sum() - chance, total**2 - chance)


@register("metric", "mcc")
class MatthewsCorrcoef(CountedMetric):
    """Correlation of predicted and true classes; 0 where either are all the same. Matthews, 1975; Gorodkin, 2004."""

    def finish(self, stats: Stats) -> float:
        guessed, true = stats["guessed"], stats["true"]
        total = true.sum()
        if np.isnan(total) or not total:
            return float("nan")
        covariance = total * stats["tp"].sum() - (guessed * true).sum()
        spread = (total**2 - (guessed**2).sum()) * (total**2 - (true**2).sum())
        return float(covariance / np.sqrt(spread)) if spread else 0.0


@register("metric", "confusion_matrix")
class ConfusionMatrix(ClassMetric):
    """Counts (classes, classes): row = true class, column = predicted one. No number, so nothing is logged.

    The callback `confusion_matrix` writes it as a picture and a table. A NaN among the scores makes all of it NaN.
    normalize: divide by the row's sum ("true"), the column's ("pred"), or all ("all").
    """

    def __init__(
        self,
        num_classes: int | None = None,
        normalize: Literal["true", "pred", "all", "none"] | None = None,
        ignore_index: int | None = None,
        logits: bool = True,
    ) -> None:
        super().__init__(num_classes, ignore_index, logits)
        self.normalize = one_of(self, "normalize", normalize or "none", ("true", "pred", "all", "none"))

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        guess, truth = self.classes(preds, target)
        size = max(self.num_classes or 0, 1 + max(guess.max(initial=-1), truth.max(initial=-1)))
        if (guess < 0).any():
            return {"counts": np.full((size, size), np.nan)}
        counts = np.bincount(truth * size + guess, minlength=size * size).reshape(size, size)
        return {"counts": counts.astype(np.float64)}

    def merge(self, a: Stats, b: Stats) -> Stats:
        size = max(len(a["counts"]), len(b["counts"]))
        return {"counts": _padded(a["counts"], size) + _padded(b["counts"], size)}

    def finish(self, stats: Stats) -> np.ndarray:
        counts = stats["counts"]
        if self.normalize == "none":
            return counts
        axes = {"true": 1, "pred": 0, "all": None}[self.normalize]
        return ratios(counts, np.broadcast_to(counts.sum(axis=axes, keepdims=True), counts.shape))

    def suffixes(self) -> list[str]:
        return []

    def values(self) -> dict[str, float]:
        return {}


@register("metric", "top_k")
class TopKAccuracy(ClassMetric):
    """Share of samples whose class is among the `k` with the highest scores; of equal ones the first is higher."""

    higher_is_better = True

    def __init__(self, k: int = 5, num_classes: int | None = None, ignore_index: int | None = None) -> None:
        super().__init__(num_classes, ignore_index)
        at_least(self, "k", k, 1)
        self.k = k

    def stats(self, preds: np.ndarray, target: np.ndarray) -> Stats:
        scores, truth = self.flat(preds, target)
        if scores.ndim != 2:
            raise ConfigError("TopKAccuracy needs a score for each class, got one number for each sample: use acc.")
        own = scores[np.arange(len(truth)), truth][:, None]
        before = np.arange(scores.shape[1]) < truth[:, None]
        rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
        right = (rank < self.k).astype(np.float64)
        right[np.isnan(scores).any(axis=1)] = np.nan
        return {"right": np.asarray(right.sum()), "count": np.asarray(len(truth), np.float64)}

    def finish(self, stats: Stats) -> float:
        return ratio(stats["right"], stats["count"])


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """Counts of more classes, of which there was none."""
    return np.pad(values, (0, size - len(values))) if len(values) != size else values
