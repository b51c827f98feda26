"""Making tensors of data: numbers, nested lists, arrays, other tensors."""

from typing import Any

import numpy as np

from expkit.autograd.handle import Handle, wrap
from expkit.autograd.mode import MODE, tick
from expkit.tensor import devices, dtypes
from expkit.tensor.exchange import from_dlpack, from_numpy
from expkit.tensor.ops.convert import as_dtype, number


def finished(raw: Any, device: Any, requires_grad: bool) -> Any:
    """A new tensor of a raw array that nobody else holds."""
    out = wrap(devices.transfer(raw, devices.resolve(device)))
    if MODE.special:
        out.born = tick()
    return out.requires_grad_() if requires_grad else out


def _holds_arrays(data: Any) -> bool:
    """Whether the data's dtype was chosen by an array (or NumPy number), and not by Python's numbers."""
    if isinstance(data, np.generic):
        return True
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return hasattr(data, "__array_interface__") and not isinstance(data, np.generic)


def _fitting(raw: Any, d: dtypes.dtype) -> Any:
    """Python's integers in dtype d. OverflowError where one does not fit; negative ones wrap around."""
    if dtypes.category(d) == 1 and raw.size:
        limits = dtypes.iinfo(d)
        if int(raw.min()) < (limits.min or -limits.max) or int(raw.max()) > limits.max:
            raise OverflowError(f"tensor(): a number does not fit into {d}: [{limits.min}, {limits.max}]")
    return raw.astype(d.dtype)


def _from_python(data: Any, dtype: Any) -> Any:
    """A raw NumPy array of nested sequences, numbers or an array; Python floats take the default dtype."""
    if isinstance(data, list | tuple) and any(isinstance(x, Handle) for x in data):
        data = [x.tolist() if isinstance(x, Handle) else x for x in data]
    try:
        raw = np.array(data)
    except ValueError as error:
        raise ValueError(f"tensor(): the data is not rectangular: {error}") from None
    if raw.dtype == object or raw.dtype.kind in "USMm":
        raise TypeError(f"tensor(): cannot make a tensor from data of type {type(data).__name__} ({raw.dtype})")
    if not _holds_arrays(data):
        if raw.dtype.kind in "iu":
            return _fitting(raw, dtypes.int64 if dtype is None else dtypes.get(dtype))
        if dtype is None and raw.dtype.kind in "fc":
            dtype = dtypes.get_default_dtype() if raw.dtype.kind == "f" else dtypes.default_complex()
    if dtype is not None:
        return raw.astype(dtypes.get(dtype).dtype)
    dtypes.of(raw)
    return raw


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A new tensor from numbers, nested lists, an array or a tensor; the data is copied."""
    if isinstance(data, Handle):
        copy = as_dtype(data.detach().clone(), data.dtype if dtype is None else dtypes.get(dtype))
        copy = copy.to(devices.resolve(device)) if device is not None else copy
        return copy.requires_grad_() if requires_grad else copy
    if type(data) in devices.ARRAY_LIBRARIES and data.__class__ is not np.ndarray:
        raw = data.astype(dtypes.get(dtype).dtype) if dtype is not None else data.copy()
        return finished(raw, device if device is not None else devices.device_of(raw), requires_grad)
    return finished(_from_python(data, dtype), device, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """As tensor(), but shares memory with an array or tensor where dtype and device are right already."""
    if isinstance(data, Handle):
        out = data if dtype is None else as_dtype(data, dtypes.get(dtype))
        return out if device is None else out.to(device)
    if (isinstance(data, np.ndarray) and dtype is None) or (
        isinstance(data, np.ndarray) and data.dtype == dtypes.get(dtype).dtype
    ):
        return finished(from_numpy(data).raw, device, False)
    return tensor(data, dtype=dtype, device=device)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Any:
    """A tensor of any data; shares its memory where that is possible, unless copy=True.

    ValueError, if copy=False and a copy would be needed.
    """
    made = tensor(obj, dtype=dtype, device=device) if copy else _shared(obj, dtype, device)
    if copy is False and not _same_memory(obj, made):
        raise ValueError("asarray(): can't alias the data without a copy, which copy=False forbids")
    return made.requires_grad_() if requires_grad else made


def _shared(obj: Any, dtype: Any, device: Any) -> Any:
    foreign = not isinstance(obj, Handle | np.ndarray | np.generic) and hasattr(obj, "__dlpack__")
    return as_tensor(from_dlpack(obj) if foreign else obj, dtype, device)


def _same_memory(obj: Any, made: Any) -> bool:
    if isinstance(obj, Handle):
        return made is obj
    return (isinstance(obj, np.ndarray) and np.shares_memory(obj, made.raw)) or hasattr(obj, "__dlpack__")


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A 0-d tensor of a number, of the default dtype."""
    return tensor(number(s), dtype=dtypes.get_default_dtype() if dtype is None else dtype, device=device,
                  requires_grad=requires_grad)  # fmt: skip
