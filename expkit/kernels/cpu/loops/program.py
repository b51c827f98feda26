"""What the generators read: a short list of steps over numbered values.

Values 0..k-1 are the inputs, each step makes the next one. A value is *full* (one element for each place of the
iteration space) or a *row* value (the result of a reduction, the same for all places that were reduced).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from expkit.kernels.cpu.code.elementwise import EMITTERS, HEAVY, emit
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.loops.accumulate import REDUCTIONS


class Ref(NamedTuple):
    """An operand: the value of that number."""

    number: int


class Step(NamedTuple):
    name: str
    args: tuple[Any, ...]  # Refs and Python numbers
    kw: tuple[tuple[str, Any], ...] = ()

    @property
    def refs(self) -> list[int]:
        return [a.number for a in self.args if isinstance(a, Ref)]


class Program(NamedTuple):
    """Hashable: what a kernel is keyed by, beside the pattern of strides."""

    inputs: tuple[str, ...]  # kinds
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    into: int | None = None  # the input whose memory the one output is written to

    def step(self, value: int) -> Step | None:
        """What makes a value; None for an input."""
        return None if value < len(self.inputs) else self.steps[value - len(self.inputs)]

    @property
    def reduces(self) -> bool:
        return any(step.name in REDUCTIONS for step in self.steps)

    @property
    def heavy(self) -> bool:
        """Whether an element costs more than reading it."""
        return any(step.name in HEAVY for step in self.steps)


class Facts(NamedTuple):
    """Of each value: how many reductions lie below it, and whether it is a row value."""

    depth: list[int]
    row: list[bool]


def facts(program: Program) -> Facts:
    depth, row = [0] * len(program.inputs), [False] * len(program.inputs)
    for step in program.steps:
        below = max((depth[i] for i in step.refs), default=0)
        reducing = step.name in REDUCTIONS
        depth.append(below + reducing)
        row.append(reducing or all(row[i] for i in step.refs))
    return Facts(depth, row)


def written(program: Program, values: Sequence[Value]) -> list[Value]:
    """The code of a program of elementwise steps on the given inputs, vectors perhaps; its outputs."""
    found = list(values)
    for step in program.steps:
        args = [found[a.number] if isinstance(a, Ref) else a for a in step.args]
        found.append(emit(step.name, args, dict(step.kw)))
    return [found[i] for i in program.outputs]


def unary(name: str, kind: str, **kw: Any) -> Program:
    """One elementwise primitive of one operand."""
    return Program((kind,), (Step(name, (Ref(0),), tuple(kw.items())),), (1,))


def known(name: str) -> bool:
    return name in EMITTERS or name in REDUCTIONS
