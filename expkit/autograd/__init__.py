"""Automatic differentiation: the primitive record, the tape, forward mode, vmap and tracing. Knows no array library."""

from expkit.autograd.check import gradcheck, gradgradcheck
from expkit.autograd.function import Function
from expkit.autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from expkit.autograd.reverse import backward, grad

__all__ = [
    "Function", "backward", "enable_grad", "grad", "gradcheck", "gradgradcheck", "inference_mode",
    "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "set_grad_enabled",
]  # fmt: skip
