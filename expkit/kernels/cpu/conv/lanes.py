"""Depthwise and narrow grouped convolutions: a lane for each channel of the result, neighbouring places in registers.

Each vector of the source is loaded once for all taps along the innermost axis and all places that read it. Groups of
several channels: a vector's lanes are permuted so that each lane meets the c-th input of its group, for every c.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from math import prod
from typing import Any, NamedTuple

from expkit.kernels.cpu.arrays.copy import copy
from expkit.kernels.cpu.arrays.write import number
from expkit.kernels.cpu.code.builder import Cell, Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.conv.gather import PLACES, SOURCE, numbers
from expkit.kernels.cpu.conv.geometry import Pass
from expkit.kernels.cpu.gemm.microkernel import blocking
from expkit.kernels.cpu.machine.call import Bound

WORK = 1 << 19  # multiplications of a task
PARALLEL = 1 << 17  # multiplications from which several threads are worth waking
MOST_TAPS = 32  # along the innermost axis: they are written out
WALK = ("first_depth", "first_height", "first_width", "taps_depth", "taps_height", "space_depth", "space_height")
TARGET = ("t_batch", "t_depth", "t_height", "t_width")
WORDS = (*SOURCE, *PLACES, *WALK, *TARGET, "pixel", "parts", "share", "channels")


class Narrow(NamedTuple):
    """What the code of a pass depends on: channels of a group, taps, step and spacing along the innermost axis."""

    kind: str
    ins: int
    outs: int
    taps: int
    step: int
    spacing: int
    block: int  # places at a time

    @property
    def lanes(self) -> int:
        return blocking(self.kind).lanes

    @property
    def reach(self) -> int:
        """Places of the source that a block reads."""
        return (self.block - 1) * self.step + (self.taps - 1) * self.spacing + 1

    def readers(self, j: int) -> list[tuple[int, int]]:
        """(tap, place of the block) that read the source's place j."""
        found = ((t, *divmod(j - t * self.spacing, self.step)) for t in range(self.taps))
        return [(t, place) for t, place, rest in found if rest == 0 and 0 <= place < self.block]


def fits(kind: str, ins: int, outs: int, taps: int) -> bool:
    """Whether lanes serve groups of so many channels: powers of two whose inputs lie in two vectors at most."""
    powers = not ins & (ins - 1) and not outs & (outs - 1)
    return powers and 2 * outs <= blocking(kind).lanes and ins <= 2 * outs and taps <= MOST_TAPS


def narrow(kind: str, p: Pass, ins: int, outs: int) -> Narrow:
    """The code for a pass: blocks of places that waste little."""
    width = p.axes[2]
    blocks = (8, 7, 6, 5) if blocking(kind).heights[0] > 8 else (4, 3)
    block = min(blocks, key=lambda b: (-(-width.out // b) * b, -b))
    return Narrow(kind, ins, outs, width.taps, width.step, width.spacing, block)


def walk(p: Pass) -> dict[str, int]:
    """The numbers WALK."""
    depth, height, width = p.axes
    starts = (depth.start, height.start, width.start)
    return dict(zip(WALK, (*starts, depth.taps, height.taps, depth.spacing, height.spacing), strict=True))


class Source:
    """Vectors of the source, with zeros around the image, and their permutations."""

    def __init__(self, f: Task, code: Narrow, image: Pointer, column: Value) -> None:
        """column: the first lane's channel of the result."""
        self.f, self.code = f, code
        lanes = code.lanes
        first = column / code.outs * code.ins
        self.image = image.at(first)
        self.span = lanes // code.outs * code.ins
        self.masks = [f.first(f["channels"] - first - v, lanes) for v in range(0, self.span, lanes)]

    def lines(self, d: Value, h: Value) -> Any:
        """(td, th, line of the source) of the taps that lie inside, for a line of the result."""
        f = self.f
        for td in f.range(f["taps_depth"]):
            sd = d * f["step_depth"] + f["first_depth"] + td * f["space_depth"]
            with f.when(sd.compare("ge", 0) & sd.compare("lt", f["depth"])):
                for th in f.range(f["taps_height"]):
                    sh = h * f["step_height"] + f["first_height"] + th * f["space_height"]
                    with f.when(sh.compare("ge", 0) & sh.compare("lt", f["height"])):
                        yield td, th, self.image.at(sd * f["s_depth"] + sh * f["s_height"])

    def inside(self, w: Value) -> Value:
        """Whether the block at place w reads nothing outside of the line."""
        start = w * self.code.step + self.f["first_width"]
        return start.compare("ge", 0) & (start + self.code.reach).compare("le", self.f["line"])

    def there(self, w: Value, j: int, *, inside: bool) -> AbstractContextManager[None]:
        """What is written within runs where the place j of the block at w lies in the line."""
        if inside:
            return nullcontext()
        at = w * self.code.step + (self.f["first_width"] + j)
        return self.f.when(at.compare("ge", 0) & at.compare("lt", self.f["line"]))

    def ahead(self, line: Pointer, w: Value) -> None:
        """Brings near what the same block of the next line reads."""
        f = self.f
        line = line.at(f["step_height"] * f["s_height"])
        for j in range(self.code.reach):
            line.at((w * self.code.step + (f["first_width"] + j)) * f["pixel"]).prefetch()

    def vectors(self, line: Pointer, w: Value, j: int) -> list[Value]:
        """The place j that the block at w reads: a vector for each input channel of a group."""
        f, code = self.f, self.code
        place = line.at((w * code.step + (f["first_width"] + j)) * f["pixel"])
        loaded = [place.load_some(mask, v * code.lanes) for v, mask in enumerate(self.masks)]
        return [self._permuted(loaded, c) for c in range(code.ins)]

    def _permuted(self, loaded: list[Value], c: int) -> Value:
        code = self.code
        if code.ins == code.outs == 1:
            return loaded[0]
        numbers = [lane // code.outs * code.ins + c for lane in range(code.lanes)]
        return self.f.shuffle(loaded[0], loaded[-1], numbers)


def each_line(f: Task, body: Callable[[Value, Value, Value, Value], None]) -> None:
    """body(n, d, first, stop) for the task's lines [first, stop) of the result."""
    part, rest = f.index % f["parts"], f.index / f["parts"]
    first = part * f["share"]
    body(rest / f["out_depth"], rest % f["out_depth"], first, least(f["out_height"], first + f["share"]))


@cache
def product(code: Narrow) -> Routine:
    """Operands: source, panels of a vector each, bias, target."""
    words = (*WORDS, "outs", "taps", "biased")
    return Routine("narrow convolution", (code.kind,) * 4, words, _Writer(code).write, explicit=True)


class _Writer:
    def __init__(self, code: Narrow) -> None:
        self.code = code

    def write(self, f: Task) -> None:
        """Blocks of places go down the image, all channels at each line: what they read is in the cache."""
        source, panels, bias, target = f.arrays
        lanes = self.code.lanes

        def lines(n: Value, d: Value, first: Value, stop: Value) -> None:
            image, to = source.at(n * f["s_batch"]), target.at(n * f["t_batch"] + d * f["t_depth"])
            for w in f.range(f["out_width"], step=self.code.block):
                for h in f.range(stop, start=first):
                    for column in f.range(f["outs"], step=lanes):
                        mask = f.first(f["outs"] - column, lanes)
                        start = f.cell(f.splat(0.0, lanes, self.code.kind))
                        with f.when(f["biased"].compare("ne", 0)):
                            start.value = bias.load_some(mask, column)
                        line = to.at(h * f["t_height"] + column)
                        for p in range(self.code.block):
                            line.at((w + p) * f["t_width"]).prefetch(write=True)
                        read = Source(f, self.code, image, column)
                        sums = self._sums(f, read, panels.at(column * f["taps"]), (d, h, w), start.value)
                        self._store(f, sums, line, w, mask)

        each_line(f, lines)

    def _store(self, f: Task, sums: list[Cell], line: Pointer, w: Value, mask: Value) -> None:
        for p, cell in enumerate(sums):
            with f.when((w + p).compare("lt", f["out_width"])):
                line.at((w + p) * f["t_width"]).store_some(mask, cell.value)

    def _sums(
        self, f: Task, read: Source, weights: Pointer, place: tuple[Value, Value, Value], start: Value
    ) -> list[Cell]:
        """The block's results."""
        code, (d, h, w) = self.code, place
        sums = [f.cell(start) for _ in range(code.block)]
        for td, th, source in read.lines(d, h):
            line = weights.at((td * f["taps_height"] + th) * (code.taps * code.ins * code.lanes))
            taps = [line.load(i * code.lanes, code.lanes) for i in range(code.taps * code.ins)]
            with f.when((th + f["step_height"]).compare("ge", f["taps_height"])):
                read.ahead(source, w)
            for inside in f.either(read.inside(w)):
                for j in range(code.reach):
                    with read.there(w, j, inside=inside):
                        self._add(sums, read.vectors(source, w, j), taps, code.readers(j))
        return sums

    def _add(self, sums: list[Cell], xs: list[Value], taps: list[Value], readers: list[tuple[int, int]]) -> None:
        for c, x in enumerate(xs):
            for t, p in readers:
                sums[p].value = x.fma(taps[t * self.code.ins + c], sums[p].value)


class Narrowly:
    """One pass for given sizes.   source (N, D, H, W, groups ins), panels, bias -> target's places of the pass

    steps: the source's, of batch, depth, height and width, in elements; sizes: (D, H, W) of the whole result, dense.
    """

    __slots__ = ("_bound", "_target")

    def __init__(
        self, kind: str, p: Pass, batch: int, groups: int, ins: int, outs: int, steps: tuple[int, int, int, int],
        sizes: tuple[int, ...],
    ) -> None:  # fmt: skip
        self._target = p.target()
        self._bound: list[Bound] = []
        if not p.taps:
            return  # nothing reaches these places
        code = narrow(kind, p, ins, outs)
        words, work = line_numbers(p, batch, groups, ins, steps)
        jumps = [axis.jump for axis in p.axes]
        targets = (sizes[0] * sizes[1] * sizes[2], sizes[1] * sizes[2] * jumps[0], sizes[2] * jumps[1], jumps[2])
        words |= {name: t * groups * outs for name, t in zip(TARGET, targets, strict=True)}
        words |= {"outs": groups * outs, "taps": p.taps * ins}
        work *= outs
        tasks = split(words, p, batch, work // WORK)
        routine = product(code)
        self._bound = [routine.bind(tasks, parallel=work >= PARALLEL, **words, biased=b) for b in (0, 1)]

    def __call__(self, source: Any, panels: Any, bias: Any, target: Any) -> None:
        """target: (N, D, H, W, groups outs)."""
        target = target[(slice(None), *self._target)]
        if not self._bound:
            copy(target, number(0, target.dtype) if bias is None else bias[: target.shape[-1]])
            return
        self._bound[bias is not None](source, panels, target if bias is None else bias, target)


def split(words: dict[str, int], p: Pass, batch: int, tasks: int) -> int:
    """Sets parts and share: the lines of a sample's result over tasks, at least so many in all. Their number."""
    depth, height, _ = p.out
    parts = min(height, max(1, -(-max(4, tasks) // (batch * depth))))
    words["share"] = -(-height // parts)
    words["parts"] = -(-height // words["share"])
    return batch * depth * words["parts"]


def line_numbers(
    p: Pass, batch: int, groups: int, ins: int, steps: tuple[int, int, int, int]
) -> tuple[dict[str, int], int]:
    """The words of a pass but its target's and shares, and its multiplications for one output of a group."""
    known = numbers(p, steps) | walk(p)
    known |= {"line": p.axes[2].size, "pixel": steps[3], "channels": groups * ins}
    return known, batch * prod(p.out) * p.taps * ins * groups
