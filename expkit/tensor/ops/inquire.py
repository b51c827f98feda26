"""Questions about tensors, answered with Python's numbers."""

from typing import Any

from expkit.autograd.handle import Handle
from expkit.tensor.ops.arguments import require_tensor
from expkit.tensor.ops.ternary import isclose


def is_tensor(obj: Any) -> bool:
    """Whether it is a Tensor."""
    return isinstance(obj, Handle)


def is_floating_point(input: Any) -> bool:
    """Whether the elements are floating-point numbers."""
    return bool(require_tensor(input, "is_floating_point()").dtype.is_floating_point)


def is_signed(input: Any) -> bool:
    """Whether the elements can be negative."""
    return bool(require_tensor(input, "is_signed()").dtype.is_signed)


def is_nonzero(input: Any) -> bool:
    """Whether the only element is not zero. RuntimeError for other numbers of elements."""
    return bool(require_tensor(input, "is_nonzero()"))


def numel(input: Any) -> int:
    """How many elements there are."""
    return int(require_tensor(input, "numel()").numel())


def is_same_size(input: Any, other: Any) -> bool:
    """Whether both have the same shape."""
    return tuple(require_tensor(input, "is_same_size()").shape) == tuple(require_tensor(other, "is_same_size()").shape)


def equal(input: Any, other: Any) -> bool:
    """Whether both have the same shape and the same elements."""
    same = is_same_size(input, other)
    return same and bool((input.detach() == other.detach()).all())


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are close: |input - other| <= atol + rtol * |other|."""
    if require_tensor(input, "allclose()").dtype is not require_tensor(other, "allclose()").dtype:
        raise RuntimeError(f"allclose(): {input.dtype} and {other.dtype} are not the same dtype")
    return bool(isclose(input.detach(), other.detach(), rtol=rtol, atol=atol, equal_nan=equal_nan).all())
