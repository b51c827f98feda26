"""What the tape must know of arrays: wrapping, sharing, summing, and turning an array library's errors into ours."""

import operator
import warnings
from typing import Any

import numpy as np

from expkit.autograd import handle
from expkit.autograd.handle import Aval, Handle, Value
from expkit.autograd.mode import MODE, open_trace
from expkit.errors import AutogradError, DeviceError, ExpkitError, LinAlgError, ShapeError
from expkit.tensor.devices import ARRAY_LIBRARIES, CPU, as_device, device, device_of, transfer, xp_for, xp_of
from expkit.tensor.generated import copy as by_kernel
from expkit.tensor.generated.inplace import update
from expkit.tensor.generated.pointwise import elementwise

# IEEE semantics without warnings, as PyTorch: 1/0 is inf. np.errstate around each operation would cost more than most
# operations; seterr covers the importing thread, the filter other threads.
np.seterr(all="ignore")
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"expkit\.")


def as_raw(x: Any) -> Any:
    """A raw array from a result that is none: NumPy turns 0-d results into scalars."""
    if isinstance(x, np.generic):
        return np.asarray(x)
    if isinstance(x, Value):
        return x
    if isinstance(x, bool | int | float | complex):
        return np.asarray(x)
    if x.__class__ in ARRAY_LIBRARIES:
        return x
    raise TypeError(f"an operation returned {type(x).__name__}, which is no array")


def shares(a: Any, b: Any) -> bool:
    """Whether b, made from a by a view operation, looks into a's memory (most Values behave as if)."""
    if isinstance(b, Value):
        return a.looked_into(b) if isinstance(a, Value) else True
    base = b.base
    if base is None:
        return b is a
    if base is a or base is a.base:
        return True
    return bool(np.may_share_memory(a, b)) if a.__class__ is np.ndarray else False


def owned(x: Any, like: Any) -> Any:
    """The array if it is a contiguous one that owns its memory, a copy otherwise.

    Where `like` lies in memory in another order and without gaps, the copy lies as it does.
    """
    if x.__class__ is like.__class__ and not like.flags.c_contiguous:
        new = xp_of(like).empty_like(like, dtype=x.dtype)
        if new.strides == like.strides:
            new[...] = x
            return new
    if x.base is None and x.flags.c_contiguous:
        return x
    return xp_of(x).ascontiguousarray(x) if x.base is None else x.copy()


plus = elementwise("add", operator.add)


def add_into(a: Any, b: Any) -> None:
    """a += b, two arrays of one shape."""
    if not update("add", a, b):
        a += b


def has_nan(x: Any) -> bool:
    """Whether one of the values is NaN; False for an interpreter's value, which has none to look at."""
    xp = ARRAY_LIBRARIES.get(x.__class__)
    return xp is not None and x.dtype.kind not in "iub" and bool(xp.isnan(x).any())


def write(target: Any, value: Any) -> None:
    """Copies into the target's memory, converting the dtype and broadcasting."""
    if not target.size:
        return
    if value.__class__ is not target.__class__:
        value = transfer(value, device_of(target)) if value.ndim == 0 else _refuse(target, value)
    if target.__class__ is np.ndarray and not target.flags.writeable:
        target = _unlocked(target)
    by_kernel.write(target, value)


def _unlocked(target: Any) -> Any:
    """A part of an expanded array in which no elements share a place, as an array that can be written."""
    if not any(n > 1 and step == 0 for n, step in zip(target.shape, target.strides, strict=True)):
        try:
            target = target.view()
            target.flags.writeable = True
        except ValueError:  # the memory itself is read-only
            target.flags.writeable = False
        if target.flags.writeable and not _overlaps(target):
            return target
    raise AutogradError(
        "in-place write to a tensor of which several elements share one place in memory (expand), or whose array "
        "is read-only; clone() it first"
    )


def _overlaps(x: Any) -> bool:
    """Whether elements of an array may share a place: steps that do not jump over what lies within them."""
    reach = x.itemsize
    for n, step in sorted(((n, abs(s)) for n, s in zip(x.shape, x.strides, strict=True) if n > 1), key=lambda p: p[1]):
        if step < reach:
            return True
        reach = step * (n - 1) + reach
    return False


def _refuse(a: Any, b: Any) -> Any:
    raise DeviceError(
        f"expected all tensors to be on the same device, but found {device_of(a)} and {device_of(b)}. "
        "Move one with .to(device)."
    )


def array_of(where: device, dtype: Any, shape: tuple[int, ...], fill: Any) -> Any:
    """A new raw array filled with one value; in an abstract trace a value without memory."""
    trace = open_trace() if MODE.special else None
    if trace is not None and trace.abstract:
        return trace.make(Aval(tuple(shape), np.dtype(dtype), where.type))
    xp = xp_for(where)
    return xp.zeros(shape, dtype) if fill == 0 else xp.full(shape, fill, dtype)


def zeros(aval: Aval) -> Any:
    return array_of(as_device(aval.device), aval.dtype, aval.shape, 0)


def ones(aval: Aval) -> Any:
    return array_of(as_device(aval.device), aval.dtype, aval.shape, 1)


def zeros_like(x: Any, shape: tuple[int, ...] | None = None) -> Any:
    """Raw zeros on x's device and of its dtype, x being raw, a Value or a Tensor; what gradient rules start from."""
    raw = x.raw if isinstance(x, Handle) else x
    found = zeros(Aval(tuple(raw.shape if shape is None else shape), np.dtype(raw.dtype), getattr(raw, "device", None)))
    return handle.wrap(found) if isinstance(x, Handle) else found


def _is_array(x: Any) -> bool:
    return x.__class__ in ARRAY_LIBRARIES


def explain(prim: Any, args: tuple[Any, ...], kw: dict[str, Any], error: Exception) -> Any:
    """A result after all (0-d CPU tensors mix with GPU tensors), or an error that says what does not fit."""
    if isinstance(error, ExpkitError):
        raise error
    raws: list[Any] = [a.raw if isinstance(a, Handle) else a for a in args]
    arrays = [r for r in raws if _is_array(r)]
    places = {device_of(r) for r in arrays}
    if len(places) > 1:
        main = next((device_of(r) for r in arrays if len(r.shape)), device_of(arrays[0]))
        moved = [transfer(r, main) if _is_array(r) and r.ndim == 0 and device_of(r) == CPU else r for r in raws]
        if len({device_of(r) for r in moved if _is_array(r)}) == 1:
            return prim.bind(*moved, **kw)
        raise DeviceError(
            f"{prim.name}: expected all tensors to be on the same device, "
            f"but found {' and '.join(sorted(map(str, places)))}. "
            "Move one with .to(device)."
        ) from None
    shapes = [f"{tuple(r.shape)}" for r in raws if hasattr(r, "shape")]
    if isinstance(error, np.linalg.LinAlgError):
        raise LinAlgError(f"{prim.name}: {error} (operands of shape {' and '.join(shapes)})") from None
    if isinstance(error, ValueError | IndexError) and shapes:
        kind = IndexError if isinstance(error, IndexError) else ShapeError
        raise kind(f"{prim.name}: shapes {' and '.join(shapes)} do not fit{_parameters(kw)}: {error}") from None
    raise error


def _parameters(kw: dict[str, Any]) -> str:
    return f" ({', '.join(f'{k}={v}' for k, v in kw.items())})" if kw else ""
