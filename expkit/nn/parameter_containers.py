"""Modules that hold parameters: ParameterList, ParameterDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import index
from typing import Any, Self, overload

from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor


def _as_parameter(value: Any) -> Any:
    """A Tensor as a Parameter; what is no Tensor stays as it is, an ordinary entry."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    where = f" ({value.device})" if value.is_cuda else ""
    return f"Parameter containing: [{value.dtype} of size {'x'.join(map(str, value.shape))}{where}]"


class _Entries(Module):
    """Entries under names, in order: parameters are registered, other values are plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["_names"] = {}  # in order: names in use

    def _put(self, name: str, value: Any) -> None:
        self._names[name] = None
        setattr(self, name, _as_parameter(value))

    def _drop(self, name: str) -> Any:
        value = getattr(self, name)
        del self._names[name]
        delattr(self, name)
        return value

    def __len__(self) -> int:
        return len(self._names)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{self._get_name()} should not be called")

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {_described(getattr(self, name))}" for name in self._names)


class ParameterList(_Entries):
    """Parameters in a list; a plain Tensor becomes a Parameter, anything else is kept as it is."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(values or ())

    def _key(self, position: int) -> str:
        position = index(position)
        if not -len(self) <= position < len(self):
            raise IndexError(f"index {position} is out of range: {type(self).__name__} has {len(self)} entries")
        return str(position % len(self))

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> Self: ...
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return type(self)(list(self)[position])
        return getattr(self, self._key(position))

    def __setitem__(self, position: int, value: Any) -> None:
        self._put(self._key(position), value)

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, name) for name in self._names])

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def append(self, value: Any) -> Self:
        """Add one at the end."""
        self._put(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several at the end."""
        if isinstance(values, Tensor) or not isinstance(values, Iterable):
            raise TypeError(f"ParameterList.extend takes an iterable, got {type(values).__name__}")
        for value in list(values):
            self.append(value)
        return self


class ParameterDict(_Entries):
    """Parameters in a dictionary; a plain Tensor becomes a Parameter, anything else is kept as it is."""

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self.update({} if parameters is None else parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._names:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"ParameterDict's keys are strings, got {type(key).__name__}")
        if key not in self._names and hasattr(type(self), key):
            raise KeyError(f"attribute '{key}' already exists")
        self._put(key, value)

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._names))

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __or__(self, other: Any) -> ParameterDict:
        both = self.copy()
        both.update(other)
        return both

    def __ror__(self, other: Any) -> ParameterDict:
        both = ParameterDict(other)
        both.update(self)
        return both

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def keys(self) -> Iterable[str]:
        return self._names.keys()

    def values(self) -> Iterable[Any]:
        return [getattr(self, name) for name in self._names]

    def items(self) -> Iterable[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self._names]

    def copy(self) -> ParameterDict:
        """Another dictionary of the same parameters."""
        return ParameterDict(dict(self.items()))

    def get(self, key: str, default: Any = None) -> Any:
        """The entry of that name, or `default`."""
        return getattr(self, key) if key in self._names else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The entry of that name, which is `default` from now on where there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new dictionary with `default` under every key."""
        return ParameterDict(dict.fromkeys(keys, default))

    def clear(self) -> None:
        """Take all out."""
        for name in list(self._names):
            self._drop(name)

    def pop(self, key: str) -> Any:
        """Take out the one named `key` and return it."""
        if key not in self._names:
            raise KeyError(key)
        return self._drop(key)

    def popitem(self) -> tuple[str, Any]:
        """Take out the last one; returns (name, entry)."""
        name = next(reversed(self._names), None)
        if name is None:
            raise KeyError("popitem: the ParameterDict is empty")
        return name, self._drop(name)

    def update(self, parameters: Any) -> None:
        """Add or replace several: a mapping, or pairs of names and entries."""
        pairs = parameters.items() if isinstance(parameters, Mapping | ParameterDict) else list(parameters)
        for key, value in pairs:
            self[key] = value
