"""Modules that hold modules or parameters: Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import index
from textwrap import indent
from typing import Any, Self, overload

from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor


def _as_module(holder: Module, member: Any) -> Module:
    if not isinstance(member, Module):
        raise TypeError(f"{type(holder).__name__} holds Modules, got {type(member).__name__}")
    return member


class _Numbered(Module):
    """A list of members under the names "0", "1", ...; the base of Sequential, ModuleList and ParameterList."""

    _table = "_modules"

    def _members(self) -> dict[str, Any]:
        return self.__dict__[self._table]

    def _set(self, members: Iterable[Any]) -> None:
        """Make `members` the whole list, numbered from 0."""
        members = list(members)
        self._members().clear()
        for number, member in enumerate(members):
            setattr(self, str(number), self._check(member))

    def _set_slice(self, pairs: list[tuple[str, Any]]) -> None:
        self._set(member for _, member in pairs)

    def _check(self, member: Any) -> Any:
        return _as_module(self, member)

    def _key(self, position: int) -> str:
        position = index(position)
        size = len(self)
        if not -size <= position < size:
            raise IndexError(f"index {position} is out of range: {type(self).__name__} has {size} entries")
        return list(self._members())[position]

    def __len__(self) -> int:
        return len(self._members())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members().values())

    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            part = type(self)()
            part._set_slice(list(self._members().items())[position])
            return part
        return self._members()[self._key(position)]

    def __setitem__(self, position: int, member: Any) -> None:
        setattr(self, self._key(position), self._check(member))

    def __delitem__(self, position: int | slice) -> None:
        members = list(self)
        del members[position]
        self._set(members)

    def __iadd__(self, other: Iterable[Any]) -> Self:
        return self.extend(other)

    def __add__(self, other: Iterable[Any]) -> Self:
        both = type(self)()
        both._set([*self, *other])
        return both

    def append(self, member: Any) -> Self:
        """Add one at the end."""
        setattr(self, str(len(self)), self._check(member))
        return self

    def extend(self, members: Iterable[Any]) -> Self:
        """Add several at the end."""
        for member in members:
            self.append(member)
        return self

    def insert(self, position: int, member: Any) -> Self:
        """Add one before `position`; the later ones move up."""
        members = list(self)
        members.insert(position, member)
        self._set(members)
        return self

    def pop(self, position: int = -1) -> Any:
        """Take out the one at `position` and return it."""
        member = self[position]
        del self[position]
        return member


class Sequential(_Numbered):
    """Calls its modules one after the other. Takes modules, or one dict of name -> module."""

    @overload
    def __init__(self, *modules: Module) -> None: ...
    @overload
    def __init__(self, modules: Mapping[str, Module], /) -> None: ...
    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self._set(modules)

    def _set_slice(self, pairs: list[tuple[str, Any]]) -> None:
        self._modules.update(pairs)  # a part keeps the names of the whole, and so its state dict keys

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)  # type: ignore[misc]
        return input


class ModuleList(_Numbered):
    """Modules in a list; the model calls them as it likes."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self._set(modules or ())

    def __repr__(self) -> str:
        """Runs of equal modules are shown once: `(0-2): 3 x Linear(...)`."""
        if not self:
            return f"{self._get_name()}()"
        lines = []
        for text, run in groupby(enumerate(self), key=lambda pair: repr(pair[1])):
            numbers = [number for number, _ in run]
            label = f"({numbers[0]}): "
            if len(numbers) > 1:
                label = f"({numbers[0]}-{numbers[-1]}): {len(numbers)} x "
            lines.append(indent(label + text, "  "))
        return f"{self._get_name()}(\n" + "\n".join(lines) + "\n)"


class _Named(Module):
    """A dictionary of members under their own names; the base of ModuleDict and ParameterDict."""

    _table = "_modules"

    def _members(self) -> dict[str, Any]:
        return self.__dict__[self._table]

    def _check(self, member: Any) -> Any:
        return _as_module(self, member)

    def __getitem__(self, key: str) -> Any:
        return self._members()[key]

    def __setitem__(self, key: str, member: Any) -> None:
        if key not in self._members():
            self._new_name(self._table, key)
        self._register(self._table, key, self._check(member))

    def __delitem__(self, key: str) -> None:
        del self._members()[key]

    def __len__(self) -> int:
        return len(self._members())

    def __iter__(self) -> Iterator[str]:
        return iter(self._members())

    def __contains__(self, key: object) -> bool:
        return key in self._members()

    def keys(self) -> Iterable[str]:
        return self._members().keys()

    def values(self) -> Iterable[Any]:
        return self._members().values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._members().items()

    def clear(self) -> None:
        self._members().clear()

    def pop(self, key: str) -> Any:
        """Take out the one named `key` and return it."""
        return self._members().pop(key)

    def update(self, members: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add or replace several."""
        for key, member in dict(members).items():
            self[key] = member


class ModuleDict(_Named):
    """Modules in a dictionary; the model calls them as it likes."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        self.update(modules or {})


def _as_parameter(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if isinstance(value, Parameter) else Parameter(value)
    raise TypeError(f"expected a Parameter or a Tensor, got {type(value).__name__}")


def _parameter_lines(members: Iterable[tuple[str, Any]]) -> str:
    return "\n".join(f"({name}): Parameter of size {tuple(p.shape)}, {p.dtype}" for name, p in members)


class ParameterList(_Numbered):
    """Parameters in a list; a plain Tensor becomes a Parameter."""

    _table = "_parameters"

    def __init__(self, values: Iterable[Tensor] | None = None) -> None:
        super().__init__()
        self._set(values or ())

    def _check(self, member: Any) -> Any:
        return _as_parameter(member)

    def extra_repr(self) -> str:
        return _parameter_lines(self._parameters.items())


class ParameterDict(_Named):
    """Parameters in a dictionary; a plain Tensor becomes a Parameter."""

    _table = "_parameters"

    def __init__(self, parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] | None = None) -> None:
        super().__init__()
        self.update(parameters or {})

    def _check(self, member: Any) -> Any:
        return _as_parameter(member)

    def extra_repr(self) -> str:
        return _parameter_lines(self._parameters.items())
