"""How predictions and targets of classes arrive, and what metrics make of them: class numbers, or probabilities."""

import numpy as np

from expkit.errors import ShapeError
from expkit.trainer.metrics.base import Metric, at_least, no_fit


class ClassMetric(Metric):
    """Base of metrics of classes.

    preds: (N, C, ...) scores of classes; or of the target's shape (also (N, 1) for (N,)): one score for "class 1 rather
    than 0", or, as integers, the classes themselves. target: (N, ...) class numbers from 0.

    num_classes: how many there are, for those that do not occur. ignore_index: a target that is left out.
    logits: scores are logits or logarithms of probabilities; False: they are probabilities.
    """

    of = "classes"

    def __init__(self, num_classes: int | None = None, ignore_index: int | None = None, logits: bool = True) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = at_least(self, "num_classes", num_classes, 1), ignore_index
        self.logits = logits

    def _fitting(self, preds: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Predictions without an axis of one class. ShapeError when they do not fit the targets."""
        if preds.ndim == target.ndim + 1 and preds.shape[1] == 1:
            preds = preds[:, 0]
        several = preds.ndim == target.ndim + 1
        if (preds.shape[:1] + preds.shape[2:] if several else preds.shape) != target.shape:
            raise no_fit(preds, target, self)
        return preds

    def flat(self, preds: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores (n, C), or (n,) of one score or class for each target; class numbers (n,). Ignored ones are left out.

        ShapeError when the shapes do not fit, or a target is no class.
        """
        preds = self._fitting(preds, target)
        width = preds.shape[1] if preds.ndim > target.ndim else None
        scores = preds.reshape(-1) if width is None else np.moveaxis(preds, 1, -1).reshape(-1, width)
        return self._counted(scores, target, width)

    def _counted(self, values: np.ndarray, target: np.ndarray, width: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Flat values and targets, without those that are ignored."""
        truth = target.reshape(-1)
        if self.ignore_index is not None:
            kept = truth != self.ignore_index
            values, truth = values[kept], truth[kept]
        return values, self._whole(truth, width)

    def _whole(self, truth: np.ndarray, width: int | None) -> np.ndarray:
        """Targets as int64, of which each is a class."""
        numbers = truth.astype(np.int64)
        if truth.dtype.kind == "f" and (numbers != truth).any():
            raise ShapeError(f"{type(self).__name__}: targets must be class numbers, got {truth[numbers != truth][0]}.")
        count = self.num_classes if width is None else width
        least, most = numbers.min(initial=0), numbers.max(initial=0)
        if least < 0 or (count is not None and most >= max(count, 2)):
            bad = least if least < 0 else most
            raise ShapeError(
                f"{type(self).__name__}: classes are counted from 0{f' to {count - 1}' if count else ''}; a target is "
                f"{bad}. Check the targets, or give ignore_index={bad} if it means that there is none."
            )
        return numbers

    def classes(self, preds: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and true classes, int64 (n,); a sample with a NaN among its scores is predicted to be -1."""
        preds = self._fitting(preds, target)
        several = preds.ndim > target.ndim
        if several:
            guess = preds.argmax(axis=1)
        elif preds.dtype.kind == "f":
            guess = (preds > (0 if self.logits else 0.5)).astype(np.int64)
        else:
            guess = preds.astype(np.int64)
        if preds.dtype.kind == "f" and np.isnan(preds.max(initial=-np.inf)):
            guess = np.where(np.isnan(preds).any(axis=1) if several else np.isnan(preds), -1, guess)
        return self._counted(guess.reshape(-1), target, preds.shape[1] if several else None)

    def scores(self, preds: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the classes, float64 (n, C), or (n,) that of class 1; true classes (n,). ShapeError for others."""
        scores, truth = self.flat(preds, target)
        if scores.dtype.kind != "f":
            raise ShapeError(f"{type(self).__name__}: needs scores of classes, got predicted classes ({scores.dtype}).")
        wide = scores.astype(np.float64)
        if not self.logits:
            outside = wide[(wide < 0) | (wide > 1)]
            if len(outside):
                raise ShapeError(
                    f"{type(self).__name__}(logits=False): {outside[0]:g} is no probability. Give logits=True."
                )
        return wide, truth

    def probabilities(self, preds: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of the classes, float64 (n, C), or (n,) that of class 1; true classes (n,)."""
        scores, truth = self.scores(preds, target)
        if not self.logits:
            return scores, truth
        return (softmax(scores) if scores.ndim == 2 else sigmoid(scores)), truth


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities of classes, which are along the last axis."""
    shifted = scores - scores.max(axis=-1, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities of classes, which are along the last axis."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-np.inf))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-scores)), without overflow."""
    small = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1.0, small) / (1 + small)
