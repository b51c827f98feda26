"""A pass of a convolution as a product: gathered windows times packed weights, in blocks that stay in the cache.

    target[place, :] = bias + sum over parts of windows[place, part] @ panels[part, :]

Tasks are ranges of places times ranges of panels, by the sizes alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from expkit.kernels.cpu.arrays.copy import copy, dense
from expkit.kernels.cpu.arrays.write import filled
from expkit.kernels.cpu.code.builder import Function, Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.conv import gather
from expkit.kernels.cpu.conv.gather import PITCH, Gather, block_of, height_of, runs_of
from expkit.kernels.cpu.conv.geometry import Pass, round_up, table
from expkit.kernels.cpu.gemm.microkernel import blocking, microkernel

WORK = 1 << 22  # multiplications of a task
TASKS = 16  # at least so many tasks where the panels allow it
PARALLEL = 1 << 19  # multiplications from which several threads are worth waking
TARGET = ("t_batch", "t_depth", "t_height", "t_place")  # steps in elements
_WORDS = (
    *gather.SOURCE, *gather.PLACES, *TARGET,
    "places", "share", "splits", "panels", "lines", "total", "part", "parts", "dense", "biased",
)  # fmt: skip


@cache
def product(kind: str, widths: tuple[int, ...]) -> Routine:
    """Operands: source, panels, bias (whole panels of it), target, runs, the parts' first runs."""
    kinds = (kind,) * 4 + ("i8", "i8")
    return Routine("direct convolution", kinds, _WORDS, lambda f: _Writer(f, kind, widths).write(), explicit=True)


def widths_of(lines: int, kind: str) -> tuple[int, ...]:
    """The panels that so many lines need, in vectors: the last one is half as wide where that is enough."""
    block = blocking(kind)
    whole = block.vectors
    if not 0 < lines % block.width <= block.lanes:
        return (whole,)
    return (whole, 1) if lines > block.lanes else (1,)


class _Writer:
    def __init__(self, f: Task, kind: str, widths: tuple[int, ...]) -> None:
        self.f, self.kind, self.block = f, kind, blocking(kind)
        self.height, self.rows, self.size = height_of(kind), block_of(kind), SIZES[kind]
        source, self.panels, self.bias, self.target, table, self.firsts = f.arrays
        self.scratch = gather.scratch(f, kind, self.rows)
        self.tile = f.scratch(kind, self.height * self.block.width)
        self.offsets = f.scratch("i8", self.rows)
        self.gather = Gather(f, kind, source, table, self.scratch)
        self.kernels = {vectors: self._kernel(vectors) for vectors in widths}

    def _kernel(self, vectors: int) -> Function:
        lanes = self.block.lanes
        return microkernel(
            self.f.helpers, f"product{vectors}", self.height, vectors, self.kind, segmented=False,
            strides=(PITCH * self.size, self.size), extra={"bias": f"*{self.kind}"},
            finish=lambda m, _row, v, x: x + m.pointer("bias").load(v * lanes, lanes),
        )  # fmt: skip

    def write(self) -> None:
        f = self.f
        share, split = f.index / f["splits"], f.index % f["splits"]
        begin = share * f["share"]
        stop = least(f["places"], begin + f["share"])
        low, high = split * f["panels"] / f["splits"], (split + 1) * f["panels"] / f["splits"]
        for start in f.range(stop, start=begin, step=self.rows):
            count = least(stop - start, self.rows)
            self._targets(start, count)
            for q in f.range(f["parts"]):
                self.gather(start, count, self.firsts.load(q), self.firsts.load(q + 1))
                for panel in f.range(high, start=low):
                    for row in f.range(count, step=self.height):
                        self._product(panel, row, count, q)

    def _targets(self, start: Value, count: Value) -> None:
        """Where the result of each place goes."""
        f = self.f
        for n, d, h, row, low, high in gather.lines(f, start, count):
            at = n * f["t_batch"] + d * f["t_depth"] + h * f["t_height"]
            for w in f.range(high, start=low):
                self.offsets.store(at + w * f["t_place"], row + w)

    def _product(self, panel: Value, row: Value, count: Value, q: Value) -> None:
        """One block: straight into the result where its rows are all there and in equal steps."""
        f, width = self.f, self.block.width
        column = panel * width
        columns = least(f["lines"] - column, width)
        done = q * f["part"]
        k = least(f["part"], f["total"] - done)
        narrow = columns.compare("le", self.block.lanes)
        b = self.panels.at(column * f["total"] + done * narrow.select(f.constant("i8", self.block.lanes), width))
        last = (q + 1).compare("eq", f["parts"]).select(f["biased"], 0)
        a, bias = self.scratch.at(row * PITCH), self.bias.at(column)
        rows = least(count - row, self.height)
        straight = f["dense"].compare("ne", 0) & rows.compare("eq", self.height)
        for yes in f.either(straight):
            if yes:
                c = self.target.at(self.offsets.load(row)).at(column)
                self._run(narrow, a, b, c, f["t_place"] * self.size, k, columns, q, last, bias)
            else:
                self._tile(narrow, a, b, row, rows, column, k, columns, q, last, bias)

    def _run(self, narrow: Value, *args: Value | Pointer) -> None:
        if len(self.kernels) == 1:
            (kernel,) = self.kernels.values()
            self.f.run(kernel, *args)
            return
        for small in self.f.either(narrow):
            self.f.run(self.kernels[1 if small else self.block.vectors], *args)

    def _tile(
        self, narrow: Value, a: Pointer, b: Pointer, row: Value, rows: Value, column: Value, k: Value, columns: Value,
        q: Value, last: Value, bias: Pointer,
    ) -> None:  # fmt: skip
        """By way of a tile, from which each row goes to its place."""
        f, width, lanes = self.f, self.block.width, self.block.lanes
        masks = [f.first(columns - v * lanes, lanes) for v in range(self.block.vectors)]

        def rowwise(*, back: bool) -> None:
            for r in f.range(rows):
                place, line = self.target.at(self.offsets.load(row + r)).at(column), self.tile.at(r * width)
                for v, mask in enumerate(masks):
                    a, b = (line, place) if back else (place, line)
                    b.store_some(mask, a.load_some(mask, v * lanes), v * lanes)

        with f.when(q.compare("gt", 0)):
            rowwise(back=False)
        step = f.constant("i8", width * self.size)
        self._run(narrow, a, b, self.tile, step, k, columns, q, last, bias)
        rowwise(back=True)


class Direct:
    """One pass for given sizes.   source (N, D, H, W, channels), panels, bias -> target's places of the pass

    steps: the source's, of batch, depth, height and width, in elements; pixel: elements from place to place of the
    whole result, which lies dense with `sizes` (D, H, W).
    """

    __slots__ = ("_bound", "_firsts", "_table", "_target", "_whole")

    def __init__(
        self, kind: str, p: Pass, batch: int, channels: int, steps: tuple[int, int, int, int], lines: int,
        sizes: tuple[int, ...], pixel: int,
    ) -> None:  # fmt: skip
        runs = runs_of(p, channels, steps[3])
        self._table, self._firsts = table(runs.table), table(runs.first)
        self._target = p.target()
        self._whole = tuple(p.out) == tuple(sizes)
        jumps = [axis.jump for axis in p.axes]
        targets = (sizes[0] * sizes[1] * sizes[2], sizes[1] * sizes[2] * jumps[0], sizes[2] * jumps[1], jumps[2])
        places, total = batch * p.out[0] * p.out[1] * p.out[2], p.taps * channels
        panels = -(-lines // blocking(kind).width)
        share, splits = shares(places, panels, total * lines, block_of(kind))
        words = gather.numbers(p, steps) | {n: t * pixel for n, t in zip(TARGET, targets, strict=True)}
        words |= {"places": places, "share": share, "splits": splits, "panels": panels, "lines": lines, "total": total}
        words |= {"part": runs.part, "parts": runs.parts, "dense": self._whole, "biased": 0}
        tasks = -(-places // share) * splits
        parallel = places * lines * max(total, 1) >= PARALLEL
        routine = product(kind, widths_of(lines, kind))
        self._bound = [routine.bind(tasks, parallel=parallel, **words | {"biased": b}) for b in (0, 1)]

    def __call__(self, source: Any, panels: Any, bias: Any, target: Any) -> None:
        """target: (N, D, H, W, lines), a view. bias: as many numbers as the panels have lines, or None."""
        if not self._whole:
            target = target[(slice(None), *self._target)]
        run = self._bound[bias is not None]
        run(source, panels, target if bias is None else bias, target, self._table, self._firsts)


def shares(places: int, panels: int, work: int, block: int) -> tuple[int, int]:
    """(places of a task, ranges of panels), for `work` multiplications a place."""
    share = block * max(1, WORK // max(1, work * block))
    splits = min(panels, max(1, TASKS // -(-places // share)))
    return share, splits


def padded_bias(b: Any, kind: str) -> Any:
    """A bias with zeros up to whole panels."""
    width = blocking(kind).width
    if not b.size % width:
        return dense(b)
    out = filled((round_up(b.size, width),), b.dtype)
    copy(out[: b.size], b)
    return out
