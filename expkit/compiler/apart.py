"""Whether what a program writes lies apart from what else it is given.

A trace holds for tensors that are independent of each other: it takes a write to one of them for none to another. Views
of tensors from outside are all right, since a trace follows them to what they look into; arguments are not followed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import is_
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.autograd.views import root_of

WORK = 1 << 12  # how hard it is looked for a common element of arrays that interleave
Span = tuple[int, int, Any]  # the first byte, the one behind the last, the array


class Apart:
    """The tensors from outside that a program writes (`states`) and reads, and which arguments it writes."""

    def __init__(self, states: Iterable[Handle], sources: Iterable[Any], written: Sequence[int]) -> None:
        roots = {id(x): x for x in map(root_of, states)}
        read = {id(x): x for x in map(root_of, (x for x in sources if isinstance(x, Handle))) if id(x) not in roots}
        self._states, self._all = len(roots), [*roots.values(), *read.values()]
        self._written = written
        self._raws: list[Any] = []
        self._spans: list[Span] = []  # of the states, in order
        self._apart = True

    def holds(self, given: Sequence[Any]) -> bool:
        """Whether everything is apart, with these tensors for arguments."""
        if not self._states and not self._written:
            return True
        raws = [x.raw for x in self._all]
        if len(raws) != len(self._raws) or not all(map(is_, raws, self._raws)):
            self._raws, self._spans = raws, sorted(spans(raws[: self._states]), key=_bounds)
            self._apart = not meet(raws[: self._states], ())
        if not self._apart:
            return False
        arguments = [x.raw for x in given]
        if any(_meets(self._spans, span) for span in spans(arguments)):
            return False
        if not self._written:
            return True
        written = [arguments[n] for n in self._written]
        rest = [x for n, x in enumerate(arguments) if n not in self._written]
        return not meet(written, [*rest, *raws])


def spans(arrays: Iterable[Any]) -> list[Span]:
    """Where arrays of the CPU lie; none for empty ones."""
    return [(*np.lib.array_utils.byte_bounds(x), x) for x in arrays if x.__class__ is np.ndarray and x.size]


def meet(written: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether an array of `written` has an element in common with another one, or with one of `others`."""
    entries = [(span, True) for span in spans(written)] + [(span, False) for span in spans(others)]
    entries.sort(key=lambda entry: _bounds(entry[0]))
    near: list[tuple[Span, bool]] = []  # those that reach to where the next one begins
    for span, writes in entries:
        near = [entry for entry in near if entry[0][1] > span[0]]
        if any((writes or other[1]) and _common(span[2], other[0][2]) for other in near):
            return True
        near.append((span, writes))
    return False


def _meets(ordered: Sequence[Span], span: Span) -> bool:
    """Whether an array has an element in common with one of some that do not overlap, in order."""
    n = bisect_left(ordered, span[1], key=_low)
    while n and ordered[n - 1][1] > span[0]:
        n -= 1
        if _common(ordered[n][2], span[2]):
            return True
    return False


def _common(x: Any, y: Any) -> bool:
    try:
        return bool(np.shares_memory(x, y, max_work=WORK))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _low(span: Span) -> int:
    return span[0]


def _bounds(span: Span) -> tuple[int, int]:
    return span[:2]
