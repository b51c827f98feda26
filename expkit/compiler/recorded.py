"""Programs whose units are recorded in their first run, then replayed: one native call for all kernel calls in a row.

The first run executes the units and notes their kernel calls (kernels/cpu/record). Intermediate values live in memory
that all programs share, as long as they are needed. Arrays from outside, and results, are looked up at each run: where
one has moved, the recorded pointers into it are put right. What is no kernel runs in Python between the recorded parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from expkit.autograd.equations import Equation, Graph, Var
from expkit.autograd.handle import ARRAYS
from expkit.compiler.layouts import channels_last
from expkit.compiler.places import Place, place_of
from expkit.compiler.program import Program, Step, Write, number, run
from expkit.compiler.rerun import Rerun, laid_out_as, raise_flags
from expkit.compiler.units import Unit
from expkit.kernels.cpu.arrays.copy import copy
from expkit.kernels.cpu.machine import llvm
from expkit.kernels.cpu.machine.locks import forkable
from expkit.kernels.cpu.machine.memory import release
from expkit.kernels.cpu.machine.pool import get_num_threads
from expkit.kernels.cpu.record.arena import Arena, Block, most_of
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
    values = [v for e in equations for v in (*e.outs, *e.args) if isinstance(v, Var)]
    if not enabled() or not all(v.device in (None, "cpu") for v in values) or _space() is None:
        return Program(graph, equations, outputs, writes, lent)
    return Recorded(graph, channels_last(equations), outputs, writes, lent)


@cache
def _space() -> Any:
    """The memory of intermediate values; None where the system gives no address space."""
    return most_of(SPACE)


class Recorded(Program):
    """A program that is recorded."""

    _rerun: Rerun | None = None

    def __call__(
        self, values: Sequence[Any], numbers: Sequence[float] = (), check: Callable[[list[Any]], None] | None = None,
        spare: Sequence[int] = (),
    ) -> list[Any]:  # fmt: skip
        """As a Program; `spare`: how many references to an output of the last run do not count, for each output."""
        if not _lock.acquire(blocking=False):  # the memory is in use: by another thread, or around `check`
            return super().__call__(values, numbers, check)
        try:
            if self._rerun is None or not self._rerun.look(values):
                self._rerun = None
                release()  # what the eager run needed, which comes from other memory
                with llvm.crew(get_num_threads() - 1):
                    tape = Recording(Arena(_space()), put_off=True)
                    found, self._rerun = FirstRun(self, values, numbers, tape).run(check)
                return found
            return self._rerun.run(numbers, check, spare)
        finally:
            _lock.release()


class FirstRun:
    """Runs the units one by one, and records what they do."""

    def __init__(self, program: Program, values: Sequence[Any], numbers: Sequence[float], tape: Recording) -> None:
        self.program, self.numbers, self.checked = program, list(numbers), False
        self.env: list[Any] = [*values, *([None] * (len(program.slots) - len(values)))]
        self.targets = [w.target() for w in program.writes]
        known: dict[int, Place] = {}
        self.takes = [place_of(x, known) for x in values]
        self.written = [known.setdefault(id(x), Place(x)) for x in self.targets]
        self.places = list(known.values())
        self.slots: list[tuple[Any, Any]] = []  # (array, the number that it holds)
        self.tape = tape
        self.done = 0  # calls that have been run
        self.python: list[tuple[int, Unit, list[Any], list[Any]]] = []  # (calls before, unit, operands, results)
        self.spans: list[tuple[int, int, Unit]] = []  # each recorded unit's calls, from the first to before the last
        self.claimed: dict[int, Block] = {}

    def run(self, check: Callable[[list[Any]], None] | None) -> tuple[list[Any], Rerun]:
        """The outputs, and the program to be run again."""
        tape = self.tape
        outs = self._outputs()
        self._catch_up()
        raise_flags(tape.flags)
        self.checked = check is not None
        if check is not None:
            check([x.copy() for x in outs])
        commit = len(tape.calls), len(self.python)
        self._leave()
        self._catch_up()
        again = Rerun(self, outs, commit)
        return again.outputs(), again

    def _outputs(self) -> list[Any]:
        """The outputs, before anything outside is written."""
        self.tape.know(p.array for p in self.places)
        with self.tape:
            for step in self.program.steps[: self.program.tail]:
                self._step(step)
            return [self._output(n, v) for n, v in enumerate(self.program.outputs)]

    def _leave(self) -> None:
        """What changes things outside."""
        program = self.program
        with self.tape:
            for step in program.steps[program.tail :]:
                self._step(step)
            left = [(t, program.value(w.value, self.env)) for t, w in zip(self.targets, program.writes, strict=True)]
            left = [(target, self._safe(x)) for target, x in left if x is not target]
            for target, x in left:
                self._perform(WRITE, [target, x])

    def _catch_up(self) -> None:
        """Runs what has been noted. Not before it is needed, so that kernels that are missing are compiled together."""
        calls = self.tape.calls[self.done :]
        self.done += len(calls)
        if calls:
            llvm.keep_promises()
            Script(calls).run()

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
        outs = self._in_python(unit, args)
        tape.end(outs)
        operands = [(bare[k], None) if k in bare else self.held(x) for k, x in enumerate(args)]
        self.python.append((len(tape.calls), unit, operands, [self.held(x) for x in outs]))
        return outs

    def _in_python(self, unit: Unit, args: list[Any]) -> list[Any]:
        self._catch_up()
        with self.tape.paused():
            found = run(unit, args)
        outs = [laid_out_as(x) for x in found]
        for to, x in zip(outs, found, strict=True):
            to[...] = x
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


def _copied(x: Any) -> list[Any] | None:
    if x.itemsize > 8:
        return None
    out = laid_out_as(x)
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
