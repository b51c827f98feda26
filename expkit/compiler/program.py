"""Units in order over numbered slots: what each takes and makes, and when a value is needed no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from expkit import flags
from expkit.autograd.equations import Equation, Graph, Var
from expkit.autograd.handle import ARRAYS
from expkit.compiler.fusion import units
from expkit.compiler.passes import optimized
from expkit.compiler.units import Unit
from expkit.compiler.verify import verify_units


class Write(NamedTuple):
    """What a program leaves in an array from outside: `target()` is that array."""

    target: Callable[[], Any]
    value: Any  # a Var, or an array from outside


class Step(NamedTuple):
    """A unit with its slots. operands: (slot, None), or (-1, a number)."""

    unit: Unit
    operands: list[tuple[int, Any]]
    outs: list[int]
    dying: list[int]  # slots that nobody looks at any more


class Program:
    """program(values of `takes`, open numbers) -> the values of `outputs`, after all writes.

    Outputs are memory of their own, except those whose numbers are in `lent`: these may be operands, or views of them.
    What only changes things outside is done last, from step `tail` on.
    """

    def __init__(
        self, graph: Graph, equations: Sequence[Equation], outputs: Sequence[Any], writes: Sequence[Write] = (),
        lent: frozenset[int] = frozenset(),
    ) -> None:  # fmt: skip
        self.outputs, self.writes, self.lent = list(outputs), list(writes), lent
        results = [*outputs, *(w.value for w in writes)]
        self.equations = optimized(graph, equations, results)
        self.units, self.tail = _last(units(graph, self.equations, results), outputs)
        if flags.read("DEBUG"):
            verify_units(self.units)
        made = {v.index for u in self.units for v in u.outs}
        needed = [a for u in self.units for a in u.args if isinstance(a, Var)]
        needed += [v for v in results if isinstance(v, Var)]
        self.takes = list({v.index: v for v in needed if v.index not in made}.values())
        self.slots = {v.index: n for n, v in enumerate([*self.takes, *(v for u in self.units for v in u.outs)])}
        self.steps = self._plan(results)
        self.aliased = self._aliased(self.equations)

    def _plan(self, results: Sequence[Any]) -> list[Step]:
        slots = self.slots
        kept = {slots[v.index] for v in results if isinstance(v, Var)}
        last: dict[int, int] = {}
        for n, u in enumerate(self.units):
            last.update((slots[v.index], n) for v in [*u.outs, *u.args] if isinstance(v, Var))
        dying: list[list[int]] = [[] for _ in self.units]
        for slot, n in last.items():
            if slot not in kept:
                dying[n].append(slot)
        return [
            Step(
                u, [(slots[a.index], None) if isinstance(a, Var) else (-1, a) for a in u.args],
                [slots[v.index] for v in u.outs], dying[n],
            )
            for n, u in enumerate(self.units)
        ]  # fmt: skip

    def value(self, v: Any, env: Sequence[Any]) -> Any:
        """The array of an output, or of what is written."""
        return env[self.slots[v.index]] if isinstance(v, Var) else v

    def __call__(
        self, values: Sequence[Any], numbers: Sequence[float] = (), check: Callable[[list[Any]], None] | None = None,
        _spare: Sequence[int] = (),
    ) -> list[Any]:  # fmt: skip
        """Unit by unit, in Python. `check` sees the outputs before anything is written; where it raises, nothing is."""
        env: list[Any] = [*values, *([None] * (len(self.slots) - len(values)))]
        for step in self.steps:
            args = [env[s] if s >= 0 else number(a, numbers) for s, a in step.operands]
            for s, raw in zip(step.outs, run(step.unit, args), strict=True):
                env[s] = raw
            for s in step.dying:
                env[s] = None
        found = [self.value(v, env) for v in [*self.outputs, *(w.value for w in self.writes)]]
        found = [x.copy() if lent else x for x, lent in zip(found, self.aliased, strict=True)]
        if check is not None:
            check(found[: len(self.outputs)])
        for write, x in zip(self.writes, found[len(self.outputs) :], strict=True):
            ARRAYS.write(write.target(), x)
        return found[: len(self.outputs)]

    def _aliased(self, equations: Sequence[Equation]) -> list[bool]:
        """Which results may lie in memory that somebody else holds: operands, other results."""
        held = {v.index for v in self.takes}
        for e in equations:
            if e.prim.aliases and any(isinstance(a, Var) and a.index in held for a in e.args):
                held.update(v.index for v in e.outs)
        seen: set[int] = set()
        found = []
        for n, v in enumerate([*self.outputs, *(w.value for w in self.writes)]):
            index = v.index if isinstance(v, Var) else -1
            found.append(n not in self.lent and (index in held or index in seen))
            seen.add(index)
        return found


def _last(units: Sequence[Unit], outputs: Sequence[Any]) -> tuple[list[Unit], int]:
    """The units, those behind which only writes come last; and where these begin.

    They may work in place, and until then nothing outside has changed.
    """
    needed = {v.index for v in outputs if isinstance(v, Var)}
    first, last = [], []
    for u in reversed(units):
        if u.in_place is not None and not any(v.index in needed for v in u.outs):
            last.append(u)
        else:
            first.append(u)
            needed.update(a.index for a in u.args if isinstance(a, Var))
    return [*first[::-1], *last[::-1]], len(first)


def run(unit: Unit, args: Sequence[Any]) -> list[Any]:
    """The unit's results, as arrays: by what is for arrays of any kind, where there is that."""
    found = (unit.plain or unit.run)(*args)
    return [x if x.__class__ in ARRAYS.raw_types else ARRAYS.as_raw(x) for x in found or ()]


def number(a: Any, numbers: Sequence[float]) -> Any:
    """A number of the program, computed anew where it was left open."""
    return a.value(numbers) if hasattr(a, "value") else a
