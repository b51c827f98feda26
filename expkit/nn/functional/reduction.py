"""What the losses share: the reduction, and the checks of targets.

Input and target must have equal shapes (class indices aside): PyTorch broadcasts with a warning, which turns an
(N, 1) prediction and an (N,) target into N x N differences without anyone noticing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from expkit.errors import DataError, ShapeError
from expkit.tensor import Tensor

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
