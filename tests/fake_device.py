"""A stand-in for CuPy that needs no GPU: the same interface, the same refusals, and a count of transfers.

Arrays hold their data in NumPy but refuse to meet a NumPy array in an operator, a function, an index or an assignment,
refuse implicit conversion, and count every copy between "device" and host (`TRANSFERS`). Only names and parameters that
CuPy 14.2 has exist; they are listed in cupy_interface.txt, written down from the real module.
"""

import operator
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

TRANSFERS: Counter = Counter()  # "to_device", "to_host"
SCALARS = bool | int | float | complex | np.generic


def _read_interface() -> dict[str, list[str] | str]:
    """{"sum": ["a", "axis", ...], "exp": "ufunc", "pi": "value", ".sum": [...], ".T": "value", ...}"""
    interface: dict[str, list[str] | str] = {}
    for line in (Path(__file__).parent / "cupy_interface.txt").read_text().splitlines():
        name, bracket, rest = line.partition("(")
        if bracket:
            interface[name] = rest.removesuffix(")").split(", ")
        else:
            name, kind = line.split()
            interface[name] = kind
    return interface


INTERFACE = _read_interface()
# What CuPy's ufuncs offer beyond being called; the rest raises NotImplementedError there.
UFUNC_METHODS = {
    "reduce": {"add", "multiply"},
    "accumulate": {"add", "multiply"},
    "reduceat": {"add"},
    "at": {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"},
}
UPLOADS = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}
DTYPES = set("?bBhHiIlLqQefdFDE") | {"V"}  # V: bfloat16 as ml_dtypes registers it


def host(value: Any) -> Any:
    """The NumPy value behind an argument; a NumPy array in it is refused as CuPy refuses it."""
    if isinstance(value, FakeArray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray} (a NumPy array of shape {value.shape} met a device array)")
    if isinstance(value, slice):
        return slice(*(host(part) for part in (value.start, value.stop, value.step)))
    if isinstance(value, list | tuple):
        return _again(value, (host(part) for part in value))
    return value


def _again(value: Any, parts: Any) -> Any:
    """A list, tuple or named tuple of other parts."""
    return value._make(parts) if hasattr(value, "_make") else type(value)(parts)


def device_value(value: Any, *sources: Any) -> Any:
    """A NumPy result as a device array; what shares a source's memory is a view of it."""
    if isinstance(value, tuple | list):
        return _again(value, (device_value(part, *sources) for part in value))
    if not isinstance(value, np.ndarray | np.generic):
        return value
    arrays = [source for source in sources if isinstance(source, FakeArray)]
    for array in arrays:
        if value is array._host:
            return array
    value = np.asarray(value)
    for array in arrays if value.base is not None else ():
        # an empty view shares no memory, but has a base all the same
        if np.may_share_memory(value, array._host) or any(value.base is x for x in (array._host, array._host.base)):
            return FakeArray(value, array if array.base is None else array.base)
    return FakeArray(value)


def check_call(name: str, args: tuple[Any, ...], kw: dict[str, Any]) -> None:
    """CuPy's parameters only: NumPy has more (`where=`, `initial=`, ...)."""
    parameters = INTERFACE[name]
    if parameters == "ufunc":
        unknown = set(kw) - {"out", "dtype", "casting"}
    elif any(p.startswith("**") for p in parameters):
        return
    else:
        unknown = set(kw) - set(parameters)
        if len(args) > len(parameters) and not any(p.startswith("*") for p in parameters):
            raise TypeError(f"cupy's {name} takes {len(parameters)} arguments, got {len(args)}")
    if unknown:
        raise TypeError(f"cupy's {name} has no parameter {', '.join(sorted(unknown))}")


class FakeArray:
    """cupy.ndarray's stand-in."""

    __slots__ = ("_host", "base")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, data: np.ndarray, base: "FakeArray | None" = None) -> None:
        if data.dtype.char not in DTYPES:
            raise TypeError(f"Unsupported dtype {data.dtype}")
        self._host, self.base = data, base

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=0)

    @property
    def data(self) -> Any:
        """The memory, whose address is `ptr`."""
        return SimpleNamespace(ptr=self._host.ctypes.data)

    def __getattr__(self, name: str) -> Any:
        if f".{name}" not in INTERFACE:
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        found = getattr(self._host, name)
        if INTERFACE[f".{name}"] == "value":
            return device_value(found, self)

        def method(*args: Any, **kw: Any) -> Any:
            check_call(f".{name}", args, kw)
            result = found(*host(args), **{key: host(value) for key, value in kw.items()})
            return device_value(result, self, kw.get("out"))

        return method

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        TRANSFERS["to_host"] += 1
        return self._host.copy(order)

    def _read(self) -> np.ndarray:
        TRANSFERS["to_host"] += 1
        return self._host

    def item(self) -> Any:
        return self._read().item()

    def tolist(self) -> Any:
        return self._read().tolist()

    def __bool__(self) -> bool:
        return bool(self._read())

    def __int__(self) -> int:
        return int(self._read())

    def __float__(self) -> float:
        return float(self._read())

    def __complex__(self) -> complex:
        return complex(self._read())

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator["FakeArray"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"FakeArray(shape={self._host.shape}, dtype={self._host.dtype})"

    def __getitem__(self, key: Any) -> Any:
        whole = key if isinstance(key, tuple) else (key,)
        if all(isinstance(part, int | np.integer) for part in whole):
            key = (*whole, Ellipsis)  # one element is a 0-d view here, not a scalar
        return device_value(self._host[_index(key)], self)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[_index(key)] = host(value)

    def __array__(self, *args: Any, **kw: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kw: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        if "out" in kw:
            (kw["out"],) = kw["out"]
        return getattr(MODULE, ufunc.__name__)(*inputs, **kw)

    def __array_function__(self, func: Any, types: Any, args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        space: Any = MODULE
        try:
            for part in func.__module__.split(".")[1:]:
                space = getattr(space, part)
            return getattr(space, func.__name__)(*args, **kw)
        except AttributeError as error:
            raise TypeError(f"no implementation found for {func.__module__}.{func.__name__} on cupy.ndarray") from error


def _index(key: Any) -> Any:
    """An index as NumPy wants it. A list would be copied to the device unseen: that counts."""
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, list):
            TRANSFERS["to_device"] += 1
    return host(key)


def _binary(name: str, reflected: bool = False, inplace: bool = False) -> Any:
    function = getattr(operator, name)

    def method(self: FakeArray, other: Any) -> Any:
        if not isinstance(other, FakeArray | np.ndarray | SCALARS):
            return NotImplemented
        a, b = self._host, host(other)
        if inplace:
            function(a, b)
            return self
        return device_value(function(b, a) if reflected else function(a, b))

    return method


def _unary(name: str) -> Any:
    function = getattr(operator, name)
    return lambda self: device_value(function(self._host))


ARITHMETIC = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"
for _name in ARITHMETIC.split():
    setattr(FakeArray, f"__{_name}__", _binary(f"__{_name}__"))
    setattr(FakeArray, f"__r{_name}__", _binary(f"__{_name}__", reflected=True))
    setattr(FakeArray, f"__i{_name}__", _binary(f"__i{_name}__", inplace=True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(FakeArray, f"__{_name}__", _binary(f"__{_name}__"))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(FakeArray, f"__{_name}__", _unary(f"__{_name}__"))


class FakeUfunc:
    """One of CuPy's ufuncs: called, and the few methods that it has."""

    def __init__(self, name: str) -> None:
        self.__name__, self._numpy = name, getattr(np, name)

    def __call__(self, *args: Any, **kw: Any) -> Any:
        return _call(self.__name__, self._numpy, args, kw)

    def __getattr__(self, method: str) -> Any:
        if self.__name__ not in UFUNC_METHODS.get(method, ()):
            raise NotImplementedError(f"cupy's {self.__name__}.{method} is not supported")
        function = getattr(self._numpy, method)
        return lambda *args, **kw: device_value(function(*host(args), **{k: host(v) for k, v in kw.items()}), *args)


def _call(name: str, function: Any, args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
    check_call(name, args, kw)
    if name in UPLOADS and not isinstance(args[0], FakeArray):
        TRANSFERS["to_device"] += 1
        return FakeArray(np.array(args[0], *args[1:], **kw))
    result = function(*host(args), **{key: host(value) for key, value in kw.items()})
    if name == "diagonal" and args[0]._host.flags.writeable:
        result.flags.writeable = True  # NumPy's is read-only for historical reasons
    return device_value(result, *args, kw.get("out"), *(args[0] if args and isinstance(args[0], list | tuple) else ()))


class FakeGrid:
    """CuPy's ogrid, mgrid, r_ and c_: made on the device."""

    def __init__(self, name: str) -> None:
        self._numpy = getattr(np, name)

    def __getitem__(self, key: Any) -> Any:
        return device_value(self._numpy[host(key)])


class FakeSpace(ModuleType):
    """A namespace of CuPy's: names from the interface file, work done by NumPy."""

    def __init__(self, name: str, prefix: str, numpy_space: Any) -> None:
        super().__init__(name)
        self.__dict__.update(_prefix=prefix, _numpy=numpy_space)

    def __getattr__(self, name: str) -> Any:
        kind = INTERFACE.get(f"{self._prefix}{name}")
        if kind is None or name.startswith("__"):
            raise AttributeError(f"{self.__name__} has no attribute {name!r}")
        found = getattr(self._numpy, name)
        if kind == "value":
            return found
        if kind == "ufunc" and isinstance(found, np.ufunc):
            return FakeUfunc(name)
        return lambda *args, **kw: _call(f"{self._prefix}{name}", found, args, kw)


@contextmanager
def _device(index: int) -> Iterator[None]:
    if index != 0:
        raise RuntimeError(f"the fake has one device, not number {index}")
    yield


def _make_module() -> ModuleType:
    module = FakeSpace("cupy", "", np)
    module.linalg = FakeSpace("cupy.linalg", "linalg.", np.linalg)
    module.fft = FakeSpace("cupy.fft", "fft.", np.fft)
    module.lib = SimpleNamespace(
        stride_tricks=FakeSpace("cupy.lib.stride_tricks", "lib.stride_tricks.", np.lib.stride_tricks)
    )
    module.ndarray = FakeArray
    for name in ("ogrid", "mgrid", "r_", "c_"):
        setattr(module, name, FakeGrid(name))
    module.asnumpy = lambda a, **kw: a.get(**kw) if isinstance(a, FakeArray) else np.asarray(a)
    module.cuda = SimpleNamespace(
        Device=_device,
        runtime=SimpleNamespace(getDeviceCount=lambda: 1, getDevice=lambda: 0),
        get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None, ptr=0),
    )
    return module


MODULE = _make_module()


@contextmanager
def transfers(to_device: int = 0, to_host: int = 0) -> Iterator[None]:
    """Fails unless exactly so many copies happen inside: `with transfers(): step()`."""
    before = TRANSFERS.copy()
    yield
    made = {way: TRANSFERS[way] - before[way] for way in ("to_device", "to_host")}
    assert made == {"to_device": to_device, "to_host": to_host}
