"""A traced call as a list of units over numbered slots: it takes values, runs, and hands back results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from expkit.autograd.equations import Equation, Graph, Var
from expkit.autograd.handle import ARRAYS
from expkit.compiler.fusion import units


def live(equations: Sequence[Equation], results: Sequence[Any]) -> list[Equation]:
    """The equations that the results rest on, in order."""
    wanted = {v.index for v in results if isinstance(v, Var)}
    found = []
    for e in reversed(equations):
        if any(v.index in wanted for v in e.outs):
            found.append(e)
            wanted.update(a.index for a in e.args if isinstance(a, Var))
    return found[::-1]


class Program:
    """results = program(values of `takes`), all raw. A slot is emptied after its last use."""

    def __init__(self, graph: Graph, equations: Sequence[Equation], results: Sequence[Any]) -> None:
        self.units = units(graph, live(equations, results), results)
        self.results = list(results)
        made = {v.index for u in self.units for v in u.outs}
        needed = [a for u in self.units for a in u.args if isinstance(a, Var)]
        needed += [v for v in results if isinstance(v, Var)]
        self.takes = list({v.index: v for v in needed if v.index not in made}.values())
        self._slots = {v.index: n for n, v in enumerate([*self.takes, *(v for u in self.units for v in u.outs)])}
        self._steps = self._plan()

    def _plan(self) -> list[tuple[Any, list[Any], list[int], list[int]]]:
        """(function, operands: slots or numbers, result slots, slots to empty) of each unit."""
        slots = self._slots
        kept = {slots[v.index] for v in self.results if isinstance(v, Var)}
        last: dict[int, int] = {}
        for n, u in enumerate(self.units):
            last.update((slots[v.index], n) for v in [*u.outs, *u.args] if isinstance(v, Var))
        steps = []
        for n, u in enumerate(self.units):
            operands = [(slots[a.index], None) if isinstance(a, Var) else (-1, a) for a in u.args]
            dying = [s for s, end in last.items() if end == n and s not in kept]
            steps.append((u.run, operands, [slots[v.index] for v in u.outs], dying))
        return steps

    def __call__(self, values: Sequence[Any], numbers: Sequence[float] = ()) -> list[Any]:
        env: list[Any] = [*values, *([None] * (len(self._slots) - len(values)))]
        raw_types, as_raw = ARRAYS.raw_types, ARRAYS.as_raw
        for run, operands, outs, dying in self._steps:
            found = run(*[env[s] if s >= 0 else _number(a, numbers) for s, a in operands])
            for s, value in zip(outs, found, strict=True):
                env[s] = value if value.__class__ in raw_types else as_raw(value)
            for s in dying:
                env[s] = None
        return [env[self._slots[v.index]] if isinstance(v, Var) else v for v in self.results]


def _number(a: Any, numbers: Sequence[float]) -> Any:
    """A number of the program, computed anew where it was left open."""
    return a.value(numbers) if hasattr(a, "value") else a
