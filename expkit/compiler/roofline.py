"""The roofline: how fast kernels are, against what the machine could do at their operations for each byte.

Williams, Waterman, Patterson: Roofline, an insightful visual performance model, 2009. Both axes are logarithmic; the
area of a point is its share of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10, sqrt
from typing import NamedTuple

WIDE, HIGH = 900, 560
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 50, 60
COLOURS = ("#2a78b8", "#b5512f", "#5c8a3a", "#8a5aa8", "#c9a227", "#3a8f8a", "#a8476b", "#6b7785")
LEAST = 1e-3
LISTED = 18  # kernels named beside the picture
STYLE = """
.page { fill: #ffffff } .grid { stroke: #e3e7eb } .roof { stroke: #1d2731; stroke-width: 2; fill: none }
text { font: 11px ui-sans-serif, system-ui, sans-serif; fill: #1d2731 }
.small { font-size: 10px; fill: #5c6975 } .head { font-size: 15px; font-weight: 600 }
"""


class Point(NamedTuple):
    """A kernel: seconds, operations and bytes of all its runs."""

    name: str
    seconds: float
    flops: float
    bytes: float

    @property
    def intensity(self) -> float:
        return self.flops / self.bytes

    @property
    def speed(self) -> float:
        return self.flops / self.seconds


def roofline(points: Sequence[Point], flops: float, bandwidth: float, title: str = "") -> str:
    """The picture as SVG. flops, bandwidth: the machine's peaks, a second.

    Left out are points without operations, which have no place, and those of less than LEAST of the time.
    """
    total = sum(p.seconds for p in points) or 1.0
    shown = [p for p in points if p.flops and p.bytes and p.seconds > LEAST * total]
    shown.sort(key=lambda p: -p.seconds)
    axes = _Axes(shown, flops, bandwidth)
    body = [*axes.grid(), axes.roof(), *axes.peaks()]
    body += [_point(axes, p, n, p.seconds / total) for n, p in enumerate(shown)]
    body += [_entry(p, n, p.seconds / total) for n, p in enumerate(shown[:LISTED])]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}">\n'
        f'<style>{STYLE}</style>\n<rect class="page" width="{WIDE}" height="{HIGH}"/>\n'
        f'<text class="head" x="{LEFT}" y="28">{escape(title)}</text>\n' + "\n".join(body) + "\n</svg>\n"
    )


class _Axes:
    """Logarithmic axes around the points and the ridge."""

    def __init__(self, points: Sequence[Point], flops: float, bandwidth: float) -> None:
        self.flops, self.bandwidth = flops, bandwidth
        ridge = flops / bandwidth
        xs, ys = [ridge, *(p.intensity for p in points)], [flops, *(p.speed for p in points)]
        self.x0, self.x1 = floor(log10(min(xs)) - 0.2), ceil(log10(max(xs)) + 0.2)
        self.y0, self.y1 = floor(log10(min(ys)) - 0.1), ceil(log10(max(ys)) + 0.05)

    def x(self, intensity: float) -> float:
        return LEFT + (log10(intensity) - self.x0) / (self.x1 - self.x0) * (WIDE - LEFT - RIGHT)

    def y(self, speed: float) -> float:
        return HIGH - BOTTOM - (log10(speed) - self.y0) / (self.y1 - self.y0) * (HIGH - TOP - BOTTOM)

    def grid(self) -> list[str]:
        """Lines and numbers at powers of ten, and what the axes are."""
        found = []
        for power in range(self.x0, self.x1 + 1):
            x = self.x(10.0**power)
            found.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HIGH - BOTTOM}"/>')
            found.append(f'<text class="small" x="{x:.1f}" y="{HIGH - BOTTOM + 16}" text-anchor="middle">'
                         f"{10.0**power:g}</text>")  # fmt: skip
        for power in range(self.y0, self.y1 + 1):
            y = self.y(10.0**power)
            found.append(f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            found.append(f'<text class="small" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                         f"{10.0**power / 1e9:g}</text>")  # fmt: skip
        middle = (LEFT + WIDE - RIGHT) // 2
        found.append(f'<text x="{middle}" y="{HIGH - 18}" text-anchor="middle">FLOP for each byte</text>')
        found.append(f'<text x="18" y="{HIGH // 2}" transform="rotate(-90 18 {HIGH // 2})" text-anchor="middle">'
                     "GFLOP/s</text>")  # fmt: skip
        return found

    def roof(self) -> str:
        """Up along the memory's speed, then level at the processor's."""
        ridge = self.flops / self.bandwidth
        start = max(10.0**self.x0, 10.0**self.y0 / self.bandwidth)
        corners = [(start, start * self.bandwidth), (ridge, self.flops), (10.0**self.x1, self.flops)]
        path = " L".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in corners)
        return f'<path class="roof" d="M{path}"/>'

    def peaks(self) -> list[str]:
        """The two numbers, at the roof."""
        high = self.y(self.flops) - 8
        return [
            f'<text x="{WIDE - RIGHT - 4}" y="{high:.1f}" text-anchor="end">{self.flops / 1e9:.0f} GFLOP/s</text>',
            f'<text x="{self.x(self.flops / self.bandwidth) - 12:.1f}" y="{high:.1f}" text-anchor="end">'
            f"{self.bandwidth / 1e9:.0f} GB/s</text>",
        ]


def _point(axes: _Axes, p: Point, number: int, share: float) -> str:
    note = f"{p.name}: {p.speed / 1e9:.3g} GFLOP/s, {p.bytes / p.seconds / 1e9:.3g} GB/s, {share:.1%} of the time"
    return (
        f'<circle cx="{axes.x(p.intensity):.1f}" cy="{axes.y(p.speed):.1f}" r="{3 + 30 * sqrt(share):.1f}" '
        f'fill="{COLOURS[number % len(COLOURS)]}" fill-opacity="0.55"><title>{escape(note)}</title></circle>'
    )


def _entry(p: Point, number: int, share: float) -> str:
    y = TOP + 14 + 24 * number
    x = WIDE - RIGHT + 20
    name = p.name if len(p.name) <= 24 else f"{p.name[:23]}…"
    return (
        f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{COLOURS[number % len(COLOURS)]}" fill-opacity="0.7"/>'
        f'<text x="{x + 11}" y="{y}">{escape(name)}</text>'
        f'<text class="small" x="{x + 11}" y="{y + 11}">{share:.1%}, {p.speed / 1e9:.3g} GFLOP/s</text>'
    )
