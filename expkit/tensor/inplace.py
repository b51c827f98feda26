"""In-place operations: each is its out-of-place form followed by a write."""

from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.autograd.inplace import before_write, touch, write
from expkit.autograd.mode import MODE
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.generated.inplace import fill as by_kernel
from expkit.tensor.generated.inplace import update
from expkit.tensor.generated.pointwise import HEAVY, LIGHT
from expkit.tensor.ops.convert import as_dtype, constant, to_device_p
from expkit.tensor.ops.elementwise import div, mul, sub
from expkit.tensor.ops.movement import expand, overwrite_p


def assign(x: Any, value: Any, *, fresh: bool = True) -> Any:
    """x[...] = value (a Tensor), broadcast and converted; returns x. Errors when the result would not fit into x.

    fresh: nobody else holds `value`.
    """
    have, want = dtypes.of(value.raw), dtypes.of(x.raw)
    if have is not want:
        if not dtypes.can_cast(have, want):
            raise TypeError(f"result type {have} can't be cast to the desired output type {want}")
        value = as_dtype(value, want)
    if tuple(value.shape) != tuple(x.shape):
        if value.ndim > x.ndim:
            raise ShapeError(f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(value.shape)}")
        try:
            value = expand(value, *x.shape)
        except ShapeError:
            raise ShapeError(
                f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(value.shape)}"
            ) from None
    write(x, value, overwrite_p, fresh=fresh)
    return x


def copy_(x: Any, src: Any, non_blocking: bool = False) -> Any:
    """Copies src into x, broadcasting and converting dtype and device."""
    if not isinstance(src, Handle):
        src = type(x).of(src, like=x)
    value = as_dtype(src, dtypes.of(x.raw))
    if value.device != x.device and not MODE.special:
        value = to_device_p(value, device=x.device)
    return assign(x, value, fresh=value is not src)


def fill_(x: Any, value: Any) -> Any:
    """Sets every element to one value (a number or 0-d tensor)."""
    if isinstance(value, Handle):
        return copy_(x, value)
    number, raw = constant(value, dtypes.of(x.raw), x), x.raw
    if raw.__class__ is not np.ndarray or not raw.flags.writeable or not _alone(x):
        return assign(x, number)
    touch(x)
    if not by_kernel(raw, number.raw):
        raw[...] = number.raw
    return x


def zero_(x: Any) -> Any:
    """Sets every element to zero."""
    return fill_(x, 0)


def inplace(fn: Callable[..., Any], ufunc: Any = None) -> Callable[..., Any]:
    """`fn_`: the in-place form of an operation on its first argument; `ufunc` writes into the array directly."""
    name = fn.__name__

    def method(self: Any, *args: Any, **kw: Any) -> Any:
        if ufunc is not None and len(args) == 1 and not kw and _direct(self, args[0], ufunc):
            return self
        if _in_one_pass(self, *_request(name, args, kw)):
            return self
        if not MODE.grad:
            return assign(self, fn(self, *args, **kw))
        return assign(self, before_write(self, lambda old: fn(old, *args, **kw)))

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"{name}(), in place. Returns the tensor."
    return method


def _alone(x: Any) -> bool:
    """Whether a write to x is a matter of memory alone: nothing of it is recorded."""
    mode = MODE
    if mode.special or (mode.grad and x.requires_grad):
        return False
    return not mode.grad or x.chain is None or bool(x.chain.tracked)


def _unrecorded(x: Any, others: tuple[Any, ...]) -> bool:
    """Whether x = f(x, *others) is a matter of memory alone: nothing is recorded, and all are floats of one dtype."""
    mode, raw = MODE, x.raw
    if raw.dtype.kind != "f" or not _alone(x):
        return False
    for other in others:
        if isinstance(other, Handle):
            if other.raw.dtype is not raw.dtype or (mode.grad and other.requires_grad):
                return False
            if other.raw.__class__ is not raw.__class__:
                return False
        elif other.__class__ not in (float, int):
            return False
    return True


def _direct(x: Any, other: Any, ufunc: Any) -> bool:
    """x = ufunc(x, other) in x's own memory, where that is a matter of memory alone and x is small."""
    raw = x.raw
    if raw.__class__ is np.ndarray and (raw.size >= LIGHT or not raw.flags.writeable):
        return False
    if other.__class__ is int or not _unrecorded(x, (other,)):
        return False
    if isinstance(other, Handle):
        other = other.raw
        if other.shape != raw.shape and other.ndim:
            return False
    touch(x)
    ufunc(raw, other, raw)
    return True


def _request(name: str, args: tuple[Any, ...], kw: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """What a call asks for: the name of an in-place kernel and its operands. ("", ()) if none has such arguments."""
    if name in ("add", "sub") and len(args) == 1 and kw.keys() == {"alpha"}:
        return name, (args[0], kw["alpha"])
    if name == "clamp" and len(args) <= 2 and kw.keys() <= {"min", "max"}:
        low, high = (*args, kw.get("min"), kw.get("max"))[:2] if not args else (*args, kw.get("max"))[:2]
        return ("clamp_max", (high,)) if low is None else ("clamp_min", (low,)) if high is None else (name, (low, high))
    return ("", ()) if kw else (name, args)


def _in_one_pass(x: Any, name: str, others: tuple[Any, ...]) -> bool:
    """x = name(x, *others) by a kernel, where that is a matter of memory alone and x is large."""
    if MODE.special or x.raw.__class__ is not np.ndarray or x.raw.size < HEAVY or not _unrecorded(x, others):
        return False
    raws = [other.raw if isinstance(other, Handle) else other for other in others]
    if not update(name, x.raw, *raws):
        return False
    touch(x)
    return True


def addcmul_(x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """x += value * tensor1 * tensor2."""
    if _in_one_pass(x, "addcmul", (tensor1, tensor2, value)):
        return x
    product = mul(tensor1, tensor2)
    return x.add_(product if value == 1 else mul(product, value))


def addcdiv_(x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """x += value * tensor1 / tensor2."""
    if _in_one_pass(x, "addcdiv", (tensor1, tensor2, value)):
        return x
    return x.add_(mul(div(tensor1, tensor2), value))


def lerp_(x: Any, end: Any, weight: Any) -> Any:
    """x += weight * (end - x)."""
    if _in_one_pass(x, "lerp", (end, weight)):
        return x
    return x.add_(mul(sub(end, x), weight))
