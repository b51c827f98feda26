"""Training: the loop, tasks, callbacks, metrics, checkpoints, and whole experiments from configs.

Trainer(max_epochs=3).fit(model, train_loader, val_loader)
"""

from expkit.trainer.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BasePredictionWriter,
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    PredictionWriter,
    RichModelSummary,
    RichProgressBar,
    StochasticWeightAveraging,
    ThroughputMonitor,
    Timer,
    WeightAveraging,
)
from expkit.trainer.metrics import F1, R2, Accuracy, MeanAbsoluteError, MeanMetric, Metric
from expkit.trainer.signals import Interrupted
from expkit.trainer.state import seed_everything
from expkit.trainer.task import Task
from expkit.trainer.tasks.supervised import SupervisedTask
from expkit.trainer.trainer import Trainer
from expkit.trainer.tuning import BatchSizeFinder, LearningRateFinder, Tuner

__all__ = [
    "F1",
    "R2",
    "Accuracy",
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "Callback",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "Interrupted",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "MeanAbsoluteError",
    "MeanMetric",
    "Metric",
    "ModelCheckpoint",
    "OnExceptionCheckpoint",
    "PredictionWriter",
    "RichModelSummary",
    "RichProgressBar",
    "StochasticWeightAveraging",
    "SupervisedTask",
    "Task",
    "ThroughputMonitor",
    "Timer",
    "Trainer",
    "Tuner",
    "WeightAveraging",
    "seed_everything",
]
