"""A recorded program run again: where its arrays are now, the recorded parts, and the Python between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any

import numpy as np

from expkit.compiler.places import Place, Window, fixed, share
from expkit.compiler.program import run
from expkit.compiler.units import Unit
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.record.arena import Block
from expkit.kernels.cpu.record.driver import Script
from expkit.kernels.cpu.record.recording import address

Get = Callable[[], Any]


class Rerun:
    """The recorded parts, and the Python between them."""

    def __init__(self, first: Any, outs: Sequence[Any], commit: tuple[int, int]) -> None:
        tape = first.tape
        self.takes, self.slots, self.numbers = first.takes, first.slots, first.numbers
        targets = [w.target for w in first.program.writes]
        self.written = list(zip(first.written, targets, strict=True))
        self.overwritten = {id(place) for place in first.written}
        self.flags, self._kept = tape.flags, (tape.kept, tape.cells)
        self.script, self.spans = Script(tape.calls), first.spans
        share(first.places)
        pointers = _Pointers(self.script, tape.cells)
        for place in first.places:
            if not place.shared:
                place.find(pointers.of(0), *place.bounds(), address(place.array))
        blocks = first.claimed
        rooms = {key: _room(block, pointers) for key, block in blocks.items()}
        views = _Views(first.places, rooms, self.numbers)
        held = [first.held(x) for x in outs]
        self.rooms: list[Any] = [rooms.get(id(block)) for _, block in held]
        self.outs = [views.of(*pair) for pair in held]
        end = (len(tape.calls), len(first.python))
        self.before = self._parts(first.python, views, (0, 0), commit)
        self.after = self._parts(first.python, views, commit, end)
        if not first.checked and commit[0] < end[0] and not first.python:  # all in one
            cells = [cell for cell, _ in self.flags]
            self.before, self.after = [self.script.part(0, end[0], commit[0], cells)], []
        for key, place in rooms.items():
            _bytes(place.array)[...] = _bytes(blocks[key].array)
            tape.arena.forget(blocks[key])
            place.move(place.array)

    def _parts(self, python: Sequence[Any], views: _Views, start: Any, stop: Any) -> list[Callable[[], None]]:
        """What is to be done from one place among the calls and the Python units to another."""
        parts: list[Callable[[], None]] = []
        at = start[0]
        for calls, unit, operands, results in python[start[1] : stop[1]]:
            if calls > at:
                parts.append(self.script.part(at, calls))
            parts.append(PythonUnit(unit, [views.of(*x) for x in operands], [views.of(*x) for x in results]))
            at = calls
        if stop[0] > at:
            parts.append(self.script.part(at, stop[0]))
        return parts

    def look(self, values: Sequence[Any]) -> bool:
        """Takes note of where the arrays from outside are now; False where that needs another recording."""
        for place, x in zip(self.takes, values, strict=True):
            if x is not place.array and not self._moved(place, x):
                return False
        for place, target in self.written:
            x = target()
            if x is not place.array and not self._moved(place, x):
                return False
        return True

    def _moved(self, place: Place, x: Any) -> bool:
        if place.shared:
            return False
        if x.strides != place.array.strides:
            like = laid_out_as(place.array)
            if id(place) in self.overwritten or like.strides != place.array.strides:
                return False  # nor can a copy have gaps, or elements that share memory
            like[...], x = x, like
        place.move(x)
        return True

    def run(
        self, numbers: Sequence[float], check: Callable[[list[Any]], None] | None, spare: Sequence[int]
    ) -> list[Any]:
        """The outputs, after all writes."""
        if numbers != self.numbers:
            self.numbers[:] = numbers
            for slot, a in self.slots:
                slot[...] = a.value(numbers)
        for room, own in zip(self.rooms, chain(spare, repeat(0)), strict=False):
            if room is not None and not room.free(own):
                room.move(np.empty_like(room.array))
        for part in self.before:
            part()
        raise_flags(self.flags)
        found = self.outputs()
        if check is not None:
            check(found)
        for part in self.after:
            part()
        return found

    def outputs(self) -> list[Any]:
        """The outputs of the last run."""
        return [get() for get in self.outs]


class PythonUnit:
    """A unit that is no kernel: its results are copied to where the recorded calls look for them."""

    def __init__(self, unit: Unit, operands: list[Get], results: list[Get]) -> None:
        self.unit, self.operands, self.results = unit, operands, results

    def __call__(self) -> None:
        found = run(self.unit, [get() for get in self.operands])
        for to, x in zip(self.results, found, strict=True):
            to()[...] = x


class _Pointers:
    """All recorded pointers: in the calls' tables, and in the cells."""

    def __init__(self, script: Script, cells: Sequence[tuple[int, Any]]) -> None:
        which, calls = script.pointers()
        self._all = [(script.words, which, calls)]
        self._all += [(words, np.arange(len(words)), np.full(len(words), n)) for n, words in cells]

    def of(self, born: int) -> list[tuple[Any, Any]]:
        """(words, which of them) in calls from number `born` on."""
        return [(words, which[calls >= born]) for words, which, calls in self._all]


class _Views:
    """Arrays as windows onto what they look into; and numbers, made of `numbers` as these are then."""

    def __init__(self, places: Sequence[Place], rooms: dict[int, Place], numbers: list[float]) -> None:
        self._numbers = numbers
        self._places = [(*p.bounds(), p) for p in places]
        self._rooms = rooms

    def of(self, x: Any, block: Block | None) -> Get:
        if hasattr(x, "value"):
            return partial(x.value, self._numbers)
        if x.__class__ is not np.ndarray:
            return fixed(x)
        if block is not None:
            room = self._rooms.get(id(block))
            return fixed(x) if room is None else Window(room, x, address(block.array))
        at = address(x)
        for low, high, place in self._places:
            if low <= at < max(high, low + 1):
                return Window(place, x, address(place.array))
        return fixed(x)


def _room(block: Block, pointers: _Pointers) -> Place:
    """The place of a result, for which a block was taken in the first run."""
    start = address(block.array)
    place = Place(np.empty(block.array.shape, block.array.dtype))
    place.find(pointers.of(block.born), start, start + block.size, start)
    return place


def _bytes(x: Any) -> Any:
    return x.reshape(-1).view(np.uint8)


def raise_flags(flags: Sequence[tuple[Any, str]]) -> None:
    """IndexError where a kernel has met an index that is out of range; then all flags are down again."""
    raised = [message for cell, message in flags if cell[0]]
    if raised:
        for cell, _ in flags:
            cell[0] = 0
        raise IndexError(raised[0])


def laid_out_as(x: Any) -> Any:
    """A new array of x's shape and strides order, from the arena while something is recorded."""
    order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]) if x.shape[i] > 1 else 0)
    back = sorted(range(x.ndim), key=lambda i: order[i])
    return plan.empty(tuple(x.shape[i] for i in order), x.dtype).transpose(back)
