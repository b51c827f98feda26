"""Elementwise functions of three operands: limits, mixtures, products added; and whether two tensors are close."""

import builtins
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.autograd.tape import apply, apply1
from expkit.tensor import dtypes
from expkit.tensor.ops.arguments import BOOLS, COMPLEX, WHOLE, refuse, require_tensor
from expkit.tensor.ops.convert import as_dtype, in_float32, promote
from expkit.tensor.ops.elementwise import (
    abs,
    add,
    choose,
    div,
    eq,
    gt,
    isfinite,
    isnan,
    le,
    logical_and,
    logical_or,
    lt,
    mul,
    sub,
)
from expkit.tensor.ops.functions import F32, F64
from expkit.tensor.ops.pointwise import clamp_p, where_p


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """Elements limited to [min, max] (numbers or tensors); the gradient is 1 inside and on the limits, 0 outside."""
    if min is None and max is None:
        raise ValueError("clamp: at least one of 'min' or 'max' must not be None")
    limits = [x for x in (min, max) if x is not None]
    if isinstance(input, Handle) and input.raw.dtype in (F32, F64) and all(x.__class__ in (float, int) for x in limits):
        return apply1(clamp_p, input, low=min, high=max)
    x = as_dtype(require_tensor(input, "clamp"), dtypes.result_type(input, *limits))
    refuse(x, "clamp", COMPLEX)
    if not any(isinstance(limit, Handle) for limit in limits):
        refuse(x, "clamp", BOOLS)
        return apply1(clamp_p, x, low=_limit(min, x.raw.dtype), high=_limit(max, x.raw.dtype))
    for limit, beyond in ((min, lt), (max, gt)):
        if limit is not None:
            bound = promote(limit, x)[0]
            x = apply(where_p, logical_or(beyond(x, bound), isnan(bound)), bound, x)
    return x


def _limit(value: Any, d: Any) -> Any:
    """A limit as a number of the dtype: a negative one of unsigned numbers wraps around, as PyTorch's does."""
    if value is None or d.kind not in WHOLE:
        return value
    wrapped = value % 2 ** (8 * d.itemsize) if d.kind == "u" and value < 0 else value
    if not np.iinfo(d).min <= wrapped <= np.iinfo(d).max:
        raise OverflowError(f"clamp: the limit {value} is no number of {dtypes.BY_NUMPY[d]}")
    return int(wrapped)


def clamp_min(input: Any, min: Any) -> Any:
    """Elements no smaller than min."""
    return clamp(input, min=min)


def clamp_max(input: Any, max: Any) -> Any:
    """Elements no larger than max."""
    return clamp(input, max=max)


@in_float32
def lerp(input: Any, end: Any, weight: Any) -> Any:
    """input + weight * (end - input), computed from the nearer end so that weight 1 gives exactly `end`.

    TypeError unless all tensors are of one floating-point or complex dtype.
    """
    refuse(input, "lerp", BOOLS + WHOLE)
    for x, what in ((end, "end"), (weight, "weight")):
        if isinstance(x, Handle) and x.raw.dtype != input.raw.dtype:
            raise TypeError(f"lerp: expected {input.dtype} for {what}, got {x.dtype}")
    way = sub(end, input)
    if not isinstance(weight, Handle):
        return add(input, mul(way, weight)) if builtins.abs(weight) < 0.5 else sub(end, mul(way, 1 - weight))
    return choose(lt(abs(weight), 0.5), add(input, mul(way, weight)), sub(end, mul(way, sub(1, weight))))


def _one_dtype(*operands: Any) -> Any:
    """The operands, promoted together where they differ."""
    first = operands[0].raw.dtype
    return operands if all(x.raw.dtype is first for x in operands) else promote(*operands)


def _times(name: str, product: Any, value: Any) -> Any:
    """value * product. TypeError where value, a number, would make another kind of numbers of it."""
    number = value.item() if isinstance(value, Handle) else value
    if dtypes.category(dtypes.get(type(number))) > max(dtypes.category(product.dtype), 1):
        raise TypeError(f"{name}: value={number} is no factor for a product of {product.dtype}")
    return product if number == 1 else mul(product, value)


@in_float32
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value * tensor1 * tensor2."""
    x, a, b = _one_dtype(input, tensor1, tensor2)
    return add(x, _times("addcmul", mul(a, b), value))


@in_float32
def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value * tensor1 / tensor2. TypeError for integers."""
    if all(require_tensor(x, "addcdiv").raw.dtype.kind in BOOLS + WHOLE for x in (tensor1, tensor2)):
        raise TypeError("addcdiv: whole numbers are not divided; convert with .float(), or use div(rounding_mode=...)")
    x, a, b = _one_dtype(input, tensor1, tensor2)
    return add(x, _times("addcdiv", div(a, b), value))


def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """True where |input - other| <= atol + rtol * |other| (or both are the same infinity)."""
    for x in (input, other):
        require_tensor(x, "isclose")
    if input.raw.dtype != other.raw.dtype:
        raise TypeError(f"isclose: both tensors must have one dtype, got {input.dtype} and {other.dtype}")
    if rtol < 0 or atol < 0:
        raise ValueError(f"isclose: rtol and atol must not be negative, got {rtol} and {atol}")
    x, y = input, other
    if x.raw.dtype.kind in BOOLS + WHOLE:
        x, y = (as_dtype(v, dtypes.float64) for v in (x, y))
    close = logical_or(eq(x, y), logical_and(isfinite(y), le(abs(sub(x, y)), add(mul(abs(y), rtol), atol))))
    return logical_or(close, logical_and(isnan(x), isnan(y))) if equal_nan else close
