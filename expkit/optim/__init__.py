"""Optimizers, learning-rate schedules and gradient clipping, by PyTorch's names."""

from expkit.optim import schedulers as lr_scheduler
from expkit.optim.adam import Adam, AdamW
from expkit.optim.optimizer import Optimizer
from expkit.optim.rmsprop import RMSprop
from expkit.optim.sgd import SGD
from expkit.tensor.clip import clip_grad_norm_, clip_grad_value_, get_total_norm

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
    "get_total_norm",
    "lr_scheduler",
]
