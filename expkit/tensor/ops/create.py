"""Making tensors: from data, filled, in ranges."""

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle, wrap
from expkit.autograd.mode import MODE, tick
from expkit.errors import ShapeError
from expkit.tensor import devices, dtypes
from expkit.tensor.ops.convert import as_dtype, require_tensor
from expkit.tensor.ops.movement import sizes


def _finish(raw: Any, device: Any, requires_grad: bool) -> Any:
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
    """Python's integers in dtype d. OverflowError where one does not fit."""
    if dtypes.category(d) == 1 and raw.size:
        limits = dtypes.iinfo(d)
        if int(raw.min()) < limits.min or int(raw.max()) > limits.max:
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
        return _finish(raw, device if device is not None else devices.device_of(raw), requires_grad)
    return _finish(_from_python(data, dtype), device, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """As tensor(), but shares memory with an array or tensor where dtype and device are right already."""
    if isinstance(data, Handle):
        out = data if dtype is None else as_dtype(data, dtypes.get(dtype))
        return out if device is None else out.to(device)
    if (isinstance(data, np.ndarray) and dtype is None) or (
        isinstance(data, np.ndarray) and data.dtype == dtypes.get(dtype).dtype
    ):
        return _finish(from_numpy(data).raw, device, False)
    return tensor(data, dtype=dtype, device=device)


def from_numpy(ndarray: np.ndarray) -> Any:
    """A tensor that shares the array's memory."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.of(ndarray)
    return wrap(ndarray.view(np.ndarray))


def from_dlpack(ext_tensor: Any) -> Any:
    """A tensor that shares the memory of another library's array (through __dlpack__)."""
    kind = ext_tensor.__dlpack_device__()[0]
    xp = np if int(kind) == 1 else devices.cupy()
    return wrap(xp.from_dlpack(ext_tensor))


def full(
    size: Sequence[int], fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """A tensor of one value; its dtype is the value's unless given."""
    d = (
        dtypes.get(dtype)
        if dtype is not None
        else fill_value.dtype
        if isinstance(fill_value, Handle)
        else dtypes.get(type(fill_value))
    )
    value = fill_value.item() if isinstance(fill_value, Handle) else fill_value
    where = devices.resolve(device)
    xp = devices.xp_for(where)
    shape = sizes((size,))
    _nonnegative(shape)
    raw = xp.zeros(shape, d.dtype) if value == 0 else xp.full(shape, value, d.dtype)
    return _finish(raw, where, requires_grad)


def _nonnegative(shape: tuple[int, ...]) -> None:
    if any(n < 0 for n in shape):
        raise ShapeError(f"trying to create a tensor with a negative dimension: {list(shape)}")


def _filled(name: str, value: Any, doc: str) -> Any:
    def fn(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        d = dtypes.get_default_dtype() if dtype is None else dtype
        return full(sizes(size), value, dtype=d, device=device, requires_grad=requires_grad)

    def like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        require_tensor(input, like.__name__)
        return fn(*input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)

    fn.__name__ = fn.__qualname__ = name
    like.__name__ = like.__qualname__ = f"{name}_like"
    fn.__doc__, like.__doc__ = doc, f"{doc[:-1]} with the shape, dtype and device of `input`."
    return fn, like


zeros, zeros_like = _filled("zeros", 0, "A tensor of zeros.")
ones, ones_like = _filled("ones", 1, "A tensor of ones.")
empty, empty_like = _filled("empty", 0, "A tensor to be written to (zeros, so that a run can be repeated).")


def full_like(
    input: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """A tensor of one value with the shape, dtype and device of `input`."""
    require_tensor(input, "full_like")
    return full(
        tuple(input.shape),
        fill_value,
        dtype=dtype or input.dtype,
        device=device or input.device,
        requires_grad=requires_grad,
    )


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """start, start + step, ... below end. int64 for ints, else the default dtype."""
    if end is None:
        start, end = 0, start
    if not math.isfinite(end - start) or step == 0 or (end - start) * step < 0:
        raise RuntimeError(f"arange: step must be nonzero and lead from {start} to {end}, got {step}")
    whole = builtins.all(isinstance(x, int | np.integer) for x in (start, end, step))
    d = dtypes.get(dtype) if dtype is not None else dtypes.int64 if whole else dtypes.get_default_dtype()
    count = len(range(start, end, step)) if whole else math.ceil((end - start) / step)
    if dtypes.category(d) == 1:  # counted in whole steps then, as in PyTorch
        start, step, whole = int(start), int(step), True
    if whole:
        raw: Any = np.arange(start, start + count * step, step, dtype=np.int64)
    else:  # not added up: each is rounded once
        raw = np.arange(count, dtype=np.float64)
        raw *= step
        raw += start
    return _finish(raw.astype(d.dtype, copy=False), device, requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """`steps` evenly spaced values from start to end, both included."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    d = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
    return _finish(np.linspace(start, end, steps).astype(d.dtype), device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """The identity matrix, n by m."""
    d = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
    return _finish(np.eye(n, m, dtype=d.dtype), device, requires_grad)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    """Grids of coordinates from vectors: each result has the shape of the whole grid."""
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f"meshgrid: indexing must be one of 'xy' or 'ij', but received: {indexing}")
    xs = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else list(tensors)
    xs = [x.reshape(-1) for x in xs]
    shape = tuple(x.shape[0] for x in xs)
    grids = [
        x.reshape(*(-1 if k == i else 1 for k in range(len(xs)))).expand(*shape) for i, x in enumerate(xs)
    ]
    if indexing == "xy" and len(xs) > 1:
        grids = [g.transpose(0, 1) for g in grids]
    return tuple(grids)
