"""Public functions of elementwise primitives: they promote by PyTorch's rules, and say which dtypes they refuse.

`refuses` holds the kinds of dtypes that an operation is not for, in NumPy's letters: BOOLS, WHOLE, FLOATS, COMPLEX.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle, wrap
from expkit.autograd.tape import apply1, apply2
from expkit.tensor import dtypes
from expkit.tensor.ops.arguments import refuse, require_tensor
from expkit.tensor.ops.convert import floating, number, promote2

F32, F64 = dtypes.float32.dtype, dtypes.float64.dtype


def scalar(x: Any) -> Any:
    """A Python number as a 0-d tensor on the CPU. TypeError for anything else."""
    return wrap(np.asarray(number(x), dtypes.get(type(number(x))).dtype))


def unary_function(
    prim: Any, doc: str, *, floats: bool = True, refuses: str = "", name: str | None = None
) -> Callable[..., Any]:
    """The function of one tensor; floats: whole numbers and bools become floating-point first."""
    name = name or prim.name

    def fn(input: Any) -> Any:
        require_tensor(input, name)
        if refuses and input.raw.dtype.kind in refuses:
            refuse(input, name, refuses)
        return apply1(prim, floating(input) if floats else input)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn


def binary_function(
    prim: Any,
    doc: str,
    *,
    floats: bool = False,
    refuses: str = "",
    numbers: str = "input other",
    name: str | None = None,
) -> Callable[..., Any]:
    """The function of two operands, broadcast; `refuses` holds common dtypes, `numbers` says who may be one."""
    name = name or prim.name
    second, both = "other" in numbers, "both" in numbers
    tensors = [i for i, operand in enumerate(("input", "other")) if operand not in numbers]

    def fn(input: Any, other: Any) -> Any:
        if isinstance(input, Handle):
            d = input.raw.dtype
            if (d is F32 or d is F64) and (
                other.raw.dtype is d if isinstance(other, Handle) else other.__class__ is float and second
            ):
                return apply2(prim, input, other)
        for i in tensors:
            require_tensor((input, other)[i], name)
        if both and not isinstance(input, Handle) and not isinstance(other, Handle):
            input = scalar(input)
        x, y = promote2(input, other, floats)
        if refuses:
            refuse(x if isinstance(x, Handle) else y, name, refuses)
        return apply2(prim, x, y)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn
