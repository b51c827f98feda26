"""Pictures: what can be compared of the Python values that a replayed trace rests on.

Numbers, strings, small arrays, containers and plain objects are compared by what they hold; functions, classes, modules
and the engine's objects by which ones they are. Of anything else a picture says only that it is OPAQUE.
"""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import date, time, timedelta
from enum import Enum
from functools import lru_cache, partial
from itertools import islice
from numbers import Number
from pathlib import PurePath
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.errors import TraceError

SIMPLE = frozenset({bool, int, complex, str, bytes, type(None), type(...), type(NotImplemented)})
VALUES = (PurePath, date, time, timedelta, range)  # that never change
THEMSELVES = (type, ModuleType, BuiltinFunctionType)
LIBRARIES = frozenset({"expkit", "numpy"})  # whose objects say themselves what they rest on
ITEMS = 64  # how much of a container is looked at
DEPTH = 3
BYTES = 4096  # of an array that is compared by its elements
OPAQUE = object()
_HEAP, _IMMUTABLE = 1 << 9, 1 << 8  # flags of types: made while Python runs; by C and for ever
_EMPTY = CellType()


def picture(x: Any, depth: int = DEPTH) -> Any:
    """What of x can be compared with ==, and hashed. TraceError for a large array that may change unnoticed."""
    kind = x.__class__
    if kind in SIMPLE:
        return kind, x
    if kind is float:
        return kind, repr(x)  # 0.0 is not -0.0, and NaN is NaN
    if isinstance(x, Handle):
        return kind, id(x)
    if depth <= 0:
        return _opaque(x, depth)
    if kind is FunctionType:
        return kind, x, picture(x.__defaults__, depth - 1), picture(x.__kwdefaults__, depth - 1)
    return (_WAYS.get(kind) or _way(kind))(x, depth)


def is_complete(found: Any) -> bool:
    """Whether a picture shows everything."""
    if found.__class__ is not tuple:
        return True
    return OPAQUE not in found[:1] + found[-1:] and all(map(is_complete, found))


def is_plain(kind: type) -> bool:
    """Whether a class is Python code through and through, and none of the engine's: objects are their attributes."""
    return _way(kind) is _of_object


def parts(x: Any) -> list[Any]:
    """What an object holds: items of a container, attributes, what a function has around it."""
    if isinstance(x, dict):
        return list(islice(x.values(), ITEMS))
    if isinstance(x, list | tuple | deque | set | frozenset):
        return list(islice(x, ITEMS))
    if _way(x.__class__) is _itself and x.__class__ is not FunctionType:
        return []
    cells = [c.cell_contents for c in getattr(x, "__closure__", None) or () if c != _EMPTY]
    return [*cells, *(v for _, v in _attributes(x))]


@lru_cache(maxsize=1 << 12)
def _way(kind: type) -> Callable[[Any, int], Any]:
    """How objects of a class are pictured."""
    for base, way in _WAYS.items():
        if issubclass(kind, base):
            return way
    if issubclass(kind, THEMSELVES) or any(c.__module__.partition(".")[0] in LIBRARIES for c in kind.__mro__):
        return _itself
    in_python = all(c.__flags__ & _HEAP and not c.__flags__ & _IMMUTABLE for c in kind.__mro__[:-1])
    return _of_object if in_python or issubclass(kind, SimpleNamespace) else _opaque


def _itself(x: Any, _depth: int) -> Any:
    return x.__class__, id(x) if x.__class__.__hash__ is None else x


def _value(x: Any, _depth: int) -> Any:
    return x.__class__, x


def _opaque(x: Any, _depth: int) -> Any:
    return OPAQUE, x.__class__, id(x)


def _of_number(x: Any, _depth: int) -> Any:
    return x.__class__, repr(x)


def _of_array(x: np.ndarray, depth: int) -> Any:
    if x.dtype.hasobject:
        return np.ndarray, picture(x.tolist(), depth - 1)
    if x.nbytes <= BYTES:
        return np.ndarray, x.shape, x.dtype.str, x.tobytes()
    if x.base is None and not x.flags.writeable:
        return np.ndarray, id(x)
    raise TraceError(
        f"a compiled function rests on a NumPy array of {x.nbytes} bytes, shape {x.shape}, which may change unnoticed. "
        "Pass or keep a tensor instead."
    )


def _of_sequence(x: Any, depth: int) -> Any:
    return x.__class__, len(x), *[picture(v, depth - 1) for v in islice(x, ITEMS)], len(x) <= ITEMS or OPAQUE


def _of_dict(x: dict[Any, Any], depth: int) -> Any:
    return x.__class__, len(x), *_items(x.items(), depth), len(x) <= ITEMS or OPAQUE


def _of_set(x: Any, _depth: int) -> Any:
    return x.__class__, frozenset((v.__class__, v) for v in x)


def _of_slice(x: slice, depth: int) -> Any:
    return slice, picture(x.start, depth), picture(x.stop, depth), picture(x.step, depth)


def _of_method(x: MethodType, depth: int) -> Any:
    return MethodType, picture(x.__func__, depth - 1), picture(x.__self__, depth - 1)


def _of_partial(x: partial[Any], depth: int) -> Any:
    return partial, *[picture(v, depth - 1) for v in (x.func, x.args, x.keywords)]


def _of_object(x: Any, depth: int) -> Any:
    return x.__class__, *_items(_attributes(x), depth)


def _items(pairs: Iterable[tuple[Any, Any]], depth: int) -> list[Any]:
    return [(k if k.__class__ is str else picture(k), picture(v, depth - 1)) for k, v in islice(pairs, ITEMS)]


def _attributes(x: Any) -> list[tuple[str, Any]]:
    found = list(getattr(x, "__dict__", {}).items())
    slots = _slots(x.__class__)
    return found + [(name, getattr(x, name)) for name in slots if hasattr(x, name)] if slots else found


@lru_cache(maxsize=1 << 12)
def _slots(kind: type) -> tuple[str, ...]:
    found = [vars(c).get("__slots__", ()) for c in kind.__mro__ if c.__flags__ & _HEAP]
    names = [name for slots in found for name in ((slots,) if isinstance(slots, str) else slots)]
    return tuple(name for name in names if not name.startswith("__"))


_WAYS: dict[type, Callable[[Any, int], Any]] = {
    np.ndarray: _of_array, list: _of_sequence, tuple: _of_sequence, deque: _of_sequence, dict: _of_dict, set: _of_set,
    frozenset: _of_set, slice: _of_slice, MethodType: _of_method, partial: _of_partial, Enum: _itself,
    Number: _of_number, **dict.fromkeys(VALUES, _value),
}  # fmt: skip
