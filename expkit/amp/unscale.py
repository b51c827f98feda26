"""Dividing gradients by the loss's scale, with a look at whether they are finite: in one go where there are kernels."""

from __future__ import annotations

from math import isfinite
from typing import Any

from expkit.autograd.mode import MODE
from expkit.tensor import Tensor, float16, no_grad, stack, tensor
from expkit.tensor import isfinite as are_finite
from expkit.tensor.generated.update import apply_all, sum_all
from expkit.tensor.ops.segments import record_all, record_sum


def scale_all(grads: list[Tensor], factor: Tensor) -> Tensor:
    """Multiplies gradients by a factor (0-d) in place. Returns whether all were finite, as a 0-d tensor on the CPU.

    ValueError for gradients of float16.
    """
    alike: dict[Any, list[Tensor]] = {}
    for grad in grads:
        if grad.dtype is float16:
            raise ValueError(
                "GradScaler: gradients of float16 parameters cannot be unscaled: keep parameters in float32."
            )
        alike.setdefault((grad.dtype, grad.device), []).append(grad)
    flags = []
    with no_grad():
        for (_, device), some in alike.items():
            flags.append(_finite(some).cpu())
            if not (record_all("scale", [some], factor) or _scaled(some, factor)):
                for grad in some:
                    grad.mul_(factor.to(device))
        return flags[0] if len(flags) == 1 else stack(flags).all()


def _finite(grads: list[Tensor]) -> Tensor:
    total = sum_all("nothing", grads)
    if total is not None:
        return tensor(isfinite(total))
    recorded = record_sum("nothing", grads)
    if recorded is not None:
        return are_finite(recorded)
    whole = [are_finite(grad).all() for grad in grads]
    return whole[0] if len(whole) == 1 else stack(whole).all()


def _scaled(grads: list[Tensor], factor: Tensor) -> bool:
    """By the kernel for arrays, if it is for them."""
    return not grads[0].is_cuda and not MODE.special and apply_all("scale", [grads], factor.item())
