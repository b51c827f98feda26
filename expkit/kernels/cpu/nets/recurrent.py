"""Recurrent layers: all steps of one direction in one call, and backwards through time in another.

Sequences do not know of each other: a task takes some of them and goes through time alone. A step is a product of their
states with packed weights, by micro-kernels, and what follows it element by element (the formulas of `cells.py`). Rows
of time lie flat: step t has `counts[t]` of them from row `starts[t]` on, the longest sequences first, as in packed
sequences. Kept for backward: what the formulas say, and the states before each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from expkit.kernels.cells import CELLS, Functions
from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.elementwise import EMITTERS
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import LANES
from expkit.kernels.cpu.gemm.microkernel import blocking
from expkit.kernels.cpu.nets.panels import rows_product

TALL = 8  # rows of a micro-kernel: of so many a task's sequences are a multiple
FUNCTIONS = Functions(*(EMITTERS[name] for name in Functions._fields))
WORDS = ("rows", "steps", "first", "step", "size", "features", "lead", "wide", "keeps")


class _Task:
    """Some sequences: `rows` of them. lead, wide: elements from one to the next in the states and in the room."""

    def __init__(self, f: Task, kind: str, starts: Pointer, counts: Pointer) -> None:
        self.f, self.kind, self.lanes, self.starts, self.counts = f, kind, LANES[kind], starts, counts
        self.top = f.index * f["rows"]
        self.product = rows_product(f.helpers, kind, TALL)

    def steps(self) -> Iterator[tuple[Value, Value]]:
        """(the first of a step's rows, how many there are) for each step at which there are some."""
        f = self.f
        for s in f.range(f["steps"]):
            t = f["first"] + s * f["step"]
            active = least(self.counts.load(t) - self.top, f["rows"])
            with f.when(active.compare("gt", 0)):
                yield self.starts.load(t) + self.top, active

    def multiply(
        self, a: Pointer, a_lead: Value, depth: Value, weight: Pointer, c: Pointer, c_lead: Value, columns: Value,
        rows: Value, *, add: bool,
    ) -> None:  # fmt: skip
        """c (= or +=) a @ weight, for a's first rows; weight: panels of `width` columns."""
        f, size, width = self.f, SIZES[self.kind], blocking(self.kind).width
        step, more = f.constant("i8", size), f.constant("i8", int(add))
        for j in f.range(columns, step=width):
            f.run(self.product, a, a_lead * size, step, weight.at(j * depth), c.at(j), c_lead * size, rows, depth,
                  columns - j, more)  # fmt: skip

    def units(self, active: Value, extent: str = "size") -> Iterator[_Units]:
        """The vectors of units of all rows, or of features of h."""
        f = self.f
        for r in f.range(active):
            for i in f.range(f[extent], step=self.lanes):
                yield _Units(r, i, f[extent], f.first(f[extent] - i, self.lanes))


class _Units(NamedTuple):
    """One vector of units of one row."""

    row: Value
    i: Value
    size: Value
    mask: Value

    def load(self, x: Pointer, lead: Value | None = None, columns: int = 1) -> list[Value]:
        """From `columns` blocks of units of a row; rows follow each other unless `lead` says how far they are."""
        place = x.at(self.row * (self.size * columns if lead is None else lead) + self.i)
        return [place.load_some(self.mask, self.size * k) for k in range(columns)]

    def store(self, x: Pointer, values: Sequence[Value], lead: Value | None = None) -> None:
        place = x.at(self.row * (self.size * len(values) if lead is None else lead) + self.i)
        for k, value in enumerate(values):
            place.store_some(self.mask, value, self.size * k)


@cache
def forward(kind: str, name: str) -> Routine:
    """(x, weight, bias, projection, h, c, room, starts, counts, result, h before, c before, kept, units).

    h and c become the last states; units: what is projected. The weights' columns by panels. What the cell does not
    have is not looked at, nor are h and c before and what is kept where `keeps` is 0.
    """
    cell = CELLS[name]

    def write(f: Task) -> None:
        x, weight, bias, projection, h, c, room, starts, counts, out, h_before, c_before, kept, units = f.arrays
        p, size, features, lead = _Task(f, kind, starts, counts), f["size"], f["features"], f["lead"]
        h, room, c = h.at(p.top * lead), room.at(p.top * f["wide"]), c.at(p.top * size)
        for row, active in p.steps():
            p.multiply(h, lead, features, weight, room, f["wide"], size * cell.gates, active, add=False)
            at, result = row * size, out.at(row * features)
            with f.when(f["keeps"].compare("ne", 0)):
                for u in p.units(active, "features"):
                    u.store(h_before.at(row * features), u.load(h, lead))
            for u in p.units(active):
                hidden = u.load(room, f["wide"], cell.gates)
                if cell.apart:
                    shifts = [bias.load_some(u.mask, u.i + size * k) for k in range(cell.gates)]
                    hidden = [a + b for a, b in zip(hidden, shifts, strict=True)]
                old = None if cell.projects else u.load(h, lead)[0]
                carried = u.load(c)[0] if cell.carries else None
                made = cell.step(FUNCTIONS, u.load(x.at(at * cell.gates), columns=cell.gates), hidden, old, carried)
                u.store(units.at(at) if cell.projects else result, [made.h])
                if not cell.projects:
                    u.store(h, [made.h], lead)
                with f.when(f["keeps"].compare("ne", 0)):
                    if made.kept:
                        u.store(kept.at(at * cell.kept), made.kept)
                    if cell.carries:
                        u.store(c_before.at(at), u.load(c))
                if cell.carries:
                    u.store(c, [made.c])
            if cell.projects:
                p.multiply(units.at(at), size, size, projection, h, lead, features, active, add=False)
                for u in p.units(active, "features"):
                    u.store(result, u.load(h, lead))

    return Routine(f"{name} {kind}", (kind,) * 7 + ("i8", "i8") + (kind,) * 5, WORDS, write, explicit=True)


@cache
def backward(kind: str, name: str) -> Routine:
    """(g, kept or result, h before, c before, weight, projection, dh, dc, room, starts, counts, dx, dhidden, doutput).

    g: the result's gradient; dh and dc: those of the last states, which become those of the first ones; doutput: of
    h after each step. The weights' rows are what is summed over here, their columns by panels. dhidden is not looked
    at where it is dx.
    """
    cell = CELLS[name]
    saved = cell.kept or 1

    def write(f: Task) -> None:
        g, kept, h_before, c_before, weight, projection, dh, dc, room, starts, counts, dx, dhidden, doutput = f.arrays
        p, size, features, lead = _Task(f, kind, starts, counts), f["size"], f["features"], f["lead"]
        dh, room, dc = dh.at(p.top * lead), room.at(p.top * f["wide"]), dc.at(p.top * size)
        for row, active in p.steps():
            at, to = row * size, row * features
            if cell.projects:
                for u in p.units(active, "features"):
                    u.store(doutput.at(to), [u.load(dh, lead)[0] + u.load(g.at(to))[0]])
                p.multiply(doutput.at(to), features, features, projection, room, f["wide"], size, active, add=False)
            for u in p.units(active):
                slope = u.load(room, f["wide"])[0] if cell.projects else u.load(dh, lead)[0] + u.load(g.at(at))[0]
                h = None if cell.projects else u.load(h_before.at(at))[0]
                c, dc_after = (u.load(v)[0] if cell.carries else None for v in (c_before.at(at), dc))
                made = cell.slope(FUNCTIONS, u.load(kept.at(at * saved), columns=saved), h, c, slope, dc_after)
                u.store(dx.at(at * cell.gates), made.x)
                u.store(room, made.hidden, f["wide"])
                if cell.apart:
                    u.store(dhidden.at(at * cell.gates), made.hidden)
                if made.h is not None:
                    u.store(dh, [made.h], lead)
                if cell.carries:
                    u.store(dc, [made.c])
            p.multiply(room, f["wide"], size * cell.gates, weight, dh, lead, features, active, add=cell.apart)

    return Routine(f"{name} back {kind}", (kind,) * 9 + ("i8", "i8") + (kind,) * 3, WORDS, write, explicit=True)
