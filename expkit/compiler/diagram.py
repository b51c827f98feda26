"""What a picture of a program shows: its kernels in rows and columns, and what goes from one to another.

A row is a place in the model, a column a phase of the step (forward, backward, update), as `where(equation)` says; with
no such thing each kernel is a row of its own. Views are no kernels: who reads a view reads what it looks into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

from expkit.autograd.equations import Equation, Graph, Var
from expkit.compiler.cost import Cost, behind, cost, nbytes
from expkit.compiler.layouts import channels_last
from expkit.compiler.program import Program
from expkit.compiler.units import Unit

Where = Callable[[Equation], tuple[str, str] | None]  # None: not known, as of what a pass has put there


class Kernel(NamedTuple):
    """A unit, or several alike in a row (`times`). parts: the primitives that it does at once."""

    parts: tuple[str, ...]
    shape: str
    cost: Cost
    times: int = 1

    @property
    def title(self) -> str:
        """What it does, each primitive once, the most frequent first."""
        names = sorted(dict.fromkeys(self.parts), key=lambda name: (-self.parts.count(name), name))
        return "·".join(names)


class Edge(NamedTuple):
    """Bytes that go from one cell to another."""

    start: tuple[str, str]
    end: tuple[str, str]
    bytes: int


@dataclass
class Diagram:
    """cells: kernels by (row, column), in the order in which they run."""

    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], list[Kernel]] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def total(self, column: str | None = None) -> Cost:
        """The cost of a column, or of all."""
        costs = [k.cost for (_, c), found in self.cells.items() if column in (None, c) for k in found]
        return Cost(*(sum(parts) for parts in zip(*costs, strict=True))) if costs else Cost()


def diagram(graph: Graph, results: Sequence[Any] | None = None, where: Where | None = None) -> Diagram:
    """The diagram of a traced function. results: what is wanted of it (default: its outputs and what it writes)."""
    wanted = [*graph.outputs, *(s.after for s in graph.state)] if results is None else list(results)
    program = Program(graph, channels_last(graph.equations), wanted)
    makers = {v.index: e for e in program.equations for v in e.outs}
    found = program.units
    inside = [behind(u.outs, u.args, makers) for u in found]
    places = _places(inside, where)
    made = Diagram([], [])
    owner = _fill(made, found, inside, places)
    written = [] if where is None else [place for e in graph.equations if (place := where(e)) in made.cells]
    made.rows, made.columns = _axes([*written, *made.cells])
    made.edges = _edges(found, places, owner)
    return made


def _places(inside: Sequence[list[Equation]], where: Where | None) -> list[tuple[str, str]]:
    """Where units stand: where the last of their equations does that is known to stand somewhere, or beside the unit
    before (the first ones, beside the next)."""
    if where is None:
        return [(f"{n + 1}", "") for n in range(len(inside))]
    known = [[place for e in equations if (place := where(e)) is not None] for equations in inside]
    last = next((some[0] for some in known if some), ("", ""))
    places = []
    for some in known:
        last = some[-1] if some else last
        places.append(last)
    return places


def _axes(places: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Rows as the first column meets them, then what only others have; columns as they come.

    places: as equations were written, then as kernels run, which may be another order.
    """
    columns = list(dict.fromkeys(column for _, column in places))
    first = [row for row, column in places if column == columns[0]] if columns else []
    rows = list(dict.fromkeys([*first, *(row for row, _ in places)]))
    return rows, columns


def _fill(
    made: Diagram, found: Sequence[Unit], inside: Sequence[list[Equation]], places: Sequence[tuple[str, str]]
) -> dict[int, int]:
    """Puts the kernels into their cells; by which unit each Var is made, seen through views."""
    owner: dict[int, int] = {}
    for n, (unit, equations) in enumerate(zip(found, inside, strict=True)):
        view = _is_view(equations)
        for v in unit.outs:
            source = next((a.index for a in unit.args if isinstance(a, Var)), -1)
            if not view:
                owner[v.index] = n
            elif source in owner:
                owner[v.index] = owner[source]
        if not view:
            _add(made.cells.setdefault(places[n], []), _kernel(unit, equations))
    return owner


def _is_view(equations: Sequence[Equation]) -> bool:
    return bool(equations) and all(e.prim.aliases for e in equations)


def _kernel(unit: Unit, equations: Sequence[Equation]) -> Kernel:
    parts = tuple(e.prim.name for e in equations) or tuple(unit.name.split("+"))
    moved = Cost(
        cost(equations).flops if equations else prod(unit.outs[0].shape) * len(parts),
        sum(nbytes(a) for a in {a.index: a for a in unit.args if isinstance(a, Var)}.values()),
        sum(map(nbytes, unit.outs)),
    )
    return Kernel(parts, "x".join(map(str, unit.outs[0].shape)) or "scalar", moved)


def _add(cell: list[Kernel], new: Kernel) -> None:
    """Appends, or counts one more of what there is already, next to it or not: parameters are updated alike."""
    for n, old in enumerate(cell):
        if old.parts == new.parts and (old.shape == new.shape or n == len(cell) - 1):
            shape = old.shape if old.shape == new.shape else "several"
            both = Cost(*(a + b for a, b in zip(old.cost, new.cost, strict=True)))
            cell[n] = Kernel(old.parts, shape, both, old.times + new.times)
            return
    cell.append(new)


def _edges(found: Sequence[Unit], places: Sequence[tuple[str, str]], owner: dict[int, int]) -> list[Edge]:
    """What cells take from each other, each value once."""
    seen: set[tuple[int, tuple[str, str]]] = set()
    total: dict[tuple[tuple[str, str], tuple[str, str]], int] = {}
    kernels = set(owner.values())
    for n, unit in enumerate(found):
        for a in unit.args if n in kernels else ():
            if not isinstance(a, Var) or a.index not in owner:
                continue
            start, end = places[owner[a.index]], places[n]
            if start != end and (a.index, end) not in seen:
                seen.add((a.index, end))
                total[start, end] = total.get((start, end), 0) + nbytes(a)
    return [Edge(start, end, count) for (start, end), count in total.items()]
