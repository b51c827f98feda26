"""dtypes by PyTorch's names, and PyTorch's promotion rules.

An `expkit.dtype` stands for a NumPy dtype (`np.dtype(ek.float32)` works, and the two compare equal); raw arrays keep
NumPy's own. bfloat16 comes from ml_dtypes.
"""

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from expkit.autograd.handle import Handle


class dtype:
    """The type of a tensor's elements."""

    __slots__ = ("dtype", "is_complex", "is_floating_point", "itemsize", "name")

    def __init__(self, name: str, of: Any) -> None:
        self.name = name
        self.dtype = np.dtype(of)  # NumPy reads this attribute: np.zeros(3, dtype=ek.float32)
        self.itemsize = self.dtype.itemsize
        self.is_complex = self.dtype.kind == "c"
        self.is_floating_point = self.dtype.kind == "f" or name == "bfloat16"

    @property
    def is_signed(self) -> bool:
        return self.is_floating_point or self.is_complex or self.dtype.kind == "i"

    def __repr__(self) -> str:
        return f"expkit.{self.name}"

    def __str__(self) -> str:
        return f"expkit.{self.name}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, dtype):
            return self is other
        return isinstance(other, np.dtype) and self.dtype == other

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __reduce__(self) -> Any:
        return (get, (self.name,))

    def __deepcopy__(self, memo: Any) -> "dtype":
        return self


bool_ = dtype("bool", np.bool_)
uint8 = dtype("uint8", np.uint8)
int8 = dtype("int8", np.int8)
int16 = dtype("int16", np.int16)
int32 = dtype("int32", np.int32)
int64 = dtype("int64", np.int64)
uint32 = dtype("uint32", np.uint32)
uint64 = dtype("uint64", np.uint64)
float16 = dtype("float16", np.float16)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16)
float32 = dtype("float32", np.float32)
float64 = dtype("float64", np.float64)
complex64 = dtype("complex64", np.complex64)
complex128 = dtype("complex128", np.complex128)

ALL = (
    bool_, uint8, int8, int16, int32, int64, uint32, uint64, float16, bfloat16, float32, float64, complex64, complex128,
)  # fmt: skip
BY_NUMPY = {d.dtype: d for d in ALL}
BY_NAME = {d.name: d for d in ALL} | {
    "half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
    "cfloat": complex64, "cdouble": complex128,
}  # fmt: skip
_PYTHON = {bool: bool_, int: int64, float: None, complex: None}  # None: depends on the default dtype

_default = [float32]


def get(spec: Any) -> dtype:
    """The expkit dtype for a dtype, a NumPy dtype, a name, or a Python type. TypeError where there is none."""
    if isinstance(spec, dtype):
        return spec
    if isinstance(spec, type) and spec in _PYTHON:
        return _PYTHON[spec] or (default_complex() if spec is complex else _default[0])
    if isinstance(spec, str) and spec.removeprefix("expkit.").removeprefix("torch.") in BY_NAME:
        return BY_NAME[spec.removeprefix("expkit.").removeprefix("torch.")]
    try:
        if spec is None or isinstance(spec, str):
            raise KeyError
        return BY_NUMPY[np.dtype(spec)]
    except (KeyError, TypeError):
        raise TypeError(f"{spec!r} is no dtype of expkit; there are {', '.join(d.name for d in ALL)}") from None


def of(raw: Any) -> dtype:
    """The dtype of a raw array or value."""
    found = BY_NUMPY.get(raw.dtype)
    if found is None:
        raise TypeError(f"arrays of {raw.dtype} are not supported; there are {', '.join(d.name for d in ALL)}")
    return found


def get_default_dtype() -> dtype:
    """The dtype of floating-point tensors whose dtype is not given."""
    return _default[0]


def set_default_dtype(d: Any) -> None:
    """Sets the default floating-point dtype (float32 at start)."""
    d = get(d)
    if not d.is_floating_point:
        raise TypeError(f"the default dtype must be a floating-point one, not {d}")
    _default[0] = d


def default_complex() -> dtype:
    return complex128 if _default[0] is float64 else complex64


def category(d: dtype) -> int:
    """0 bool, 1 integer, 2 floating point, 3 complex: promotion never goes down this order."""
    return 3 if d.is_complex else 2 if d.is_floating_point else 0 if d is bool_ else 1


@cache
def promote_types(a: Any, b: Any) -> dtype:
    """The smallest dtype that holds both, by PyTorch's table (an integer never widens a float)."""
    a, b = get(a), get(b)
    if a is b:
        return a
    ca, cb = category(a), category(b)
    if ca != cb:
        low, high = (a, b) if ca < cb else (b, a)
        if high.is_complex and low is float64:
            return complex128
        return high
    if {a, b} == {float16, bfloat16}:
        return float32
    if ca == 2 and bfloat16 in (a, b):
        return a if b is bfloat16 else b
    joined = np.promote_types(a.dtype, b.dtype)
    if joined not in BY_NUMPY or category(BY_NUMPY[joined]) != ca:
        raise TypeError(f"no integer dtype holds both {a} and {b}; convert one of them first")
    return BY_NUMPY[joined]


def result_type(*operands: Any) -> dtype:
    """The dtype of an operation on tensors, dtypes and Python numbers.

    Tensors with dimensions decide; 0-d tensors and numbers only where they are of a higher category.
    """
    best: list[dtype | None] = [None, None, None]  # tensors, 0-d tensors, numbers
    for x in operands:
        if isinstance(x, Handle):
            rank, d = (1 if x.raw.ndim == 0 else 0), of(x.raw)
        elif isinstance(x, bool | int | float | complex):
            rank, d = 2, get(next(kind for kind in _PYTHON if isinstance(x, kind)))
        else:
            rank, d = 0, get(x)
        known = best[rank]
        best[rank] = d if known is None else promote_types(known, d)
    result: dtype | None = None
    for found in best:
        if found is None:
            continue
        if result is None:
            result = found
        elif category(found) > category(result):
            result = promote_types(result, found)
    if result is None:
        raise TypeError("result_type: at least one operand is needed")
    return result


def can_cast(source: Any, to: Any) -> bool:
    """Whether a value of `source` may be written to `to`: never down the order bool, integer, float, complex."""
    return category(get(source)) <= category(get(to))


class finfo:
    """Limits of a floating-point dtype: eps, max, min, tiny, smallest_normal, bits, resolution."""

    def __init__(self, d: Any = None) -> None:
        d = get_default_dtype() if d is None else get(d)
        if not (d.is_floating_point or d.is_complex):
            raise TypeError(f"finfo needs a floating-point dtype, not {d}")
        info = ml_dtypes.finfo(d.dtype)
        self.dtype, self.bits = d.name, info.bits
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.smallest_normal)
        self.resolution = float(info.resolution)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution}, min={self.min}, max={self.max}, eps={self.eps}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: max, min, bits."""

    def __init__(self, d: Any) -> None:
        d = get(d)
        if category(d) != 1:
            raise TypeError(f"iinfo needs an integer dtype, not {d}")
        info = np.iinfo(d.dtype)
        self.dtype, self.bits, self.max, self.min = d.name, info.bits, int(info.max), int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
