"""Weights (outs, ins, *kernel) as the panels that micro-kernels read: for each tap and channel a line of outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from expkit.kernels.cpu.conv.geometry import Pass, round_up, table
from expkit.kernels.cpu.conv.layout import aligned, bind, transposer
from expkit.kernels.cpu.gemm.microkernel import blocking


class Panels:
    """The packed weights of one pass.   (outs, ins, *kernel) -> (panel, tap, in, width)

    swapped: for the pass back, in which the outs are summed over and the ins are the lines. The last panel is half as
    wide where that is enough.
    """

    __slots__ = ("_calls", "_shape", "_size", "_swapped", "lines")

    def __init__(self, kind: str, p: Pass, outs: int, ins: int, *, swapped: bool) -> None:
        width, lanes = blocking(kind).width, blocking(kind).lanes
        self.lines, depth = (ins, outs) if swapped else (outs, ins)
        self._swapped, total = swapped, p.taps * depth
        self._shape = (outs, ins, int(np.prod(p.kernel)))
        full = self.lines // width if 0 < self.lines % width <= lanes else -(-self.lines // width)
        self._size = (full * width + (lanes if full * width < self.lines else 0)) * total
        self._calls = []
        for start, stop, wide in ((0, min(self.lines, full * width), width), (full * width, self.lines, lanes)):
            if start < stop and total:
                make = self._back if swapped else self._there
                bound, places = make(kind, p, stop - start, wide, total)
                self._calls.append((bound, places, slice(start, stop), start * total))

    def _there(self, kind: str, p: Pass, lines: int, width: int, total: int) -> tuple[Any, Any]:
        """Rows: the outs; columns: (in, place)."""
        _, ins, places = self._shape
        lines_of = np.full((ins, places), -1)
        lines_of[:, p.places()] = (np.arange(p.taps) * ins + np.arange(ins)[:, None]) * width
        words = {"panel": width, "panel_step": total * width, "stored": round_up(lines, width)}
        return bind(transposer(kind, by_column=True), 1, lines, ins * places, **words), table(lines_of)

    def _back(self, kind: str, p: Pass, lines: int, width: int, total: int) -> tuple[Any, Any]:
        """A batch for each out; rows: the ins; columns: the places."""
        outs, ins, places = self._shape
        lines_of = np.full(places, -1)
        lines_of[p.places()] = np.arange(p.taps) * outs * width
        words = {"panel": width, "panel_step": total * width, "stored": round_up(lines, width)}
        steps = {"source_batch": ins * places, "target_batch": width}
        return bind(transposer(kind, by_column=True), outs, lines, places, **words, **steps), table(lines_of)

    def __call__(self, w: Any) -> Any:
        """The panels of dense weights."""
        w = w.reshape(self._shape)
        out = aligned((self._size,), w.dtype)
        for bound, places, part, at in self._calls:
            bound(w[:, part] if self._swapped else w[part], out[at:], places)
        return out


class LanePanels:
    """The weights of groups of a few channels.   (groups outs, ins, *kernel) -> (vector, tap, in, lane)

    swapped: the ins of all groups are the lanes, and the outs of a group are what is summed over.
    """

    __slots__ = ("_bound", "_rows", "_shape", "_size", "_table")

    def __init__(self, kind: str, p: Pass, groups: int, ins: int, outs: int, *, swapped: bool) -> None:
        lanes, places = blocking(kind).lanes, int(np.prod(p.kernel))
        lines, depth = (groups * ins, outs) if swapped else (groups * outs, ins)
        self._shape, self._size = (groups * outs, ins, places), round_up(lines, lanes) * p.taps * depth
        line = np.arange(lines)
        if swapped:  # a batch for each out of a group; rows: the ins of all groups
            self._rows = table((line // ins * outs * ins + line % ins) * places)
            batch, ahead = outs, (ins * places, lanes)
        else:  # a batch for each in
            self._rows = table(line * ins * places)
            batch, ahead = ins, (places, lanes)
        lines_of = np.full(places, -1)
        lines_of[p.places()] = np.arange(p.taps) * depth * lanes
        self._table = table(lines_of)
        self._bound = bind(
            transposer(kind, by_row=True, by_column=True), batch, lines, places, stored=round_up(lines, lanes),
            panel=lanes, panel_step=p.taps * depth * lanes, source_batch=ahead[0], target_batch=ahead[1],
        )  # fmt: skip

    def __call__(self, w: Any) -> Any:
        """The panels of dense weights."""
        out = aligned((self._size,), w.dtype)
        self._bound(w, out, self._rows, self._table)
        return out
