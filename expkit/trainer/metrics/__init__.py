"""Metrics that are exact over any split into batches: they add up statistics and divide once, at the end.

A metric writes `stats(preds, target) -> dict of float64 arrays` for one batch and `finish(stats) -> float`; where
adding statistics of two batches is not enough, `merge` too. Predictions arrive as the model gives them.

    acc = Accuracy(); acc.update(logits, labels); acc.compute(); acc.reset()
"""

from expkit.trainer.metrics.base import MeanMetric, Metric, Stats, Value
from expkit.trainer.metrics.counts import (
    F1,
    Accuracy,
    CohenKappa,
    ConfusionMatrix,
    Dice,
    FBeta,
    IoU,
    MatthewsCorrcoef,
    Precision,
    Recall,
    Specificity,
    TopKAccuracy,
)
from expkit.trainer.metrics.curves import AUROC, AveragePrecision
from expkit.trainer.metrics.probability import Brier, CalibrationError, LogLoss, Perplexity
from expkit.trainer.metrics.regression import (
    R2,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    RootMeanSquaredError,
)
from expkit.trainer.metrics.select import AUTO, TASK_METRICS, direction, make_metrics, task_metrics

__all__ = [
    "AUROC",
    "AUTO",
    "F1",
    "R2",
    "TASK_METRICS",
    "Accuracy",
    "AveragePrecision",
    "Brier",
    "CalibrationError",
    "CohenKappa",
    "ConfusionMatrix",
    "Dice",
    "FBeta",
    "IoU",
    "LogLoss",
    "MatthewsCorrcoef",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "Specificity",
    "Stats",
    "TopKAccuracy",
    "Value",
    "direction",
    "make_metrics",
    "task_metrics",
]
