"""Learning-rate schedules: PyTorch's, and a warm-up followed by a cosine in one entry.

A schedule sets `lr` in the optimizer's parameter groups; `step()` counts epochs or optimizer steps, whichever it is
called after. What a Trainer does without being told otherwise is said by two class attributes: `interval` ("epoch" or
"step") and `monitor` (the metric whose value `step` takes; None where it takes none).

Every schedule but the lambda multiplies the learning rate of the moment, so several can be stepped one after another.
"""

from expkit.optim.schedulers.base import LRScheduler
from expkit.optim.schedulers.cyclic import (
    ChainedScheduler,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    MultiplicativeLR,
    OneCycleLR,
    PolynomialLR,
)
from expkit.optim.schedulers.decay import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    NoSchedule,
    StepLR,
)
from expkit.optim.schedulers.plateau import ReduceLROnPlateau
from expkit.optim.schedulers.sequential import SequentialLR, WarmupCosineLR
from expkit.optim.schedulers.swa import SWALR

__all__ = [
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "NoSchedule",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmupCosineLR",
]
