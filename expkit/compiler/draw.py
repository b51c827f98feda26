"""Pictures of programs: SVG and HTML that need nothing else.

    open("step.svg", "w").write(draw(ek.func.trace(f, x)))

Rows are places of the model, columns the phases of a step; boxes are kernels, as wide bars of colour as they do work.
Arrows down and up are values and gradients on their way; across goes what the backward pass reads again.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from expkit.autograd.equations import Graph
from expkit.compiler.cost import Cost
from expkit.compiler.diagram import Diagram, Edge, Kernel, Where, diagram

WIDE, HIGH, GAP = 236, 40, 6  # of a kernel's box
LABEL, LANE, ROW = 190, 96, 16  # the rows' names, the room between columns, between rows
TOP = 84
FAINT, NEAR = 100, 2  # arrows over more than so many rows are left out where they carry less than this part of the most
COLOURS = {"forward": "#2a78b8", "backward": "#b5512f", "update": "#5c8a3a", "": "#2a78b8"}
STYLE = """
.page { fill: #ffffff } .band { fill: #f3f5f7 } .box { fill: #ffffff; stroke: #b9c2cb }
text { font: 11px ui-sans-serif, system-ui, sans-serif; fill: #1d2731 }
.small { font-size: 10px; fill: #5c6975 } .head { font-size: 15px; font-weight: 600 }
.row { font-weight: 600; font-size: 11px } .edge { fill: none; stroke: #8796a5 }
.across { stroke: #c9a227 } .flow { fill: #5c6975; font-size: 9px }
"""


def draw(graph: Graph, results: Sequence[Any] | None = None, where: Where | None = None, title: str = "") -> str:
    """The picture of a traced function as SVG."""
    return svg(diagram(graph, results, where), title)


def html(made: Diagram, title: str = "") -> str:
    """The picture in a page of its own."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<body style="margin:0;background:#fff">\n{svg(made, title)}</body></html>\n'
    )


def svg(made: Diagram, title: str = "") -> str:
    """The picture as one SVG element."""
    page = _Page(made)
    body = [*page.bands(), *page.arrows(), *page.boxes()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page.width}" height="{page.height}" '
        f'viewBox="0 0 {page.width} {page.height}">\n<style>{STYLE}</style>\n'
        f'<defs><marker id="tip" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="7" markerHeight="7" '
        f'markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0,0 L6,3 L0,6 z" fill="#8796a5"/></marker></defs>\n'
        f'<rect class="page" width="{page.width}" height="{page.height}"/>\n'
        f"{_text(16, 26, title, 'head')}\n" + "\n".join(body) + "\n</svg>\n"
    )


class _Page:
    """Where everything stands."""

    def __init__(self, made: Diagram) -> None:
        self.made = made
        self.left = {column: LABEL + n * (WIDE + LANE) + LANE // 2 for n, column in enumerate(made.columns)}
        self.tall = {row: max(1, *(len(made.cells.get((row, c), ())) for c in made.columns)) for row in made.rows}
        self.top: dict[str, int] = {}
        at = TOP
        for row in made.rows:
            self.top[row] = at
            at += self.tall[row] * (HIGH + GAP) - GAP + ROW
        self.width, self.height = LABEL + len(made.columns) * (WIDE + LANE) + 8, at + 8
        self.rank = {row: n for n, row in enumerate(made.rows)}
        self.busiest = max((k.cost.flops for cell in made.cells.values() for k in cell), default=0)

    def bands(self) -> list[str]:
        """The rows' names on bands by turns, and the columns' sums."""
        found = []
        for n, row in enumerate(self.made.rows):
            if n % 2 == 0:
                high = self.tall[row] * (HIGH + GAP) - GAP + ROW
                place = f'y="{self.top[row] - ROW // 2}" width="{self.width}" height="{high}"'
                found.append(f'<rect class="band" x="0" {place}/>')
            found.append(_text(16, self.top[row] + 24, _short(row, 27), "row", row))
        for column, x in self.left.items():
            found.append(_text(x, TOP - 32, column or "kernels", "head"))
            found.append(_text(x, TOP - 17, work(self.made.total(column)), "small"))
        return found

    def boxes(self) -> list[str]:
        """The kernels."""
        return [
            self._box(kernel, self.left[column], self.top[row] + n * (HIGH + GAP), COLOURS.get(column, COLOURS[""]))
            for (row, column), cell in self.made.cells.items()
            for n, kernel in enumerate(cell)
        ]

    def _box(self, kernel: Kernel, x: int, y: int, colour: str) -> str:
        share = kernel.cost.flops / self.busiest if self.busiest else 0.0
        times = f" ×{kernel.times}" if kernel.times > 1 else ""
        every = f"{' + '.join(kernel.parts)}{times}\n{kernel.shape}\n{work(kernel.cost)}"
        return (
            f"<g><title>{escape(every)}</title>"
            f'<rect class="box" x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="4"/>'
            f'<rect x="{x}" y="{y + HIGH - 3}" width="{max(2, round(share * WIDE))}" height="3" fill="{colour}"/>'
            f"{_text(x + 8, y + 15, _short(kernel.title, 34 - len(times)) + times)}"
            f"{_text(x + 8, y + 30, f'{kernel.shape} · {work(kernel.cost)}', 'small')}</g>"
        )

    def arrows(self) -> list[str]:
        """What goes between cells; between distant ones only what is worth a look."""
        most = max((edge.bytes for edge in self.made.edges), default=0)
        shown = [e for e in self.made.edges if e.bytes * FAINT >= most or abs(self._step(e)) <= NEAR]
        return [self._arrow(edge, 1 + 2.5 * edge.bytes / max(1, most)) for edge in shown]

    def _step(self, edge: Edge) -> int:
        return self.rank[edge.end[0]] - self.rank[edge.start[0]]

    def _arrow(self, edge: Edge, wide: float) -> str:
        (row, column), (last, goal) = edge.start, edge.end
        note = f"<title>{escape(f'{row} → {last}: {quantity(edge.bytes)}')}</title>"
        if column != goal:
            return self._across(edge, wide, note)
        x = self.left[column]
        step = self._step(edge)
        if abs(step) == 1:
            lower, upper = (last, row) if step > 0 else (row, last)
            middle = x + WIDE // 2
            edges = (self._bottom(upper, column), self.top[lower])
            start, end = edges if step > 0 else edges[::-1]
            path = f"M{middle},{start} L{middle},{end}"
        else:
            out = 10 + min(LANE // 2 - 14, 5 * abs(step).bit_length())
            start, end = self._middle(row, column), self._middle(last, goal)
            path = f"M{x},{start} C{x - out},{start} {x - out},{end} {x},{end}"
        return f'<path class="edge" d="{path}" stroke-width="{wide:.1f}" marker-end="url(#tip)">{note}</path>'

    def _across(self, edge: Edge, wide: float, note: str) -> str:
        (row, column), (last, goal) = edge.start, edge.end
        right = self.left[goal] > self.left[column]
        x, end = (self.left[column] + WIDE, self.left[goal]) if right else (self.left[column], self.left[goal] + WIDE)
        y, to = self._middle(row, column), self._middle(last, goal)
        half = (x + end) // 2
        path = f"M{x},{y} C{half},{y} {half},{to} {end},{to}"
        label = _text(half - 18, y - 4, quantity(edge.bytes), "flow") if row == last else ""
        style = f'class="edge across" stroke-width="{wide:.1f}" marker-end="url(#tip)"'
        return f'<path d="{path}" {style}>{note}</path>{label}'

    def _bottom(self, row: str, column: str) -> int:
        return self.top[row] + len(self.made.cells.get((row, column), ())) * (HIGH + GAP) - GAP

    def _middle(self, row: str, column: str) -> int:
        return (self.top[row] + self._bottom(row, column)) // 2


def work(cost: Cost) -> str:
    """Operations and bytes, as people read them."""
    return f"{_scaled(cost.flops)}FLOP · {quantity(cost.bytes)}"


def quantity(count: float) -> str:
    """Bytes, as people read them."""
    return f"{_scaled(count)}B"


def _scaled(count: float) -> str:
    place = 0
    while abs(count) >= 1000 and place < 5:
        count, place = count / 1000, place + 1
    return f"{count:.3g} {('', 'k', 'M', 'G', 'T', 'P')[place]}"


def _short(text: str, count: int) -> str:
    """The beginning; of a path its end, which says more."""
    if len(text) <= count:
        return text
    return f"…{text[-count + 1 :]}" if "·" not in text else f"{text[: count - 1]}…"


def _text(x: int, y: int, text: str, kind: str = "", hint: str = "") -> str:
    note = f"<title>{escape(hint)}</title>" if hint else ""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{named}>{note}{escape(text)}</text>'
