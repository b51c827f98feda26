"""Automatic differentiation: the primitive record, the tape, forward mode, vmap and tracing. Knows no array library."""

from expkit.autograd import anomaly as anomaly_mode
from expkit.autograd import forward_ad, function, functional, graph
from expkit.autograd import mode as grad_mode
from expkit.autograd.anomaly import (
    detect_anomaly,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    set_detect_anomaly,
)
from expkit.autograd.check import GradcheckError, gradcheck, gradgradcheck
from expkit.autograd.function import Function, once_differentiable
from expkit.autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from expkit.autograd.reverse import backward, grad

__all__ = [
    "Function", "GradcheckError", "anomaly_mode", "backward",
    "detect_anomaly", "enable_grad", "forward_ad", "function", "functional",
    "grad", "grad_mode", "gradcheck", "gradgradcheck", "graph", "inference_mode", "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled", "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "once_differentiable",
    "set_detect_anomaly", "set_grad_enabled", "set_multithreading_enabled",
]  # fmt: skip
