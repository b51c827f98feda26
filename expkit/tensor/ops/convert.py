"""dtype conversion, promotion of operands, transfer between devices."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle, Value, wrap
from expkit.autograd.tape import apply1
from expkit.tensor import devices, dtypes
from expkit.tensor.generated.pointwise import cast as by_kernel
from expkit.tensor.ops.arguments import require_tensor
from expkit.tensor.ops.kinds import linear


@by_kernel
def _astype(x: Any, *, dtype: Any) -> Any:
    return (x.real if x.dtype.kind == "c" and np.dtype(dtype).kind not in "cb" else x).astype(dtype)


def _cast_shape(x: Aval, *, dtype: Any) -> Aval:
    return Aval(x.shape, dtype, x.device)


convert_p = linear(  # between floating-point and complex dtypes; a complex number's real part goes to the former
    "convert",
    _astype,
    _cast_shape,
    lambda g, _x, *, dtype: convert_p(g, dtype=np.dtype(_x.dtype)),
    batch_kw=lambda size, kw: kw,
)
cast_p = linear("cast", _astype, _cast_shape, None, batch_kw=lambda size, kw: kw)  # to or from integers: no gradient

to_device_p = linear(
    "to_device",
    lambda x, *, device: devices.transfer(x, device),
    lambda x, *, device: Aval(x.shape, x.dtype, device),
    lambda g, _x, *, device: to_device_p(g, device=devices.as_device(_x.device)),
    batch_kw=lambda size, kw: kw,
)


def as_dtype(x: Any, d: dtypes.dtype) -> Any:
    """The tensor in dtype d: itself where it has it."""
    have = dtypes.of(x.raw)
    if have is d:
        return x
    smooth = (have.is_floating_point or have.is_complex) and (d.is_floating_point or d.is_complex)
    return apply1(convert_p if smooth else cast_p, x, dtype=d.dtype)


def raw_convert(g: Any, dtype: Any) -> Any:
    """The tape's hook: a gradient in its input's dtype."""
    return convert_p(g, dtype=np.dtype(dtype))


def constant(value: Any, d: dtypes.dtype, like: Any) -> Any:
    """A 0-d tensor of a Python number, on the device of `like`."""
    raw = like.raw
    xp = np if isinstance(raw, Value) else devices.xp_of(raw)
    if d.dtype.kind in "iu" and isinstance(value, int):  # wraps around, as PyTorch's scalars do
        value = np.asarray(value % 2 ** (8 * d.itemsize), np.uint64).astype(d.dtype).item()
    return wrap(np.asarray(value, d.dtype) if xp is np else xp.full((), value, d.dtype))  # on a GPU: no transfer


def number(x: Any) -> Any:
    """A Python number: x itself, or a NumPy number's value. TypeError for anything else."""
    if isinstance(x, np.generic):
        if x.dtype.kind in "biufc":
            return x.item()
    elif isinstance(x, bool | int | float | complex):
        return x
    raise TypeError(f"expected a Tensor or a number, got {type(x).__name__}")


def promote(*operands: Any) -> list[Any]:
    """All operands as tensors of their common dtype. At least one must be a Tensor."""
    like = next((x for x in operands if isinstance(x, Handle)), None)
    if like is None:
        raise TypeError(f"expected a Tensor, got {', '.join(type(x).__name__ for x in operands)}")
    operands = tuple(x if isinstance(x, Handle) else number(x) for x in operands)
    d = dtypes.result_type(*operands)
    return [as_dtype(x, d) if isinstance(x, Handle) else constant(x, d, like) for x in operands]


def promote2(x: Any, y: Any, floats: bool = False) -> tuple[Any, Any]:
    """Two operands in their common dtype (floats: a floating-point one); a Python number may stay one."""
    x = x if isinstance(x, Handle) else number(x)
    y = y if isinstance(y, Handle) else number(y)
    if not isinstance(x, Handle) and not isinstance(y, Handle):
        raise TypeError(f"expected a Tensor, got {type(x).__name__} and {type(y).__name__}")
    d = dtypes.result_type(x, y)
    if floats and not (d.is_floating_point or d.is_complex):
        d = dtypes.get_default_dtype()
    return _operand(x, d, y), _operand(y, d, x)


_WEAK = {dtypes.float32, dtypes.float64, dtypes.int64, dtypes.complex64, dtypes.complex128}


def _operand(x: Any, d: dtypes.dtype, other: Any) -> Any:
    if isinstance(x, Handle):
        return as_dtype(x, d)
    if d in _WEAK and not isinstance(x, bool):
        return x
    return constant(x, d, other)


def floating(x: Any) -> Any:
    """The tensor itself if it is floating-point or complex, else in the default dtype."""
    d = dtypes.of(x.raw)
    return x if d.is_floating_point or d.is_complex else as_dtype(x, dtypes.get_default_dtype())


def in_float32(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn, computed in float32 where its tensors make two-byte floats and no dtype is asked for, and rounded once."""

    @wraps(fn)
    def wrapped(*args: Any, **kw: Any) -> Any:
        first = args[0] if args else next(iter(kw.values()), None)
        d = dtypes.of(require_tensor(first, fn.__name__).raw)
        if d.itemsize > 2 or not d.is_floating_point or kw.get("dtype") is not None:
            return fn(*args, **kw)
        if dtypes.result_type(*(x for x in (*args, *kw.values()) if isinstance(x, Handle))) is not d:
            return fn(*args, **kw)

        def wide(x: Any) -> Any:
            return as_dtype(x, dtypes.float32) if isinstance(x, Handle) and dtypes.of(x.raw) is d else x

        out = fn(*map(wide, args), **{name: wide(x) for name, x in kw.items()})
        return tuple(as_dtype(y, d) for y in out) if isinstance(out, tuple) else as_dtype(out, d)

    return wrapped
