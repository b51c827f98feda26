"""Rows for every registered metric: arguments, predictions, targets, and the value by scikit-learn or by a formula."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, softmax
from sklearn import metrics as sk

RNG = np.random.default_rng(0)
COUNT = 57
SCORES = RNG.normal(size=(COUNT, 5)).astype(np.float32)
CLASSES = RNG.integers(0, 4, COUNT)  # class 4 is predicted and never true
EVERY = RNG.permutation(np.arange(COUNT) % 5)  # every class occurs
SKEWED = np.where(RNG.random(COUNT) < 0.7, 0, CLASSES)
TIED = np.round(SCORES * 2).astype(np.float32) / 2  # equal scores, within a sample and between samples
CERTAIN = (SCORES * 60).astype(np.float32)  # probabilities of 1 and, nearly, 0
VALUES = RNG.normal(1e4, 1.0, size=COUNT).astype(np.float32)  # far from zero: sums of squares would lose everything
NEAR = (VALUES + RNG.normal(0, 0.5, COUNT)).astype(np.float32)
TWO = np.stack([VALUES, SCORES[:, 0]], 1)
LOGIT = SCORES[:, 0]
BOTH = SCORES[:, :2]
LABEL = CLASSES % 2
CHANCES = softmax(SCORES.astype(np.float64), axis=1)
CHANCE = expit(LOGIT.astype(np.float64))
PIXELS = RNG.normal(size=(COUNT, 3, 4, 2)).astype(np.float32)
MASKS = RNG.integers(0, 3, (COUNT, 4, 2))
HOLES = np.where(RNG.random(MASKS.shape) < 0.3, 255, MASKS)  # pixels that are to be left out


class Row(NamedTuple):
    name: str
    preds: np.ndarray
    target: np.ndarray
    expected: Callable[[np.ndarray, np.ndarray], Any]
    tolerance: float = 1e-12
    args: dict[str, Any] = {}  # noqa: RUF012


def f64(function: Callable[..., Any]) -> Callable[[np.ndarray, np.ndarray], Any]:
    return lambda p, t: function(t.astype(np.float64), p.astype(np.float64))


def best(function: Callable[..., Any], **how: Any) -> Callable[[np.ndarray, np.ndarray], Any]:
    """scikit-learn's function of true and predicted classes, the latter from scores."""
    return lambda p, t: function(t, p.argmax(1), **how)


def pixels(function: Callable[..., Any], **how: Any) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Of all pixels that are not 255."""
    return lambda p, t: function(t[t != 255], p.argmax(1)[t != 255], **how)


def averaged(average: str | None) -> dict[str, Any]:
    return {"average": average, "zero_division": 0}


def specificity(average: str) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Recall of "not of this class", for each class."""

    def value(p: np.ndarray, t: np.ndarray) -> Any:
        guess = p.argmax(1)
        scores = np.array([sk.recall_score(t != c, guess != c) for c in range(5)])
        if average == "micro":
            others = sum((t != c).sum() for c in range(5))
            return sum(((t != c) & (guess != c)).sum() for c in range(5)) / others
        return scores.mean() if average == "macro" else scores if average == "none" else np.average(
            scores, weights=np.bincount(t, minlength=5))

    return value  # fmt: skip


def ovr(function: Callable[..., Any], weighted: bool = False) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Of each class against the rest, by the probabilities of the classes; classes without samples are left out."""

    def value(p: np.ndarray, t: np.ndarray) -> float:
        chances, found = softmax(p.astype(np.float64), axis=1), np.unique(t)
        return np.average([function(t == c, chances[:, c]) for c in found],
                          weights=[(t == c).sum() if weighted else 1 for c in found])

    return value  # fmt: skip


def binned_auroc(t: np.ndarray, p: np.ndarray, thresholds: int) -> float:
    """The area under the ROC curve through the points at evenly spaced thresholds."""
    points = [(1.0, 1.0), *(((p[~t] >= x).mean(), (p[t] >= x).mean()) for x in np.linspace(0, 1, thresholds)), (0, 0)]
    return float(sk.auc(*np.array(points).T))


def binned_precision(t: np.ndarray, p: np.ndarray, thresholds: int) -> float:
    """Sum of precision times added recall over evenly spaced thresholds, from the highest."""
    value = recall = 0.0
    for x in np.linspace(0, 1, thresholds)[::-1]:
        now = (p[t] >= x).mean()
        value += (now - recall) * (t[p >= x].mean() if (p >= x).any() else 0)
        recall = now
    return value


def calibration(confidence: np.ndarray, right: np.ndarray, n_bins: int, norm: str) -> float:
    """Sample by sample into bins, then the gap of each bin."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for c, r in zip(confidence, right, strict=True):
        place = next(k for k in range(n_bins) if c < np.linspace(0, 1, n_bins + 1)[k + 1] or k == n_bins - 1)
        bins.setdefault(place, []).append((float(c), bool(r)))
    gaps = np.array([abs(np.mean([c for c, _ in rows]) - np.mean([r for _, r in rows])) for rows in bins.values()])
    share = np.array([len(rows) for rows in bins.values()]) / len(right)
    return float({"l1": (gaps * share).sum(), "l2": np.sqrt((gaps**2 * share).sum()), "max": gaps.max()}[norm])


def top(p: np.ndarray, t: np.ndarray, k: int) -> float:
    """Sample by sample: a stable sort has the first of equal scores first."""
    return float(np.mean([c in np.argsort(-row, kind="stable")[:k] for row, c in zip(p, t, strict=True)]))


def brier(p: np.ndarray, t: np.ndarray) -> float:
    return float(((softmax(p.astype(np.float64), axis=1) - np.eye(p.shape[1])[t]) ** 2).sum(1).mean())


COUNTED = {
    "acc of scores": Row("acc", SCORES, CLASSES, best(sk.accuracy_score)),
    "acc of classes": Row("acc", SCORES.argmax(1), CLASSES, lambda p, t: sk.accuracy_score(t, p)),
    "acc of one logit": Row("acc", LOGIT[:, None], LABEL, lambda p, t: sk.accuracy_score(t, p[:, 0] > 0)),
    "acc of flat logits": Row("acc", LOGIT, LABEL, lambda p, t: sk.accuracy_score(t, p > 0)),
    "acc of probabilities": Row("acc", CHANCE, LABEL, lambda p, t: sk.accuracy_score(t, p > 0.5), args={"logits": False}),
    "acc of labels": Row("acc", SCORES, (CHANCES > 0.2) * 1.0, lambda p, t: float(((p > 0) == t).mean())),
    "acc of pixels": Row("acc", PIXELS, MASKS, lambda p, t: float((p.argmax(1) == t).mean())),
    "acc of pixels with holes": Row("acc", PIXELS, HOLES, pixels(sk.accuracy_score), args={"ignore_index": 255}),
    "acc, macro": Row("acc", SCORES, CLASSES, best(sk.balanced_accuracy_score), args={"average": "macro"}),
    "top 2": Row("top_k", SCORES, EVERY, lambda p, t: sk.top_k_accuracy_score(t, p, k=2), args={"k": 2}),
    "top 1 of ties": Row("top_k", TIED, CLASSES, best(sk.accuracy_score), args={"k": 1}),
    "top 3 of ties": Row("top_k", TIED, CLASSES, lambda p, t: top(p, t, 3), args={"k": 3}),
    "top 9 of 5": Row("top_k", SCORES, CLASSES, lambda p, t: 1.0, args={"k": 9}),
    "f1 of one logit": Row("f1", LOGIT[:, None], LABEL, lambda p, t: sk.f1_score(t, p[:, 0] > 0, average="macro")),
    "f1, binary": Row("f1", BOTH, LABEL, best(sk.f1_score), args={"average": "binary"}),
    "f1 of classes far apart": Row("f1", CLASSES[::-1] * 50, CLASSES * 50, lambda p, t: sk.f1_score(t, p, average="macro")),
    "fbeta 2": Row("fbeta", SCORES, CLASSES, best(sk.fbeta_score, beta=2.0, **averaged("macro")), args={"beta": 2.0}),
    "fbeta 0.5, weighted": Row("fbeta", SCORES, CLASSES, best(sk.fbeta_score, beta=0.5, **averaged("weighted")),
                               args={"beta": 0.5, "average": "weighted"}),
    **{f"{name}, {average}": Row(name, SCORES, SKEWED, best(function, **averaged(average)), args={"average": average})
       for name, function in {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score,
                              "dice": sk.f1_score, "iou": sk.jaccard_score}.items()
       for average in ("micro", "macro", "weighted", None)},
    **{f"specificity, {average}": Row("specificity", SCORES, SKEWED, specificity(average), args={"average": average})
       for average in ("micro", "macro", "weighted", "none")},
    "specificity, binary": Row("specificity", LOGIT, LABEL, lambda p, t: sk.recall_score(1 - t, p <= 0),
                               args={"average": "binary"}),
    "iou of pixels with holes": Row("iou", PIXELS, HOLES, pixels(sk.jaccard_score, average="macro"),
                                    args={"ignore_index": 255}),
    "kappa": Row("cohen_kappa", SCORES, SKEWED, best(sk.cohen_kappa_score)),
    "mcc": Row("mcc", SCORES, SKEWED, best(sk.matthews_corrcoef)),
    "mcc of one class": Row("mcc", SCORES, CLASSES * 0, best(sk.matthews_corrcoef)),
    "confusion matrix": Row("confusion_matrix", SCORES, SKEWED, best(sk.confusion_matrix, labels=range(5)),
                            args={"num_classes": 5}),
    **{f"confusion matrix, {how}": Row("confusion_matrix", SCORES, SKEWED, best(sk.confusion_matrix, normalize=how,
                                       labels=range(5)), args={"normalize": how, "num_classes": 5})
       for how in ("true", "pred", "all")},
}  # fmt: skip

RANKED = {
    "auroc of logits": Row("auroc", LOGIT, LABEL, lambda p, t: sk.roc_auc_score(t, p)),
    "auroc of large logits": Row("auroc", CERTAIN[:, 0], LABEL, lambda p, t: sk.roc_auc_score(t, p)),
    "auroc of two columns": Row("auroc", BOTH, LABEL, lambda p, t: sk.roc_auc_score(t, p[:, 1] - p[:, 0])),
    "auroc of ties": Row("auroc", TIED[:, 0], LABEL, lambda p, t: sk.roc_auc_score(t, p)),
    "auroc of constants": Row("auroc", LOGIT * 0, LABEL, lambda p, t: 0.5),
    "auroc of probabilities": Row("auroc", CHANCE, LABEL, lambda p, t: sk.roc_auc_score(t, p), args={"logits": False}),
    "auroc of one class": Row("auroc", LOGIT, LABEL * 0, lambda p, t: np.nan),
    "auroc, macro": Row("auroc", SCORES, EVERY, lambda p, t: sk.roc_auc_score(
        t, softmax(p.astype(np.float64), axis=1), multi_class="ovr"), 1e-9),
    "auroc, weighted": Row("auroc", SCORES, EVERY, lambda p, t: sk.roc_auc_score(
        t, softmax(p.astype(np.float64), axis=1), multi_class="ovr", average="weighted"), args={"average": "weighted"}),
    "auroc, a class is absent": Row("auroc", TIED, CLASSES, ovr(sk.roc_auc_score)),
    "auroc of pixels": Row("auroc", PIXELS, HOLES, lambda p, t: ovr(sk.roc_auc_score)(
        np.moveaxis(p, 1, -1)[t != 255], t[t != 255]), args={"ignore_index": 255}),
    "auroc, 20 thresholds": Row("auroc", LOGIT, LABEL, lambda p, t: binned_auroc(t > 0, expit(p.astype(np.float64)), 20),
                                args={"thresholds": 20}),
    "average precision": Row("average_precision", LOGIT, LABEL, lambda p, t: sk.average_precision_score(t, p)),
    "average precision of ties": Row("average_precision", TIED[:, 0], LABEL, lambda p, t: sk.average_precision_score(t, p)),
    "average precision, macro": Row("average_precision", SCORES, CLASSES, ovr(sk.average_precision_score)),
    "average precision, weighted": Row("average_precision", SCORES, CLASSES, ovr(sk.average_precision_score, True),
                                       args={"average": "weighted"}),
    "average precision, 11 thresholds": Row("average_precision", CHANCE, LABEL, lambda p, t: binned_precision(t > 0, p, 11),
                                            args={"thresholds": 11, "logits": False}),
}  # fmt: skip

PROBABILITY = {
    "log loss": Row("log_loss", SCORES, EVERY, lambda p, t: sk.log_loss(t, softmax(p.astype(np.float64), axis=1))),
    "log loss of logits": Row("log_loss", LOGIT, LABEL, lambda p, t: sk.log_loss(t, expit(p.astype(np.float64)))),
    "log loss of large logits": Row("log_loss", CERTAIN[:, 0], LABEL, lambda p, t: float(np.logaddexp(
        0, np.where(t == 1, -p.astype(np.float64), p)).mean())),
    "log loss of probabilities": Row("log_loss", CHANCES, EVERY, lambda p, t: sk.log_loss(t, p), args={"logits": False}),
    "log loss of certain ones": Row("log_loss", np.round(CHANCE), LABEL, lambda p, t: sk.log_loss(t, p),
                                    args={"logits": False}),
    "perplexity": Row("perplexity", PIXELS, HOLES, lambda p, t: np.exp(sk.log_loss(
        t[t != 255], softmax(np.moveaxis(p, 1, -1)[t != 255].astype(np.float64), axis=1))), args={"ignore_index": 255}),
    "brier": Row("brier", SCORES, CLASSES, brier),
    "brier of logits": Row("brier", LOGIT, LABEL, lambda p, t: sk.brier_score_loss(t, expit(p.astype(np.float64)))),
    "brier of two columns": Row("brier", BOTH, LABEL, lambda p, t: brier(p, t) / 2),
    "brier of probabilities": Row("brier", CHANCE, LABEL, lambda p, t: sk.brier_score_loss(t, p), args={"logits": False}),
    **{f"calibration, {norm}": Row("calibration_error", SCORES * 2, EVERY, lambda p, t, norm=norm: calibration(
        softmax(p.astype(np.float64), axis=1).max(1), p.argmax(1) == t, 15, norm), args={"norm": norm})
       for norm in ("l1", "l2", "max")},
    "calibration of logits": Row("calibration_error", LOGIT, LABEL, lambda p, t: calibration(
        expit(p.astype(np.float64)), t == 1, 4, "l1"), args={"n_bins": 4}),
    "calibration of certain ones": Row("calibration_error", np.round(CHANCE), LABEL, lambda p, t: calibration(
        p, t == 1, 15, "l1"), args={"logits": False}),
}  # fmt: skip

NUMBERS = {
    "mae": Row("mae", NEAR, VALUES, f64(sk.mean_absolute_error)),
    "mae of columns": Row("mae", TWO, TWO[::-1].copy(), f64(sk.mean_absolute_error)),
    "mae of (N, 1)": Row("mae", NEAR[:, None], VALUES, lambda p, t: f64(sk.mean_absolute_error)(p[:, 0], t)),
    "mse": Row("mse", NEAR, VALUES, f64(sk.mean_squared_error)),
    "mse of columns": Row("mse", TWO, TWO[::-1].copy(), f64(sk.mean_squared_error)),
    "rmse": Row("rmse", NEAR, VALUES, f64(sk.root_mean_squared_error)),
    "mape": Row("mape", NEAR, VALUES, f64(sk.mean_absolute_percentage_error)),
    "mape of zeros": Row("mape", NEAR, VALUES * (LABEL > 0), f64(sk.mean_absolute_percentage_error)),
    "r2": Row("r2", NEAR, VALUES, f64(sk.r2_score), 1e-9),
    "r2 of columns": Row("r2", TWO + SCORES[:, :2], TWO, f64(sk.r2_score), 1e-9),
    "r2 of a constant": Row("r2", LOGIT, np.ones(COUNT, np.float32), f64(sk.r2_score)),
    "r2 of a constant whose sums are rounded": Row("r2", LOGIT, np.full(COUNT, 0.1), lambda *_: 0.0),
    "r2 of a constant hit exactly": Row("r2", np.ones(COUNT, np.float32), np.ones(COUNT, np.float32), f64(sk.r2_score)),
    "mean": Row("mean", VALUES, np.ones(COUNT), lambda p, t: float(p.astype(np.float64).mean())),
    "mean with weights": Row(
        "mean", VALUES, SCORES[:, 0] ** 2, lambda p, t: np.average(p.astype(np.float64), weights=t)),
}  # fmt: skip

ROWS = {**COUNTED, **RANKED, **PROBABILITY, **NUMBERS}
