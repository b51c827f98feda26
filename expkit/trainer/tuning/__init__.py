"""Tuning: a learning rate and a batch size found by short trials that leave no trace.

tuner = Tuner(Trainer(...))
found = tuner.lr_find(task, loader)
found.suggestion(), found.plot("lr.png")
tuner.scale_batch_size(task, datamodule=data)
"""

from expkit.trainer.tuning.callbacks import BatchSizeFinder, LearningRateFinder
from expkit.trainer.tuning.learning_rate import LRFinder
from expkit.trainer.tuning.tuner import Tuner

__all__ = ["BatchSizeFinder", "LRFinder", "LearningRateFinder", "Tuner"]
