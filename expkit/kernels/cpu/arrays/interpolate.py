"""Resampling kernels: each element of the result is a weighted sum of neighbours along one or two axes of the input.

x (outer, rows, columns, inner) -> y (outer, rows', columns', inner). For each row of y, rows of x are combined into
one that stays in the cache, then the columns. Where `inner` is one (NCHW), a vector holds neighbouring columns and
picks its elements out of two vectors by a permutation, or gathers them where they lie farther apart; else (NHWC, and
the depth of a volume, which is rows of one column) a vector holds elements of the inner axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays import images
from expkit.kernels.cpu.arrays.taps import Taps
from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value, type_of
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine import llvm

BYTES = 64  # of a vector
TASK = 1 << 15  # elements of one task
PARALLEL = 1 << 15  # elements from which several threads are worth waking
ROW = 1 << 15  # elements of rows that are kept on the stack
BLOCK = 4  # vectors along the inner axis
TOGETHER = 4  # rows
WORDS = ("in_h", "out_h", "in_w", "out_w", "taps_h", "taps_w", "step_w", "inner", "chunk", "band")
Sizes = tuple[int, ...]
Source = Callable[..., Pointer]
Taken = tuple[Value, Value, Pointer]  # the first place along an axis, how many, their weights
Pick = Callable[[Value, Value], list[Value]]  # (distance of the tap, which lanes have it) -> elements of each line

# ---- code ------------------------------------------------------------------------------------------------------------


class _Writer:
    """The body of a task: a band of rows of one image, for a chunk of its inner axis."""

    def __init__(self, f: Task, kind: str, how: str, rows: bool, picks: bool) -> None:
        self.f, self.kind, self.how, self.rows, self.picks = f, kind, how, rows, picks
        self.lanes = BYTES // SIZES[kind]
        self.x, self.y, self.spans_h, self.weights_h, self.spans_w, self.weights_w = f.arrays
        self.line = f.scratch(kind, ROW) if rows else self.x

    def write(self) -> None:
        f = self.f
        chunks, bands = (f["inner"] + (f["chunk"] - 1)) / f["chunk"], (f["out_h"] + (f["band"] - 1)) / f["band"]
        rest, first = f.index / chunks, f.index % chunks * f["chunk"]
        image, low = rest / bands, rest % bands * f["band"]
        x = self.x.at(image * f["in_h"] * f["in_w"] * f["inner"] + first)
        y = self.y.at(image * f["out_h"] * f["out_w"] * f["inner"] + first)
        n = least(f["inner"] - first, f["chunk"])
        end = least(low + f["band"], f["out_h"])
        by_row = {"inner": self._inner, "both": self._both, "direct": self._direct}.get(self.how)
        if by_row:
            for h in f.range(end, low):
                by_row(x, y, h, n)
        else:
            for h in f.range(end, low, step=TOGETHER):
                self._rows(x, y, [least(h + r, end - 1) for r in range(TOGETHER)])  # the last may come several times

    def _inner(self, x: Pointer, y: Pointer, h: Value, n: Value) -> None:
        """Rows only: those of one column are wide."""
        inner = self.f["inner"]
        self._combine(n, [self._taps("h", h)], lambda k: x.at(k * inner), y.at(h * inner))

    def _both(self, x: Pointer, y: Pointer, h: Value, n: Value) -> None:
        """Rows, then columns, of many channels."""
        f, inner, step = self.f, self.f["inner"], self.f["chunk"]
        for w in f.range(f["in_w"]):
            taps, target = [self._taps("h", h)], self.line.at(w * step)
            self._combine(n, taps, lambda k, w=w: x.at((k * f["in_w"] + w) * inner), target)
        for w in f.range(f["out_w"]):
            target = y.at((h * f["out_w"] + w) * inner)
            self._combine(n, [self._taps("w", w)], lambda k: self.line.at(k * step), target)

    def _direct(self, x: Pointer, y: Pointer, h: Value, n: Value) -> None:
        """Rows and columns at once, of many channels."""
        f, inner = self.f, self.f["inner"]
        for w in f.range(f["out_w"]):
            taps, target = [self._taps("h", h), self._taps("w", w)], y.at((h * f["out_w"] + w) * inner)
            self._combine(n, taps, lambda k, m: x.at((k * f["in_w"] + m) * inner), target)

    def _rows(self, x: Pointer, y: Pointer, hs: list[Value]) -> None:
        """Rows, then columns, of one channel; several rows, which share what is read from the tables."""
        f, width = self.f, self.f["in_w"]
        lines = [x.at((self._taps("h", h)[0] if self.rows else h) * width) for h in hs]
        if self.rows and not self.picks:
            lines = [self.line.at(width * r) for r in range(TOGETHER)]
            for h, line in zip(hs, lines, strict=True):
                self._combine(width, [self._taps("h", h)], lambda k: x.at(k * width), line)
        for w in f.range(f["out_w"], step=self.lanes):
            mask = f.first(f["out_w"] - w, self.lanes)
            starts, counts = self.spans_w.load_some(mask, w), self.spans_w.at(f["out_w"]).load_some(mask, w)
            pick = (self._permuted if self.how == "permute" else self._gathered)(lines, w, starts)
            if self.picks:
                found = pick(f.constant("i8", 0), mask)
            else:
                found = self._weighted(pick, w, mask, counts)
            for h, value in zip(hs, found, strict=True):
                y.at(h * f["out_w"]).store_some(mask, value, w)

    def _weighted(self, pick: Pick, w: Value, mask: Value, counts: Value) -> list[Value]:
        """The weighted sums of what is picked, for each line."""
        f = self.f
        totals = [f.cell(self._zero()) for _ in range(TOGETHER)]
        for k in f.range(f["taps_w"]):
            inside = counts.compare("gt", f.splat(k.to("i4"), self.lanes))
            weight = self.weights_w.at(k * f["out_w"]).load_some(mask, w)
            for total, value in zip(totals, pick(k * f["step_w"], inside), strict=True):
                total.value = inside.select(value, 0.0).fma(weight, total.value)
        return [total.value for total in totals]

    # ---- parts

    def _zero(self) -> Value:
        return self.f.splat(0.0, self.lanes, self.kind)

    def _taps(self, axis: str, i: Value) -> Taken:
        """(first, count, weights) of a row of the table."""
        spans, weights = (self.spans_h, self.weights_h) if axis == "h" else (self.spans_w, self.weights_w)
        return spans.load(i * 2).to("i8"), spans.load(i * 2 + 1).to("i8"), weights.at(i * self.f[f"taps_{axis}"])

    def _combine(self, n: Value, taps: list[Taken], source: Source, target: Pointer) -> None:
        """The n elements of target = the weighted sum of those of source(k), or source(k, l), over all taps."""
        f, wide = self.f, BLOCK * self.lanes
        for i in f.range(n, step=wide):
            for whole in f.either((n - i).compare("ge", wide)):
                masks = [None if whole else f.first(n - i - v * self.lanes, self.lanes) for v in range(BLOCK)]
                totals = [f.cell(self._zero()) for _ in masks]
                for weight, places in self._each(taps):
                    factor = None if weight is None else f.splat(weight, self.lanes)
                    place = source(*places).at(i)
                    for v, (mask, total) in enumerate(zip(masks, totals, strict=True)):
                        at = v * self.lanes
                        x = place.load(at, self.lanes) if mask is None else place.load_some(mask, at)
                        total.value = x if factor is None else x.fma(factor, total.value)
                for v, (mask, total) in enumerate(zip(masks, totals, strict=True)):
                    place = target.at(i + v * self.lanes)
                    place.store(total.value) if mask is None else place.store_some(mask, total.value)

    def _each(self, taps: list[Taken]) -> Iterator[tuple[Value | None, tuple[Value, ...]]]:
        """The taps along one axis, or all pairs along two: (weight, places)."""
        if self.picks:
            yield None, tuple(first for first, _, _ in taps)
            return
        first, count, weights = taps[0]
        for k in self.f.range(count):
            weight, place = weights.load(k), first + k
            if len(taps) == 1:
                yield weight, (place,)
            else:
                for other, rest in self._each(taps[1:]):
                    yield weight if other is None else weight * other, (place, *rest)

    def _permuted(self, lines: list[Pointer], w: Value, starts: Value) -> Pick:
        """Picks out of the two vectors that begin where the first column's taps do."""
        f, n = self.f, self.lanes
        base = self.spans_w.load(w).to("i8") - w % f["step_w"]
        masks = [f.first(f["in_w"] - base - v * n, n) for v in range(2)]
        parts = [[line.load_some(masks[v], base + v * n) for v in range(2)] for line in lines]
        ints = "i4" if SIZES[self.kind] == 4 else "i8"
        places = (starts - f.splat(base.to("i4"), n)).to(ints)
        name = f"llvm.x86.avx512.vpermi2var.{'ps' if ints == 'i4' else 'pd'}.512"
        wide, index = type_of(f"{self.kind}x{n}"), type_of(places.kind)
        f.calls[name] = f"declare {wide} @{name}({wide}, {index}, {wide})"

        def pick(k: Value, _inside: Value) -> list[Value]:
            at = places + f.splat(k.to(ints), n)
            return [f.put(a.kind, f"call {wide} @{name}({a!r}, {at!r}, {b!r})") for a, b in parts]

        return pick

    def _gathered(self, lines: list[Pointer], _w: Value, starts: Value) -> Pick:
        """Loads one by one."""
        f, n, kind = self.f, self.lanes, f"{self.kind}x{self.lanes}"
        wide, mask = type_of(kind), type_of(f"b1x{n}")
        name = f"llvm.masked.gather.v{n}f{8 * SIZES[self.kind]}.v{n}p0"
        f.calls[name] = f"declare {wide} @{name}(<{n} x ptr>, i32, {mask}, {wide})"

        def one(line: Pointer, at: Value, inside: Value) -> Value:
            where = f.put(at.kind, f"getelementptr {type_of(self.kind)}, {line!r}, {at!r}").name
            rest = f"i32 {SIZES[self.kind]}, {inside!r}, {wide} zeroinitializer"
            return f.put(kind, f"call {wide} @{name}(<{n} x ptr> {where}, {rest})")

        def pick(k: Value, inside: Value) -> list[Value]:
            at = (starts + f.splat(k.to("i4"), n)).to("i8")
            return [one(line, at, inside) for line in lines]

        return pick


# ---- calls -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _routine(kind: str, how: str, both: bool, picks: bool) -> Routine:
    kinds = (kind, kind, "i4", kind, "i4", kind)
    return Routine(f"resample, {how}", kinds, WORDS, lambda f: _Writer(f, kind, how, both, picks).write())


class _Pass:
    """One kernel with its tables, for arrays (outer, rows, columns, inner); `high` is for rows, `wide` for columns."""

    def __init__(self, how: str, high: Taps | None, wide: Taps | None, shape: Sizes, kind: str) -> None:
        outer, rows, columns, inner = shape
        self._shape = (outer, high.n_out if high else rows, wide.n_out if wide else columns, inner)
        chunk = min(inner, {"inner": TASK // 4, "both": ROW // columns}.get(how, inner))
        band = max(1, TASK // (self._shape[2] * chunk))
        tasks = outer * -(-self._shape[1] // band) * -(-inner // chunk)
        by_tap = how in ("permute", "gather")
        none = np.zeros(0, np.int32), np.zeros(0, kind)
        tables = [
            *(high.tables(kind, by_tap=False) if high else none),
            *(wide.tables(kind, by_tap=by_tap) if wide else none),
        ]
        self._tables = [table.copy() for table in tables]
        for table in self._tables:  # constants, to what is recorded
            table.flags.writeable = False
        picks = all(t.picks for t in (high, wide) if t)
        self._run = _routine(kind, how, high is not None and wide is not None, picks).bind(
            tasks, parallel=prod(self._shape) >= PARALLEL, in_h=rows, out_h=self._shape[1], in_w=columns,
            out_w=self._shape[2], taps_h=high.width if high else 0, taps_w=wide.width if wide else 0,
            step_w=wide.step if wide else 1, inner=inner, chunk=chunk, band=band,
        )  # fmt: skip

    def __call__(self, x: Any) -> Any:
        y = plan.empty(self._shape, x.dtype)
        self._run(x, y, *self._tables)
        return y


def _how(high: Taps | None, wide: Taps, inner: int, lanes: int) -> str:
    """Which kernel does the columns (and rows); "" where no row fits into its memory."""
    if high is not None and wide.n_in * (TOGETHER if inner == 1 else lanes) > ROW:
        return ""
    if inner > 1:
        loads = high.width * wide.n_in / wide.n_out + wide.width + 1 if high else 0
        return "" if high is None else "direct" if high.width * wide.width <= loads else "both"
    return "permute" if wide.spans(lanes) <= 2 * lanes and llvm.has("avx512f") else "gather"


@lru_cache(maxsize=512)
def _passes(outer: int, inner: int, taps: tuple[Taps, ...], kind: str) -> list[_Pass]:
    """What resamples (outer, *S, inner): the last two axes together where a kernel does that, the others alone."""
    passes, sizes, lanes = [], [t.n_in for t in taps], BYTES // SIZES[kind]
    wide, high = taps[-1], taps[-2] if len(taps) > 1 else None
    few = 1 < inner < lanes // 2  # channels: then they are columns
    wide, depth = (wide.interleaved(inner), 1) if few else (wide, inner)
    how = _how(high, wide, depth, lanes)
    alone = taps[:-2] if how else taps if depth > 1 else taps[:-1]
    if not how and depth == 1:
        high, how = None, _how(None, wide, 1, lanes)
    for i, t in enumerate(alone):
        passes.append(_Pass("inner", t, None, (outer, t.n_in, 1, prod(sizes[i + 1 :]) * inner), kind))
        outer *= t.n_out
    if how:
        rows = (outer, high.n_in) if high else (1, outer)
        passes.append(_Pass(how, high, wide, (*rows, wide.n_in, depth), kind))
    return passes


def resample(x: Any, taps: tuple[Taps, ...]) -> Any:
    """x (..., *S) resampled along its last axes, a matrix for each, in its order in memory."""
    n = len(taps)
    x, last = images.arranged(x, n)
    lead, inner = x.shape[: x.ndim - n], x.shape[x.ndim - n - 1] if last else 1
    y = x.transpose(images.order_of(x.ndim, n)[0]) if last else x
    for step in _passes(prod(lead) // inner, inner, taps, f"f{x.dtype.itemsize}"):
        y = step(y)
    size = tuple(t.n_out for t in taps)
    if not last:
        return y.reshape(*lead, *size)
    return y.reshape(*lead[:-1], *size, inner).transpose(images.order_of(x.ndim, n)[1])
