"""What the losses share: the reduction, and the checks of targets."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import update_wrapper
from math import prod
from typing import Any

import expkit.tensor as T
from expkit.errors import DataError, ShapeError
from expkit.tensor import Tensor
from expkit.tensor.composite import fused
from expkit.tensor.ops.kinds import broadcast_shapes

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda loss: loss.mean(),
    "sum": lambda loss: loss.sum(),
    "none": lambda loss: loss,
}


class TargetError(DataError, RuntimeError):
    """Targets of the wrong kind or value (a RuntimeError too, as in PyTorch)."""


class TargetRangeError(TargetError, IndexError):
    """A class index that is no class (an IndexError too, as in PyTorch and in compiled functions)."""


def check_reduction(reduction: str) -> None:
    """ValueError for a reduction that there is not."""
    if reduction not in REDUCTIONS:
        legal = ", ".join(map(repr, REDUCTIONS))
        raise ValueError(f"{reduction} is not a valid value for reduction: expected one of {legal}")


def reduced(loss: Tensor, reduction: str, weight: Tensor | None = None) -> Tensor:
    """The elements of `loss`, times `weight` where given, as their mean, their sum or ("none") themselves."""
    check_reduction(reduction)
    return REDUCTIONS[reduction](loss if weight is None else loss * weight)


def chosen(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """The reduction, or what PyTorch's older arguments say instead: both default to True where one is given."""
    if size_average is None and reduce is None:
        return reduction
    found = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(f"size_average and reduce are deprecated, please use reduction={found!r} instead", stacklevel=3)
    return found


def require(name: str, *tensors: Any, floating: bool = True) -> None:
    """TypeError for what is no Tensor, and unless one of them is floating-point, where that is needed."""
    for x in tensors:
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: expected Tensors, got a {type(x).__name__}")
    if floating and not any(x.dtype.is_floating_point for x in tensors):
        raise TypeError(f"{name}: expected floating-point Tensors, got {tensors[0].dtype}. Use .float().")


def same_shape(name: str, input: Tensor, target: Tensor) -> None:
    """ShapeError unless prediction and target have one shape."""
    have, wanted = tuple(target.shape), tuple(input.shape)
    if have != wanted:
        hint = f" Reshape it: target.reshape({', '.join(map(str, wanted))})." if prod(have) == prod(wanted) else ""
        raise ShapeError(f"{name}: the target has shape {have}, but the input has {wanted}; they must be equal.{hint}")


def broadcast(name: str, input: Tensor, target: Tensor) -> list[Tensor]:
    """Both, broadcast against each other with PyTorch's warning where their shapes differ."""
    if input.shape == target.shape:
        return [input, target]
    warnings.warn(
        f"{name}: the target has shape {tuple(target.shape)}, the input {tuple(input.shape)}. They are broadcast, "
        "which is likely to give wrong results: make their shapes equal.",
        stacklevel=3,
    )
    shape = broadcast_shapes(tuple(input.shape), tuple(target.shape))
    return [T.broadcast_to(x, shape) for x in (input, target)]


class ElementwiseLoss:
    """The loss of each element, written plainly; its sum and mean are one pass as well, and so are the gradients.

    loss(input, target, *numbers, reduction=..., weight=...), input and target of one shape.
    """

    def __init__(self, fn: Callable[..., Tensor]) -> None:
        self._each = fused(fn)
        self._sum = fused(update_wrapper(lambda *args, **kw: fn(*args, **kw).sum(), fn))

    def __call__(
        self, input: Tensor, target: Tensor, *numbers: Any, reduction: str, weight: Tensor | None = None
    ) -> Tensor:
        if reduction == "none" or weight is not None or reduction not in REDUCTIONS:
            return reduced(self._each(input, target, *numbers), reduction, weight)
        total = self._sum(input, target, *numbers)
        return total if reduction == "sum" else total / prod(input.shape)


def elementwise_loss(fn: Callable[..., Tensor]) -> ElementwiseLoss:
    """See above."""
    return ElementwiseLoss(fn)
