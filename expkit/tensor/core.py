"""Tensor: a handle on a raw array with PyTorch's attributes. Its operations are attached from tables in methods.py."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from expkit.autograd import handle
from expkit.autograd.handle import Handle, Value, View, wrap
from expkit.autograd.mode import MODE, open_trace, tick
from expkit.autograd.node import Leaf
from expkit.autograd.views import refresh
from expkit.errors import ShapeError
from expkit.tensor import arrays, devices, dtypes, exchange, printing
from expkit.tensor.generated.copy import lies_in
from expkit.tensor.gradients import Differentiable
from expkit.tensor.ops import create, kinds, ranges
from expkit.tensor.ops.complex import conj_p
from expkit.tensor.ops.convert import raw_convert
from expkit.tensor.ops.memory_format import check, contiguous_format, memory_format
from expkit.tensor.ops.movement import alias_p, permute
from expkit.tensor.parts import Size, array_of


class Tensor(Differentiable):
    """A multi-dimensional array that remembers how it was computed."""

    __slots__ = ()
    __array_priority__ = 1000

    def __init__(self, data: Any = ()) -> None:
        made = create.tensor(data, dtype=None if isinstance(data, Handle) else dtypes.get_default_dtype())
        self.raw, self.node, self.chain, self._grad, self.written = made.raw, None, None, None, 0

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

        # attached in methods.py
        def _binary(self, other: Any) -> "Tensor": ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _binary
        __floordiv__ = __mod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __and__ = __or__ = __xor__ = _binary
        __iadd__ = __isub__ = __imul__ = __itruediv__ = _binary
        __lt__ = __le__ = __gt__ = __ge__ = _binary

        def __neg__(self) -> "Tensor": ...
        def __invert__(self) -> "Tensor": ...
        def __abs__(self) -> "Tensor": ...
        def __getitem__(self, key: Any) -> "Tensor": ...
        def __setitem__(self, key: Any, value: Any) -> None: ...

    # ---- what it is ----

    @property
    def shape(self) -> Size:
        return Size(self.raw.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.BY_NUMPY[self.raw.dtype]

    @property
    def device(self) -> devices.device:
        raw = self.raw
        return devices.CPU if raw.__class__ is np.ndarray else devices.device_of(raw)

    @property
    def ndim(self) -> int:
        return len(self.raw.shape)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        return self.device.type == "cpu"

    def get_device(self) -> int:
        """The index of the GPU that the tensor lies on, -1 on the CPU."""
        return (self.device.index or 0) if self.is_cuda else -1

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.numel() * self.itemsize

    def dim(self) -> int:
        return len(self.raw.shape)

    ndimension = dim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return self.shape if dim is None else self.shape[_one_of(dim, self.ndim)]

    def numel(self) -> int:
        return self.shape.numel()

    nelement = numel

    def element_size(self) -> int:
        return self.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Steps in memory along each dimension, in elements."""
        steps = tuple(s // self.raw.itemsize for s in array_of(self, "stride()").strides)
        return steps if dim is None else steps[_one_of(dim, len(steps))]

    def is_contiguous(self, memory_format: memory_format = contiguous_format) -> bool:
        """Whether the tensor lies in memory in its own order, or in that of another format."""
        raw = array_of(self, "is_contiguous()")
        check(memory_format, self)
        return lies_in(raw, memory_format.order) if memory_format.order else bool(raw.flags.c_contiguous)

    def data_ptr(self) -> int:
        raw = array_of(self, "data_ptr()")
        return raw.ctypes.data if raw.__class__ is np.ndarray else raw.data.ptr

    def is_complex(self) -> bool:
        return self.dtype.is_complex

    @property
    def T(self) -> "Tensor":
        """A view with all dimensions in reversed order."""
        return permute(self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> "Tensor":
        """A view with the last two dimensions swapped."""
        if self.ndim == 1:
            raise ShapeError("tensor.mT is only supported on matrices or batches of matrices, got a vector")
        return self.transpose(-2, -1)

    # ---- memory shared and history cut ----

    @property
    def data(self) -> "Tensor":
        """The same memory without history; assigning replaces the value."""
        return self.detach()

    @data.setter
    def data(self, value: "Tensor") -> None:
        self.raw, self.chain = value.raw, None
        self.written = tick()

    @property
    def _version(self) -> int:
        return (self if self.chain is None else self.chain.root).written

    @staticmethod
    def alias(x: "Tensor") -> "Tensor":
        """A tensor on the same memory with no history (what detach() returns)."""
        if x.chain is not None and x.chain.root.written > x.chain.stamp:
            refresh(x)
        trace = open_trace() if MODE.special else None
        raw = trace.const(x.raw, x) if trace is not None and trace.is_outside(x) else x.raw  # writes must be seen
        out = wrap(raw.stopped() if isinstance(raw, Value) else raw)
        out.chain = View(x, alias_p, {}, tick(), tracked=False)
        if MODE.special:
            out.born = tick()
        return out

    @staticmethod
    def of(value: Any, like: "Tensor") -> "Tensor":
        """A value as a tensor of like's dtype and device."""
        return create.tensor(value, dtype=like.dtype, device=like.device)

    def detach(self) -> "Tensor":
        """The same memory, cut off from the history."""
        return Tensor.alias(self)

    # ---- values ----

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        raw = array_of(self, "item()")
        if raw.size != 1:
            raise RuntimeError(f"a Tensor with {raw.size} elements cannot be converted to Scalar")
        return raw.item()

    def tolist(self) -> Any:
        return devices.transfer(array_of(self, "tolist()"), devices.CPU).tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The NumPy array (shared memory). RuntimeError on a GPU or with gradients, unless force=True."""
        if not force and self.requires_grad:
            raise RuntimeError("can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        raw = array_of(self, "numpy()")
        if raw.__class__ is not np.ndarray and not force:
            raise TypeError(
                f"can't convert a {self.device} tensor to numpy. Use .cpu() to copy it to host memory first."
            )
        return devices.transfer(raw, devices.CPU)

    __array__ = exchange.as_array
    __array_ufunc__ = exchange.array_ufunc
    __dlpack__ = exchange.export
    __dlpack_device__ = exchange.device_of

    def new_eye(self, n: int) -> "Tensor":
        """The n-by-n identity beside this tensor."""
        return ranges.eye(n, dtype=self.dtype, device=self.device)

    # ---- Python ----

    def __pos__(self) -> "Tensor":
        return self

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.raw.shape[0]

    def __iter__(self) -> Iterator["Tensor"]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __bool__(self) -> bool:
        raw = array_of(self, "bool()")
        if raw.size != 1:
            raise RuntimeError(
                f"Boolean value of Tensor with {'more than one value' if raw.size else 'no values'} is ambiguous"
            )
        return bool(raw.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if dtypes.category(self.dtype) > 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, Handle | bool | int | float | complex | np.generic):
            raise TypeError(f"`in` looks for a Tensor or a number in a Tensor, not for a {type(value).__name__}")
        same: Any = self == value
        return bool(same.any())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 else object.__format__(self, spec)

    __hash__ = Handle.__hash__

    def __repr__(self) -> str:
        return printing.describe(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tensor":
        if not self.is_leaf:
            raise RuntimeError(
                "only Tensors created explicitly by the user support the deepcopy protocol; use .detach().clone()"
            )
        out = type(self).__new__(type(self))
        memo[id(self)] = out
        out.raw, out.node, out.chain, out.written = self.raw.copy("K"), None, None, 0
        out._grad = None if self.grad is None else self.grad.detach().clone()
        if hasattr(self, "__dict__"):
            out.__dict__.update(self.__dict__)
        if self.requires_grad:
            out.node = Leaf(out)
        return out


def _one_of(dim: int, ndim: int) -> int:
    """A dim of a shape, which a 0-d tensor has none of."""
    if not -ndim <= dim < ndim:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got {dim})")
    return dim


handle.install(
    tensor=Tensor,
    raw_types=frozenset(devices.ARRAY_LIBRARIES),
    as_raw=arrays.as_raw,
    shares=arrays.shares,
    owned=arrays.owned,
    plus=arrays.plus,
    add_into=arrays.add_into,
    has_nan=arrays.has_nan,
    write=arrays.write,
    zeros=arrays.zeros,
    ones=arrays.ones,
    explain=arrays.explain,
    unbroadcast=kinds.unbroadcast,
    convert=raw_convert,
    conj=conj_p,
)
