"""What a compiled program will need of memory, found by a first run in which no kernel runs.

The units take their operands, plan their kernels and ask for memory as in any first run (recorded.py), of address space
that nobody ever writes to: so temporaries, gaps between blocks and the order of blocks are what they will be. No kernel
is compiled, and nothing is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from expkit.autograd.equations import Equation, Graph, Var
from expkit.compiler.layouts import channels_last
from expkit.compiler.program import Program, Write
from expkit.compiler.recorded import FirstRun
from expkit.compiler.units import Unit
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.record.arena import Arena, most_of
from expkit.kernels.cpu.record.recording import Recording
from expkit.tensor.generated.base import enabled

SPACE = 1 << 45  # bytes of address space; a half of it stands for what is outside of the program


class Footprint(NamedTuple):
    """Bytes. results: of the outputs; arena: at the peak, of everything that the program makes, the results with it."""

    results: int
    arena: int


def footprint(
    equations: Sequence[Equation], outputs: Sequence[Any], writes: Sequence[tuple[Var, Any]] = (),
    known: dict[int, Any] | None = None, numbers: Sequence[float] = (),
) -> Footprint | None:  # fmt: skip
    """The memory of a program of CPU kernels beside its operands; an arena of SPACE stands for whatever is larger.
    None where there are no kernels, or no address space.

    writes: (the operand that is overwritten, its new value). known: operands that have values, by the index of their
    Var; the others have a shape and a dtype, and lie dense.
    """
    space = _space() if enabled() else None
    if space is None:
        return None
    outside = Arena(space[len(space) // 2 :])
    arrays = dict(known or {})

    def array(v: Var) -> Any:
        if v.index not in arrays:
            arrays[v.index] = outside.empty(v.shape, v.dtype)
        return arrays[v.index]

    targets = [Write(partial(array, before), after) for before, after in writes]
    program = Program(Graph([], [], list(equations)), channels_last(equations), outputs, targets)
    try:
        values = list(map(array, program.takes))
        return _Rehearsal(program, values, numbers, _Unplayed(Arena(space[: len(space) // 2]))).footprint()
    except MemoryError:
        return Footprint(0, SPACE)


@cache
def _space() -> Any:
    return most_of(SPACE)


class _Unplayed(Recording):
    """A recording of calls that are not made."""

    def _note(self, bound: Bound, arrays: Sequence[Any]) -> bool:
        return True


class _Rehearsal(FirstRun):
    """A first run for the sake of its memory."""

    def footprint(self) -> Footprint:
        """The memory that it takes."""
        self._outputs()
        self._leave()
        return Footprint(sum(block.size for block in self.claimed.values()), self.tape.arena.peak)

    def _in_python(self, unit: Unit, args: list[Any]) -> list[Any]:
        return [plan.empty(v.shape, v.dtype) for v in unit.outs]
