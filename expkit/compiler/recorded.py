"""Programs whose units are recorded in their first run, then replayed: one native call for all kernel calls in a row.

The first run executes the units and notes their kernel calls (kernels/cpu/record). Intermediate values live in memory
that all programs share, as long as they are needed. Arrays from outside, and results, are looked up at each run: where
one has moved, the recorded pointers into it are put right. What is no kernel runs in Python between the recorded parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import zip_longest
from typing import Any

import numpy as np

from expkit.autograd.equations import Equation, Graph, Var
from expkit.autograd.handle import ARRAYS
from expkit.compiler.layouts import channels_last
from expkit.compiler.places import Place, Window, fixed, share
from expkit.compiler.program import Program, Step, Write, number, run
from expkit.compiler.units import Unit
from expkit.kernels.cpu.arrays.copy import copy
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.locks import forkable
from expkit.kernels.cpu.machine.memory import release
from expkit.kernels.cpu.record.arena import Arena, Block, reserved
from expkit.kernels.cpu.record.driver import Script
from expkit.kernels.cpu.record.recording import Recording, address
from expkit.tensor.generated.base import enabled

SPACE = 1 << 36  # bytes of address space that programs share; it becomes memory where it is written to
Get = Callable[[], Any]
_lock = forkable()


def program(
    graph: Graph, equations: Sequence[Equation], outputs: Sequence[Any], writes: Sequence[Write] = (),
    lent: frozenset[int] = frozenset(),
) -> Program:  # fmt: skip
    """The program of these equations: recorded where it is one of CPU kernels."""
    devices = {v.device for e in equations for v in (*e.outs, *e.args) if isinstance(v, Var)}
    if not enabled() or not devices <= {None, "cpu"} or _space() is None:
        return Program(graph, equations, outputs, writes, lent)
    return Recorded(graph, channels_last(equations), outputs, writes, lent)


@cache
def _space() -> Any:
    """The memory of intermediate values; None where the system gives no address space."""
    size = SPACE
    while size >= 1 << 30:
        try:
            return reserved(size)
        except OSError:
            size //= 2
    return None


class Recorded(Program):
    """A program that is recorded."""

    _replay: Replay | None = None

    def __call__(
        self, values: Sequence[Any], numbers: Sequence[float] = (), check: Callable[[list[Any]], None] | None = None,
        spare: Sequence[int] = (),
    ) -> list[Any]:  # fmt: skip
        """As a Program; `spare`: how many references to an output of the last run do not count, for each output."""
        if not _lock.acquire(blocking=False):  # the memory is in use: by another thread, or around `check`
            return super().__call__(values, numbers, check)
        try:
            if self._replay is None or not self._replay.look(values):
                self._replay = None
                release()  # what the eager run needed, which comes from other memory
                found, self._replay = _FirstRun(self, values, numbers).run(check)
                return found
            return self._replay.run(numbers, check, spare)
        finally:
            _lock.release()


class _FirstRun:
    """Runs the units one by one, and records what they do."""

    def __init__(self, program: Program, values: Sequence[Any], numbers: Sequence[float]) -> None:
        self.program, self.numbers, self.checked = program, list(numbers), False
        self.env: list[Any] = [*values, *([None] * (len(program.slots) - len(values)))]
        self.targets = [w.target() for w in program.writes]
        self.takes = [Place(x) for x in values]
        known = {id(p.array): p for p in self.takes}
        self.written = [known.setdefault(id(x), Place(x)) for x in self.targets]
        self.places = list(known.values())
        self.slots: list[tuple[Any, Any]] = []  # (array, the number that it holds)
        self.tape = Recording(Arena(_space()))
        self.python: list[tuple[int, Unit, list[Any], list[Any]]] = []  # (calls before, unit, operands, results)
        self.spans: list[tuple[int, int, Unit]] = []  # each recorded unit's calls, from the first to before the last
        self.claimed: dict[int, Block] = {}

    def run(self, check: Callable[[list[Any]], None] | None) -> tuple[list[Any], Replay]:
        """The outputs, and the program's replay."""
        tape, program = self.tape, self.program
        tape.know(p.array for p in self.places)
        with tape:
            for step in program.steps[: program.tail]:
                self._step(step)
            outs = [self._output(n, v) for n, v in enumerate(program.outputs)]
        raise_flags(tape.flags)
        self.checked = check is not None
        if check is not None:
            check([x.copy() for x in outs])
        commit = len(tape.calls), len(self.python)
        with tape:
            for step in program.steps[program.tail :]:
                self._step(step)
            left = [(t, program.value(w.value, self.env)) for t, w in zip(self.targets, program.writes, strict=True)]
            left = [(target, self._safe(x)) for target, x in left if x is not target]
            for target, x in left:
                self._perform(WRITE, [target, x])
        replay = Replay(self, outs, commit)
        return replay.outputs(), replay

    def _step(self, step: Step) -> None:
        env, unit = self.env, step.unit
        args = [env[s] if s >= 0 else self._number(a) for s, a in step.operands]
        opened = {k: a for k, (s, a) in enumerate(step.operands) if s < 0 and hasattr(a, "value")}
        if unit.in_place is not None and self._may_overwrite(step, args):
            unit = unit._replace(run=unit.in_place)
        for s, x in zip(step.outs, self._perform(unit, args, opened), strict=True):
            env[s] = x
        for s in step.dying:
            self.tape.drop(env[s])
            env[s] = None

    def _may_overwrite(self, step: Step, args: list[Any]) -> bool:
        """Whether each operand that would be overwritten is what its new value is going to be written to, and its old
        value is not needed any more."""
        ends = {id(t): w.value for t, w in zip(self.targets, self.program.writes, strict=True)}
        dying = set(step.dying)
        return all(
            ends.get(id(args[k])) is out and step.operands[k][0] in dying
            for k, out in zip(step.unit.overwrites, step.unit.outs, strict=True)
        )

    def _number(self, a: Any) -> Any:
        """An operand that is a number, or an array of numbers left open: such a one is filled at each run."""
        value = number(a, self.numbers)
        if value.__class__ is not np.ndarray:
            return value
        slot = np.array(value)
        self.tape.know([slot])
        self.slots.append((slot, a))
        return slot

    def _perform(self, unit: Unit, args: list[Any], opened: dict[int, Any] | None = None) -> list[Any]:
        """Runs a unit: recorded, or else in Python with its results copied to where replays will leave them.

        opened: the operands that are computed from numbers at each run.
        """
        tape = self.tape
        mark = tape.begin()
        bare = {k: a for k, a in (opened or {}).items() if args[k].__class__ is not np.ndarray}
        if unit.pure and not bare:
            found = unit.run(*args)
            if found is not None and not tape.foreign:
                outs = list(found)
                if all(x.__class__ is np.ndarray and (not x.size or tape.knows(x)) for x in outs):
                    tape.end(outs)
                    self.spans.append((mark[0], len(tape.calls), unit))
                    return outs
            tape.undo(mark)
        if unit.pure:
            unit = unit._replace(run=unit.plain or unit.run)
        with tape.paused():
            found = run(unit, args)
        outs = [_laid_out_as(x) for x in found]
        for to, x in zip(outs, found, strict=True):
            to[...] = x
        tape.end(outs)
        operands = [(bare[k], None) if k in bare else self.held(x) for k, x in enumerate(args)]
        self.python.append((len(tape.calls), unit, operands, [self.held(x) for x in outs]))
        return outs

    def held(self, x: Any) -> tuple[Any, Block | None]:
        """An operand or a result of a Python unit, and the block that it lies in."""
        return x, self.tape.arena.block(address(x)) if x.__class__ is np.ndarray else None

    def _output(self, n: int, v: Any) -> Any:
        """An output's array: in a block that no other output claims, unless it is lent."""
        x = self.program.value(v, self.env)
        block = self.tape.arena.block(address(x))
        if block is None and n in self.program.lent:
            return x
        if block is None or id(block) in self.claimed:
            (x,) = self._perform(COPY, [x])
            block = self.tape.arena.block(address(x))
        if block is not None:
            self.claimed[id(block)] = block
        return x

    def _safe(self, x: Any) -> Any:
        """What is to be written, in memory that no write changes."""
        outside = self.tape.arena.block(address(x)) is None
        return self._perform(COPY, [x])[0] if outside else x


class Replay:
    """The recorded parts, and the Python between them."""

    def __init__(self, first: _FirstRun, outs: Sequence[Any], commit: tuple[int, int]) -> None:
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
            place.move(place.array)

    def _parts(self, python: Sequence[Any], views: _Views, start: Any, stop: Any) -> list[Callable[[], None]]:
        """What is to be done from one place among the calls and the Python units to another."""
        parts: list[Callable[[], None]] = []
        at = start[0]
        for calls, unit, operands, results in python[start[1] : stop[1]]:
            if calls > at:
                parts.append(self.script.part(at, calls))
            parts.append(_PythonUnit(unit, [views.of(*x) for x in operands], [views.of(*x) for x in results]))
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
            if id(place) in self.overwritten:
                return False
            x, given = _laid_out_as(place.array), x
            x[...] = given
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
        for room, own in zip_longest(self.rooms, spare, fillvalue=0):
            if room and not room.free(own):
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


class _PythonUnit:
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
    """IndexError where a kernel has met an index that is out of range."""
    for cell, message in flags:
        if cell[0]:
            cell[0] = 0
            raise IndexError(message)


def _laid_out_as(x: Any) -> Any:
    """A new array of x's shape and strides order, from the arena while something is recorded."""
    order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]) if x.shape[i] > 1 else 0)
    back = sorted(range(x.ndim), key=lambda i: order[i])
    return plan.empty(tuple(x.shape[i] for i in order), x.dtype).transpose(back)


def _copied(x: Any) -> list[Any] | None:
    if x.itemsize > 8:
        return None
    out = _laid_out_as(x)
    copy(out, x)
    return [out]


def _written(target: Any, x: Any) -> list[Any] | None:
    if x.itemsize > 8 or x.dtype != target.dtype:
        return None
    copy(target, x)
    return []


def _write(target: Any, x: Any) -> list[Any]:
    ARRAYS.write(target, x)
    return []


COPY = Unit(_copied, [], [], "copy", pure=True, plain=lambda x: [x.copy()])
WRITE = Unit(_written, [], [], "write", pure=True, plain=_write)
