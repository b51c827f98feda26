"""Methods that convert: to(), type(), float(), long() and their like; and tensors made beside a tensor."""

from typing import Any

from expkit.autograd.handle import Handle
from expkit.tensor import devices, dtypes
from expkit.tensor.ops import create
from expkit.tensor.ops.arguments import require_tensor
from expkit.tensor.ops.convert import as_dtype, to_device_p
from expkit.tensor.ops.memory_format import clone, converted, preserve_format

NAMES = {
    "float": dtypes.float32, "double": dtypes.float64, "half": dtypes.float16, "bfloat16": dtypes.bfloat16,
    "long": dtypes.int64, "int": dtypes.int32, "short": dtypes.int16, "char": dtypes.int8, "byte": dtypes.uint8,
    "bool": dtypes.bool_, "cfloat": dtypes.complex64, "cdouble": dtypes.complex128,
}  # fmt: skip

# PyTorch's names of tensor types.
TYPES = {
    "FloatTensor": dtypes.float32, "DoubleTensor": dtypes.float64, "HalfTensor": dtypes.float16,
    "BFloat16Tensor": dtypes.bfloat16, "LongTensor": dtypes.int64, "IntTensor": dtypes.int32,
    "ShortTensor": dtypes.int16, "CharTensor": dtypes.int8, "ByteTensor": dtypes.uint8, "BoolTensor": dtypes.bool_,
    "ComplexFloatTensor": dtypes.complex64, "ComplexDoubleTensor": dtypes.complex128,
}  # fmt: skip


def cast(d: dtypes.dtype) -> Any:
    """The method float(), long(), ... of a dtype."""

    def method(self: Any, memory_format: Any = preserve_format) -> Any:
        return converted(as_dtype(self, d), memory_format)

    method.__doc__ = f"The tensor as {d}."
    return method


def to(
    self: Any,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    copy: bool = False,
    non_blocking: bool = False,
    memory_format: Any = None,
) -> Any:
    """The tensor in another dtype, device or memory format.

    to(dtype), to(device), to(device, dtype), to(other); then non_blocking and copy.
    """
    if len(args) == 1 and args[0].__class__ is dtypes.dtype and device is None and memory_format is None and not copy:
        return as_dtype(self, args[0])
    flags = []
    for a in args:
        if isinstance(a, Handle):
            dtype, device = a.dtype, a.device
        elif isinstance(a, bool):
            flags.append(a)
        elif isinstance(a, devices.device) or (isinstance(a, str) and a not in dtypes.BY_NAME):
            device = a
        elif a is not None:
            dtype = a
    copy = copy or flags[1:2] == [True]
    out = self if dtype is None else as_dtype(self, dtypes.get(dtype))
    if device is not None:
        where = devices.resolve(device)
        if where != out.device:
            devices.xp_for(where)
            out = to_device_p(out, device=where)
    out = converted(out, memory_format)
    return clone(out) if copy and out is self else out


def cpu(self: Any, memory_format: Any = preserve_format) -> Any:
    """The tensor in host memory."""
    return to(self, devices.CPU, memory_format=memory_format)


def cuda(self: Any, device: Any = None, non_blocking: bool = False, memory_format: Any = preserve_format) -> Any:
    """The tensor on a GPU: the first, or the given one."""
    where = devices.device("cuda", device) if device is None or isinstance(device, int) else devices.device(device)
    return to(self, where, memory_format=memory_format)


def type(self: Any, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor as another type (a dtype or such a name)."""
    if dtype is None:
        name = next(n for n, d in TYPES.items() if d is self.dtype) if self.dtype in TYPES.values() else "Tensor"
        return f"expkit.{'cuda.' if self.is_cuda else ''}{name}"
    named = dtype.rpartition(".")[2] if isinstance(dtype, str) else None
    return as_dtype(self, TYPES[named] if named in TYPES else dtypes.get(dtype))


def type_as(self: Any, other: Any) -> Any:
    """The tensor in the dtype and on the device of another."""
    return to(self, require_tensor(other, "type_as()"))


def new_tensor(self: Any, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A new tensor of the data, with the dtype and device of this one unless others are given."""
    where = self.device if device is None else device
    return create.tensor(data, dtype=self.dtype if dtype is None else dtype, device=where, requires_grad=requires_grad)
