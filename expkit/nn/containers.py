"""Modules that hold modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import index
from textwrap import indent
from typing import Any, Self, overload

from expkit.nn.module import Module


def _as_module(holder: Module, member: Any) -> Module:
    if not isinstance(member, Module):
        raise TypeError(f"{type(holder).__name__} holds Modules, got {type(member).__name__}")
    return member


class _Numbered(Module):
    """A list of modules under the names "0", "1", ...; the base of Sequential and ModuleList."""

    def _set(self, members: Iterable[Any]) -> None:
        """Make `members` the whole list, numbered from 0."""
        members = list(members)
        self._modules.clear()
        for number, member in enumerate(members):
            setattr(self, str(number), _as_module(self, member))

    def _set_slice(self, pairs: list[tuple[str, Any]]) -> None:
        self._set(member for _, member in pairs)

    def _key(self, position: int) -> str:
        position = index(position)
        size = len(self)
        if not -size <= position < size:
            raise IndexError(f"index {position} is out of range: {type(self).__name__} has {size} entries")
        return list(self._modules)[position]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            part = type(self)()
            part._set_slice(list(self._modules.items())[position])
            return part
        return self._modules[self._key(position)]

    def __setitem__(self, position: int, member: Any) -> None:
        setattr(self, self._key(position), _as_module(self, member))

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
        setattr(self, str(len(self)), _as_module(self, member))
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

    def __mul__(self, times: int) -> Sequential:
        """The same modules, several times over."""
        if not isinstance(times, int):
            raise TypeError(f"Sequential is repeated by an int, got {type(times).__name__}")
        if times <= 0:
            raise ValueError(f"Sequential is repeated at least once, got {times}")
        return Sequential(*(list(self) * times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        self._set((self * times)._modules.values())
        return self

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


class ModuleDict(Module):
    """Modules in a dictionary; the model calls them as it likes."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        self.update({} if modules is None else modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        if key not in self._modules:
            self._new_name("_modules", key)
        self._register("_modules", key, _as_module(self, module))

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._modules.items()

    def clear(self) -> None:
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Take out the one named `key` and return it."""
        return self._modules.pop(key)

    def update(self, modules: Any) -> None:
        """Add or replace several: a mapping, another ModuleDict, or pairs of names and modules."""
        pairs = modules.items() if isinstance(modules, Mapping | ModuleDict) else list(modules)
        for key, module in pairs:
            self[key] = module
