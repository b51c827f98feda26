"""Callbacks: everything about training that is optional. Importing this registers the built-in ones."""

from expkit.trainer.callbacks.base import Callback
from expkit.trainer.callbacks.confusion import ConfusionMatrixLogger
from expkit.trainer.callbacks.device_stats import DeviceStatsMonitor
from expkit.trainer.callbacks.early_stopping import EarlyStopping
from expkit.trainer.callbacks.finetuning import BackboneFinetuning, BaseFinetuning
from expkit.trainer.callbacks.function import LambdaCallback
from expkit.trainer.callbacks.learning_rate import LearningRateMonitor
from expkit.trainer.callbacks.model_checkpoint import ModelCheckpoint
from expkit.trainer.callbacks.on_exception import OnExceptionCheckpoint
from expkit.trainer.callbacks.prediction_writer import BasePredictionWriter, PredictionWriter
from expkit.trainer.callbacks.progress import RichProgressBar
from expkit.trainer.callbacks.sample_text import SampleText
from expkit.trainer.callbacks.samples import PredictionSamples
from expkit.trainer.callbacks.stochastic_weight_averaging import StochasticWeightAveraging
from expkit.trainer.callbacks.summary import RichModelSummary
from expkit.trainer.callbacks.throughput import ThroughputMonitor
from expkit.trainer.callbacks.timer import GradientAccumulationScheduler, Timer
from expkit.trainer.callbacks.weight_averaging import EMAWeightAveraging, WeightAveraging

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "Callback",
    "ConfusionMatrixLogger",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "OnExceptionCheckpoint",
    "PredictionSamples",
    "PredictionWriter",
    "RichModelSummary",
    "RichProgressBar",
    "SampleText",
    "StochasticWeightAveraging",
    "ThroughputMonitor",
    "Timer",
    "WeightAveraging",
]
