"""Weights into Winograd's domain, packed for the products; and gradients of weights back from it."""

from __future__ import annotations

from functools import cache

from expkit.kernels.cpu.code.builder import Function, Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.conv.winograd_tiles import below
from expkit.kernels.cpu.conv.winograd_transforms import POINTS, TAPS, both_ways, filter_in

_TAPS = TAPS * TAPS


def transpose(f: Function, rows: list[Value]) -> list[Value]:
    """The columns of a square of vectors, by exchanging ever larger blocks."""
    lanes, step = len(rows), 1
    while step < lanes:
        low = [n if not n & step else n - step + lanes for n in range(lanes)]
        high = [n + step if not n & step else n + lanes for n in range(lanes)]
        rows = list(rows)
        for k in range(lanes):
            if not k & step:
                a, b = rows[k], rows[k + step]
                rows[k], rows[k + step] = f.shuffle(a, b, low), f.shuffle(a, b, high)
        step *= 2
    return rows


def _taps_by_lane(f: Function, at: Pointer, step: Value, count: Value, lanes: int) -> list[Value]:
    """Nine vectors, one for each tap, whose lanes are filters `step` elements apart; zeros from `count` on."""
    taps: list[Value] = []
    for first in range(0, _TAPS, lanes):
        some = min(lanes, _TAPS - first)
        rows = []
        for lane in range(lanes):
            length = f.constant("i8", lane).compare("lt", count).select(some, f.constant("i8", 0))
            rows.append(at.at(step * lane).load_some(f.first(length, lanes), first))
        taps += transpose(f, rows)[:some]
    return taps


@cache
def pack_routine(lanes: int, turned: bool) -> Routine:
    """w: filters of nine taps in a row, `lane_step` apart along the results' channels (`lane_count` of them) and `step`
    along the summed ones (`count`) -> packed: [panel][point][summed channel, padded][two vectors of results' channels].

    The last panel has one vector where the vectors are odd in number. Tasks: one for each panel's part of `block`
    summed channels, `blocks` of them. turned: the filter rotated by half a turn, for the gradient of the input.
    """

    def write(f: Task) -> None:
        w, packed = f.arrays
        panel, part = f.index / f["blocks"], f.index % f["blocks"]
        vectors = least(f["vectors"] - panel * 2, 2)
        width = vectors * lanes
        plane = f["padded"] * width
        start = packed.at(panel * (f["padded"] * (2 * lanes * POINTS)))
        first = part * f["block"]
        for c in f.range(least(first + f["block"], f["padded"]), first):
            for v in f.range(vectors):
                lane = (panel * 2 + v) * lanes
                some = below(f, c, f["count"]).select(f["lane_count"] - lane, f.constant("i8", 0))
                taps = _taps_by_lane(f, w.at(c * f["step"] + lane * f["lane_step"]), f["lane_step"], some, lanes)
                taps = taps[::-1] if turned else taps
                at = start.at(c * width + v * lanes)
                for p, x in enumerate(both_ways(filter_in, taps)):
                    at.store(x, plane * p)

    words = ("count", "padded", "step", "lane_count", "lane_step", "vectors", "block", "blocks")
    return Routine("winograd_pack", ("f4", "f4"), words, write, explicit=True)
