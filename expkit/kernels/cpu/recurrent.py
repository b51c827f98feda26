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
from expkit.kernels.cpu.builder import Pointer, least
from expkit.kernels.cpu.elementwise import EMITTERS
from expkit.kernels.cpu.gemm.microkernel import blocking
from expkit.kernels.cpu.ir import SIZES, Value
from expkit.kernels.cpu.panels import rows_product
from expkit.kernels.cpu.routine import Routine, Task
from expkit.kernels.cpu.vectors import LANES

TALL = 8  # rows of a micro-kernel: of so many a task's sequences are a multiple
FUNCTIONS = Functions(*(EMITTERS[name] for name in Functions._fields))
WORDS = ("rows", "steps", "first", "step", "size", "lead", "wide", "keeps")


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

    def units(self, active: Value) -> Iterator[_Units]:
        """The vectors of units of all rows."""
        f = self.f
        for r in f.range(active):
            for i in f.range(f["size"], step=self.lanes):
                yield _Units(r, i, f["size"], f.first(f["size"] - i, self.lanes))


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
    """(x, weight, bias, h, c, room, starts, counts, result, h before, c before, kept); h and c become the last states.

    weight: h's columns by panels of gates. What the cell does not have is not looked at, nor are the last three where
    `keeps` is 0.
    """
    cell = CELLS[name]

    def write(f: Task) -> None:
        x, weight, bias, h, c, room, starts, counts, out, h_before, c_before, kept = f.arrays
        p, size, lead = _Task(f, kind, starts, counts), f["size"], f["lead"]
        h, room, c = h.at(p.top * lead), room.at(p.top * f["wide"]), c.at(p.top * size)
        for row, active in p.steps():
            p.multiply(h, lead, size, weight, room, f["wide"], size * cell.gates, active, add=False)
            at = row * size
            for u in p.units(active):
                hidden = u.load(room, f["wide"], cell.gates)
                if cell.apart:
                    shifts = [bias.load_some(u.mask, u.i + size * k) for k in range(cell.gates)]
                    hidden = [a + b for a, b in zip(hidden, shifts, strict=True)]
                (old,) = u.load(h, lead)
                carried = u.load(c)[0] if cell.carries else None
                made = cell.step(FUNCTIONS, u.load(x.at(at * cell.gates), columns=cell.gates), hidden, old, carried)
                u.store(out.at(at), [made.h])
                with f.when(f["keeps"].compare("ne", 0)):
                    u.store(h_before.at(at), [old])
                    if made.kept:
                        u.store(kept.at(at * cell.kept), made.kept)
                    if cell.carries:
                        u.store(c_before.at(at), u.load(c))
                u.store(h, [made.h], lead)
                if cell.carries:
                    u.store(c, [made.c])

    return Routine(f"{name} {kind}", (kind,) * 6 + ("i8", "i8") + (kind,) * 4, WORDS, write, explicit=True)


@cache
def backward(kind: str, name: str) -> Routine:
    """(g, kept or result, h before, c before, weight, dh, dc, room, starts, counts, dx, dhidden).

    g: the result's gradient; dh and dc: those of the last states, which become those of the first ones. weight: the
    gates' columns by panels of h. dhidden is not looked at where it is dx.
    """
    cell = CELLS[name]
    saved = cell.kept or 1

    def write(f: Task) -> None:
        g, kept, h_before, c_before, weight, dh, dc, room, starts, counts, dx, dhidden = f.arrays
        p, size, lead = _Task(f, kind, starts, counts), f["size"], f["lead"]
        dh, room, dc = dh.at(p.top * lead), room.at(p.top * f["wide"]), dc.at(p.top * size)
        for row, active in p.steps():
            at = row * size
            for u in p.units(active):
                slope = u.load(dh, lead)[0] + u.load(g.at(at))[0]
                (h,) = u.load(h_before.at(at))
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
            p.multiply(room, f["wide"], size * cell.gates, weight, dh, lead, size, active, add=cell.apart)

    return Routine(f"{name} back {kind}", (kind,) * 8 + ("i8", "i8") + (kind,) * 2, WORDS, write, explicit=True)
