"""Optimizers, learning-rate schedules and gradient clipping, by PyTorch's names."""

from expkit.optim import lr_scheduler, swa_utils
from expkit.optim.adam import Adam, AdamW
from expkit.optim.adaptive import ASGD, Adadelta, Adagrad, Adamax, NAdam, RAdam, Rprop
from expkit.optim.large import LAMB, Adafactor, Lion, Muon
from expkit.optim.lbfgs import LBFGS
from expkit.optim.optimizer import Optimizer
from expkit.optim.rmsprop import RMSprop
from expkit.optim.sgd import SGD
from expkit.tensor.clipping import clip_grad_norm_, clip_grad_value_, get_total_norm

__all__ = [
    "ASGD", "LAMB", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "Muon",
    "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop", "clip_grad_norm_", "clip_grad_value_",
    "get_total_norm", "lr_scheduler", "swa_utils",
]  # fmt: skip
