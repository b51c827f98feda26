"""Which file or override set each key of a composed config."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Origins:
    """`of("model.hidden")` -> `conf/model/mlp.yaml`, or `override 'model.hidden=[3]'`."""

    def __init__(self, primary: str = "the config") -> None:
        self.primary = primary
        self._leaves: dict[str, str] = {}

    def set(self, origin: str, key: str, value: Any = None) -> None:
        """Notes that `origin` set `key`, or all that a mapping `value` holds; what was there before is replaced."""
        for leaf in _leaves(key, value):
            self._leaves.pop(leaf, None)  # the latest origin is the last in the order of the dict
            self._leaves[leaf] = origin

    def delete(self, key: str) -> None:
        """Notes that `key`, and what is below it, is gone."""
        for leaf in [leaf for leaf in self._leaves if leaf == key or leaf.startswith(f"{key}.")]:
            del self._leaves[leaf]

    def of(self, key: str) -> str:
        """The origin of `key`; of a mapping: that of its `name` or first entry; of an unknown key: its parent's."""
        while key:
            if key in self._leaves:
                return self._leaves[key]
            below = [leaf for leaf in self._leaves if leaf.startswith(f"{key}.")]
            if below:
                return self._leaves[f"{key}.name" if f"{key}.name" in below else below[0]]
            key = key.rpartition(".")[0]
        return self.primary

    def within(self, prefix: str) -> Callable[[str], str]:
        """`of` for the keys of one group: the `where` of registry.check and registry.build."""
        return lambda key: self.of(f"{prefix}.{key}")


def _leaves(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for child, below in value.items():
            yield from _leaves(f"{key}.{child}" if key else str(child), below)
    else:
        yield key
