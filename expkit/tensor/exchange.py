"""Memory shared with other array libraries: NumPy arrays, DLPack capsules, NumPy's functions on Tensors.

NumPy's own DLPack does the work. What it has no word for is bfloat16: such memory passes as int16, and the capsule's
type code is exchanged on the way. Source: dlpack.h of DLPack 1.0.
"""

import ctypes
import operator
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from expkit.autograd.handle import Handle, wrap
from expkit.errors import DeviceError
from expkit.tensor import devices, dtypes
from expkit.tensor.parts import array_of

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
ON_CPU, ON_CUDA = (1, 3), (2, 13)  # DLPack's numbers of devices: host memory, pinned or not; CUDA's, managed or not
INT_CODE, BFLOAT_CODE = 0, 4  # DLPack's numbers of kinds of numbers
TYPE_AT = 2 * ctypes.sizeof(ctypes.c_void_p) + 4  # where a DLTensor has its dtype: after pointer, device and ndim
VERSIONED_AT = 4 * 8  # where a versioned capsule has its DLTensor: after version, context, deleter and flags


def from_numpy(ndarray: np.ndarray) -> Any:
    """A tensor that shares the array's memory.

    TypeError for what is no array or has a dtype that tensors have not; ValueError for negative strides and foreign
    byte orders; a warning for a read-only array, which cannot be written through the tensor either.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if not ndarray.dtype.isnative:
        raise ValueError(f"from_numpy: a foreign byte order: use array.astype({ndarray.dtype.name!r}).")
    dtypes.of(ndarray)
    if any(step < 0 for step in ndarray.strides):
        raise ValueError("from_numpy: tensors have no negative strides: copy the array (array.copy()) first.")
    if any(step % ndarray.itemsize for step in ndarray.strides):
        raise ValueError("from_numpy: the array's strides are no multiples of its element size: copy it first.")
    if not ndarray.flags.writeable:
        warnings.warn("from_numpy: the array is read-only, and so is the tensor; copy it to write.", stacklevel=2)
    raw = ndarray.view(np.ndarray)
    if raw.size and any(n > 1 and not step for n, step in zip(raw.shape, raw.strides, strict=True)):
        raw.flags.writeable = False  # several elements in one place
    return wrap(raw)


# ---- DLPack ----------------------------------------------------------------------------------------------------------


def export(
    x: Any,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[Any, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule of a tensor's memory (`__dlpack__`). BufferError for a tensor that requires grad."""
    if x.requires_grad:
        raise BufferError("__dlpack__: a tensor that requires grad is not handed out: use tensor.detach().")
    raw = array_of(x, "__dlpack__")
    if raw.__class__ is not np.ndarray:
        return raw.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
    options: dict[str, Any] = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
    if raw.dtype == BFLOAT16:
        return _recoded(raw.view(np.int16).__dlpack__(**options), INT_CODE, BFLOAT_CODE)
    return raw.__dlpack__(**options)


def device_of(x: Any) -> tuple[Any, int]:
    """DLPack's (kind, index) of where a tensor lies (`__dlpack_device__`)."""
    return array_of(x, "__dlpack_device__").__dlpack_device__()


class _Foreign:
    """Another library's array for NumPy to import: bfloat16 passes as int16, capsules as if somebody held them."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.bfloat16 = False

    def __dlpack_device__(self) -> tuple[Any, int]:
        if hasattr(self.source, "__dlpack_device__"):
            return self.source.__dlpack_device__()
        return _device_in(self.source)

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self.source.__dlpack__(**options) if hasattr(self.source, "__dlpack__") else self.source
        self.bfloat16 = _code(capsule).contents.value == BFLOAT_CODE
        return _recoded(capsule, BFLOAT_CODE, INT_CODE)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Any:
    """A tensor that shares the memory of another library's array, or of a DLPack capsule.

    device: where it is wanted; copy=True: in memory of its own, False: BufferError where only a copy would do. What is
    read-only there is so here. DeviceError for memory that is neither the host's nor CUDA's.
    """
    if not hasattr(ext_tensor, "__dlpack__") and type(ext_tensor).__name__ != "PyCapsule":
        raise TypeError(f"from_dlpack: {type(ext_tensor).__name__} has no __dlpack__ and is no DLPack capsule.")
    foreign = _Foreign(ext_tensor)
    kind = int(foreign.__dlpack_device__()[0])
    if kind in ON_CPU:
        raw = np.from_dlpack(foreign)
        raw = raw.view(BFLOAT16) if foreign.bfloat16 else raw
    elif kind in ON_CUDA:
        raw = devices.cupy().from_dlpack(ext_tensor)
    else:
        raise DeviceError(f"from_dlpack: memory of DLPack's device kind {kind} cannot be shared; copy it to the CPU.")
    dtypes.of(raw)
    where = devices.device_of(raw) if device is None else devices.resolve(device)
    if where != devices.device_of(raw):
        if copy is False:
            raise BufferError(f"from_dlpack: to get to {where} the memory must be copied, which copy=False forbids.")
        return wrap(devices.transfer(raw, where))
    return wrap(raw.copy() if copy else raw)


def _tensor_in(capsule: Any) -> int:
    """The address of the DLTensor in a capsule that nobody has taken yet. BufferError for another object."""
    pythonapi = ctypes.pythonapi
    pythonapi.PyCapsule_IsValid.argtypes = [ctypes.py_object, ctypes.c_char_p]
    pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
    for name, offset in ((b"dltensor_versioned", VERSIONED_AT), (b"dltensor", 0)):
        if pythonapi.PyCapsule_IsValid(capsule, name):
            return pythonapi.PyCapsule_GetPointer(capsule, name) + offset
    raise BufferError("from_dlpack: the capsule is no DLPack tensor, or was taken before: each can be taken once.")


def _code(capsule: Any) -> Any:
    return ctypes.cast(_tensor_in(capsule) + TYPE_AT, ctypes.POINTER(ctypes.c_uint8))


def _recoded(capsule: Any, before: int, after: int) -> Any:
    """The capsule with another type code, if it has the one given."""
    code = _code(capsule)
    if code.contents.value == before:
        code.contents.value = after
    return capsule


def _device_in(capsule: Any) -> tuple[int, int]:
    place = ctypes.cast(_tensor_in(capsule) + ctypes.sizeof(ctypes.c_void_p), ctypes.POINTER(ctypes.c_int32))
    return place[0], place[1]


# ---- NumPy's functions -----------------------------------------------------------------------------------------------

OPERATORS: dict[Any, Callable[..., Any]] = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul, np.true_divide: operator.truediv,
    np.floor_divide: operator.floordiv, np.remainder: operator.mod, np.power: operator.pow,
    np.matmul: operator.matmul, np.equal: operator.eq, np.not_equal: operator.ne, np.less: operator.lt,
    np.less_equal: operator.le, np.greater: operator.gt, np.greater_equal: operator.ge,
    np.bitwise_and: operator.and_, np.bitwise_or: operator.or_, np.bitwise_xor: operator.xor,
}  # fmt: skip


def array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """NumPy's functions on Tensors: operators are the Tensor's own, others take its array and give Tensors."""
    if method == "__call__" and ufunc in OPERATORS and not options:
        return OPERATORS[ufunc](*(_operand(x, self) for x in inputs))
    out = options.get("out")
    if out is not None:
        options["out"] = tuple(array_of(x, "out") if isinstance(x, Handle) else x for x in out)
    found = getattr(ufunc, method)(*(x.numpy() if isinstance(x, Handle) else x for x in inputs), **options)
    if out is not None:
        return out[0] if len(out) == 1 else out
    return tuple(wrap(np.asarray(x)) for x in found) if isinstance(found, tuple) else wrap(np.asarray(found))


def _operand(x: Any, like: Any) -> Any:
    """A Tensor, a Python number for one of NumPy, or a Tensor of anything else."""
    if isinstance(x, Handle):
        return x
    return x.item() if isinstance(x, np.number | np.bool_) else like.new_tensor(x, dtype=None)


def as_array(x: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """A tensor's values for NumPy (`__array__`). ValueError where copy=False cannot be kept."""
    out = x.numpy()
    if dtype is None or out.dtype == dtype:
        return out.copy() if copy else out
    if copy is False:
        raise ValueError(f"__array__: {out.dtype} values as {np.dtype(dtype)} need a copy, which copy=False forbids.")
    return out.astype(dtype)
