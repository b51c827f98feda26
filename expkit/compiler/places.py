"""Where the arrays of a recorded program are: those from outside, results, and what looks into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any

import numpy as np

from expkit.kernels.cpu.record.recording import address


class Place:
    """An array that may be another one at each run. sites: recorded pointers into it, as (words, which, offsets)."""

    __slots__ = ("array", "shared", "sites")

    def __init__(self, array: Any) -> None:
        self.array = array
        self.sites: list[tuple[Any, Any, Any]] = []
        self.shared = False  # its memory belongs to another place as well: recorded pointers do not tell whose they are

    def find(self, pointers: Sequence[tuple[Any, Any]], low: int, high: int, start: int) -> None:
        """Notes which pointers (words, which of them) lie from `low` to before `high`; start: where the data begins."""
        for words, which in pointers:
            values = words[which]
            mine = (values >= low) & (values < max(high, low + 1))
            if mine.any():
                self.sites.append((words, which[mine], values[mine] - start))

    def move(self, array: Any) -> None:
        """From now on it is this array, which lies in memory as the old one does."""
        at = address(array)
        for words, which, offsets in self.sites:
            words[which] = offsets + at
        self.array = array

    def bounds(self) -> tuple[int, int]:
        """The first byte, and the one behind the last."""
        return np.lib.array_utils.byte_bounds(self.array)

    def free(self, spare: int) -> bool:
        """Whether nobody has the array but for `spare` references."""
        return references(self.array) <= 1 + spare


class Window:
    """An array that looks into a place; `window()` is it as it is now."""

    __slots__ = ("_like", "_offset", "place")

    def __init__(self, place: Place, like: Any, start: int) -> None:
        """like: the array now; start: where the place's data begins now."""
        self.place, self._offset = place, address(like) - start
        self._like = (like.shape, like.dtype, like.strides)

    def __call__(self) -> Any:
        array = self.place.array
        if self._offset == 0 and self._like == (array.shape, array.dtype, array.strides):
            return array
        return np.asarray(_Looking(array, self._offset, *self._like))


class _Looking:
    """What NumPy makes an array of that looks into another one."""

    def __init__(self, array: Any, offset: int, shape: Any, dtype: Any, strides: Any) -> None:
        self.array = array
        data = (address(array) + offset, not array.flags.writeable)
        self.__array_interface__ = {
            "data": data, "shape": shape, "strides": strides, "typestr": dtype.str, "version": 3,
        }  # fmt: skip


def references(x: Any) -> int:
    """How many references there are to x, besides that which the expression itself holds."""
    return getrefcount(x) - _ITSELF


_ITSELF = 0
_ITSELF = references(object())


def place_of(x: Any, known: dict[int, Place]) -> Place:
    """The place of an array, among `known` by its id; one that is taken twice is shared, even with itself."""
    found = known.get(id(x))
    if found is None:
        found = known[id(x)] = Place(x)
    else:
        found.shared = True
    return found


def share(places: list[Place]) -> None:
    """Marks places whose memory is (partly) that of others."""
    end, before = 0, None
    for (low, high), place in sorted(((p.bounds(), p) for p in places), key=lambda pair: pair[0]):
        if before is not None and low < end:
            place.shared = before.shared = True
        end, before = max(high, end), place


def fixed(array: Any) -> Callable[[], Any]:
    """An array that stays where it is, as a window."""
    return lambda: array
