"""What the losses share: the reduction, and the checks of targets.

Input and target must have equal shapes (class indices aside): PyTorch broadcasts with a warning, which turns an
(N, 1) prediction and an (N,) target into N x N differences without anyone noticing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from math import prod
from typing import Any

from expkit.errors import DataError, ShapeError
from expkit.tensor import Tensor
from expkit.tensor.composite import fused

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda loss: loss.mean(),
    "sum": lambda loss: loss.sum(),
    "none": lambda loss: loss,
}


class TargetError(DataError, RuntimeError):
    """Targets of the wrong kind or value (a RuntimeError too, as in PyTorch)."""


def reduce(loss: Tensor, reduction: str, weight: Tensor | None = None) -> Tensor:
    """The elements of `loss`, times `weight` where given, as their mean, their sum or ("none") themselves."""
    if reduction not in REDUCTIONS:
        legal = ", ".join(map(repr, REDUCTIONS))
        raise ValueError(f"{reduction} is not a valid value for reduction: expected one of {legal}")
    return REDUCTIONS[reduction](loss if weight is None else loss * weight)


def same_shape(name: str, input: Tensor, target: Tensor) -> None:
    """ShapeError unless prediction and target have one shape."""
    have, wanted = tuple(target.shape), tuple(input.shape)
    if have != wanted:
        hint = f" Reshape it: target.reshape({', '.join(map(str, wanted))})." if prod(have) == prod(wanted) else ""
        raise ShapeError(f"{name}: the target has shape {have}, but the input has {wanted}; they must be equal.{hint}")


class ElementwiseLoss:
    """The loss of each element, written plainly; its sum and mean are one pass as well, and so are the gradients.

    loss("its name", input, target, *numbers, reduction=..., weight=...)
    """

    def __init__(self, fn: Callable[..., Tensor]) -> None:
        self._each = fused(fn)
        self._sum = fused(update_wrapper(lambda *args, **kw: fn(*args, **kw).sum(), fn))

    def __call__(
        self, name: str, input: Tensor, target: Tensor, *numbers: Any, reduction: str, weight: Tensor | None = None
    ) -> Tensor:
        same_shape(name, input, target)
        if reduction == "none" or weight is not None or reduction not in REDUCTIONS:
            return reduce(self._each(input, target, *numbers), reduction, weight)
        total = self._sum(input, target, *numbers)
        return total if reduction == "sum" else total / prod(input.shape)


def elementwise_loss(fn: Callable[..., Tensor]) -> ElementwiseLoss:
    """See above."""
    return ElementwiseLoss(fn)
