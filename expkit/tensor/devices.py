"""Devices, and the one place where data moves between them.

`xp_of(raw)` is the array library of a raw array: NumPy or CuPy. Nothing else in expkit asks which it is.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np

from expkit.autograd import handle
from expkit.errors import DeviceError, did_you_mean

ARRAY_LIBRARIES: dict[type, ModuleType] = {np.ndarray: np}  # array class -> its module; CuPy joins when it is imported


class device:
    """`device("cpu")`, `device("cuda")`, `device("cuda:1")`, `device("cuda", 1)`."""

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, spec: Any, index: int | None = None) -> None:
        if isinstance(spec, device):
            self.type, self.index = spec.type, spec.index
            return
        if isinstance(spec, int):
            spec, index = "cuda", spec
        if not isinstance(spec, str):
            raise TypeError(f"a device is given as 'cpu', 'cuda' or 'cuda:<index>', not as {type(spec).__name__}")
        kind, colon, number = spec.partition(":")
        if kind not in ("cpu", "cuda"):
            raise DeviceError(
                f"unknown device {spec!r}: expected cpu, cuda or cuda:<index>.{did_you_mean(kind, ['cpu', 'cuda'])}"
            )
        if colon and not number.isdigit():
            raise DeviceError(f"unknown device {spec!r}: the part after ':' must be a device index")
        self.type = kind
        self.index = int(number) if colon else index

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index or 0) == (other.type, other.index or 0)

    def __hash__(self) -> int:
        return hash((self.type, self.index or 0))


CPU = device("cpu")


def xp_of(raw: Any) -> Any:
    """The array library (a module with NumPy's interface) of a raw array."""
    return ARRAY_LIBRARIES.get(raw.__class__, np)


def as_device(where: Any) -> device:
    """The device meant by what an array library calls it: NumPy says "cpu", CuPy has objects with an id."""
    if where is None or where == "cpu":
        return CPU
    return where if isinstance(where, device) else device("cuda", int(where.id))


def device_of(raw: Any) -> device:
    """Where a raw array (or an interpreter's value) lies."""
    return CPU if raw.__class__ is np.ndarray else as_device(getattr(raw, "device", None))


def cupy() -> Any:
    """The CuPy module, with a usable GPU behind it. DeviceError says which of the two is missing."""
    if "cupy" not in sys.modules and importlib.util.find_spec("cupy") is None:
        raise DeviceError(
            "device 'cuda' needs CuPy, which is not installed: pip install 'expkit[cuda12]' (or [cuda13])"
        )
    module = importlib.import_module("cupy")
    try:
        count = module.cuda.runtime.getDeviceCount()
    except Exception as error:  # noqa: BLE001  (CuPy's own classes, known only once it is there)
        raise DeviceError(
            f"device 'cuda': CuPy finds no usable NVIDIA GPU or driver ({error}). Use device=cpu."
        ) from None
    if count == 0:
        raise DeviceError("device 'cuda': this machine has no NVIDIA GPU. Use device=cpu.")
    join_library(module)
    return module


def join_library(module: Any) -> None:
    """Makes the arrays of another array library raw values of the engine."""
    if module.ndarray not in ARRAY_LIBRARIES:
        ARRAY_LIBRARIES[module.ndarray] = module
        handle.install(raw_types=frozenset(ARRAY_LIBRARIES))


def xp_for(where: device) -> Any:
    """The array library of a device."""
    if where.type == "cpu":
        return np
    module = cupy()
    count = module.cuda.runtime.getDeviceCount()
    if (where.index or 0) >= count:
        raise DeviceError(f"device {str(where)!r}: this machine has {count} GPU(s), numbered from 0")
    return module


def resolve(spec: Any) -> device:
    """The device meant by a device, a string ("auto": the GPU where there is one) or None (the CPU)."""
    if spec is None:
        return CPU
    if spec == "auto":
        return device("cuda") if is_available() else CPU
    return device(spec)


def transfer(raw: Any, where: device) -> Any:
    """A raw array on another device: the only function that copies between host and GPU."""
    here = device_of(raw)
    if here == where:
        return raw
    target = xp_for(where)
    if where.type == "cpu":
        return raw.get() if hasattr(raw, "get") else np.asarray(raw)
    with target.cuda.Device(where.index or 0):
        return target.asarray(raw)


def is_available() -> bool:
    """Whether a GPU can be used: CuPy is installed and finds one."""
    try:
        cupy()
    except DeviceError:
        return False
    return True


def device_count() -> int:
    """How many GPUs can be used."""
    return cupy().cuda.runtime.getDeviceCount() if is_available() else 0


def synchronize(where: Any = None) -> None:
    """Waits until the GPU has finished what it was given."""
    module = xp_for(device("cuda") if where is None else device(where))
    module.cuda.get_current_stream().synchronize()
