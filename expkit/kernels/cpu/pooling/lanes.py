"""What the lanes of a pooling kernel's vectors hold: channels of one output, or outputs of one row.

An image is (n, c, d, h, w) in any strides. Where the channels lie side by side in memory (NHWC) a vector holds channels
(`Channels`); where the columns do (NCHW) it holds outputs of a row, and what they look at is shuffled apart by the
stride (`Columns`). Both offer the same: units of work, steps over columns, and groups of taps within a row.
"""

from __future__ import annotations

from collections.abc import Iterator

from expkit.kernels.cpu.code.builder import Number, Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Task

BYTES = 64  # of a vector
Vectors = list[Value]


class Lanes:
    """Geometry, read from the task's words; `masks`: which lanes of the results' vectors exist.

    adaptive: output i of m looks at the elements from i n / m to (i + 1) n / m, rounded outward.
    """

    def __init__(self, f: Task, kind: str, *, adaptive: bool = False) -> None:
        self.f, self.kind, self.count, self.adaptive = f, kind, BYTES // SIZES[kind], adaptive
        self.masks: Vectors = []

    def splat(self, x: Value | float) -> Value:
        return self.f.splat(x, self.count, self.kind)

    def inside(self, at: Value, axis: str) -> Value:
        """Whether a coordinate lies in the input."""
        return self.f.put("b1", f"icmp ult {at!r}, {self.f[f'in_{axis}'].name}")

    def start(self, out: Value, axis: str) -> Value:
        """Where the window of an output begins."""
        if self.adaptive:
            return out * self.f[f"in_{axis}"] / self.f[f"out_{axis}"]
        return out * self.f[f"stride_{axis}"] - self.f[f"pad_{axis}"]

    def taps(self, out: Value, axis: str) -> Value:
        """How many taps the window of an output has."""
        n, m = self.f[f"in_{axis}"], self.f[f"out_{axis}"]
        return (out * n + n + m - 1) / m - self.start(out, axis) if self.adaptive else self.f[f"kernel_{axis}"]

    def first(self, out: Value, axis: str) -> Value:
        """The first place of an output's window that lies in the input."""
        return _raised(self.start(out, axis), self.f[f"step_{axis}"])

    def at(self, array: str, **place: Number) -> Value:
        """Where a place lies in an array: x (input), y (output) or z (the input's gradient)."""
        total = self.f.constant("i8", 0)
        for axis, i in place.items():
            total = self.f[f"{array}_{axis}"] * i + total
        return total

    def load(self, y: Pointer) -> Vectors:
        return [y.load_some(m, i * self.count) for i, m in enumerate(self.masks)]

    def store(self, y: Pointer, values: Vectors) -> None:
        for i, (mask, value) in enumerate(zip(self.masks, values, strict=True)):
            y.store_some(mask, value, i * self.count)

    def units(self, arrays: str) -> Iterator[tuple[list[Pointer], Value]]:
        """The images or planes of this task: where they begin in each array, and the number of the band of rows."""
        raise NotImplementedError

    def columns(self) -> Iterator[Value]:
        """The columns of the output, as many at a time as a vector holds."""
        raise NotImplementedError

    def columns_first(self) -> Value:
        """The first column that each lane looks at."""
        raise NotImplementedError

    def groups(self) -> Iterator[Group]:
        """The taps of the windows of these columns within a row, from left to right."""
        raise NotImplementedError

    def clear(self, row: Pointer) -> None:
        """Zeros for a row of the gradient."""
        raise NotImplementedError


def _raised(start: Value, step: Value) -> Value:
    """start, start + step, ...: the first that is not negative."""
    below = start.compare("lt", 0).select(0 - start, 0)
    return start + (below + step - 1) / step * step


class Group:
    """Taps that are read together. `places[t]`: the column of tap t, for each lane."""

    places: Vectors

    def read(self, row: Pointer, outside: float) -> list[Vectors]:
        """The vectors of each tap; `outside` where there is no element."""
        raise NotImplementedError

    def write(self, row: Pointer, parts: list[Vectors], *, add: bool) -> None:
        """Writes the vectors of each tap to a row of the gradient, or adds them to it."""
        raise NotImplementedError


# ---- channels --------------------------------------------------------------------------------------------------------


class Channels(Lanes):
    """A few vectors of channels of one output; a task has `unit` channels, gone through within each column."""

    def __init__(self, f: Task, kind: str, vectors: int, *, adaptive: bool) -> None:
        super().__init__(f, kind, adaptive=adaptive)
        self.vectors = vectors

    def units(self, arrays: str) -> Iterator[tuple[list[Pointer], Value]]:
        f = self.f
        parts = (f["channels"] + (f["unit"] - 1)) / f["unit"]
        rest, first = f.index / parts, f.index % parts * f["unit"]
        self._end = least(f["channels"] - first, f["unit"])
        image, band = rest / f["bands"], rest % f["bands"]
        yield [p.at(self.at(name, n=image) + first) for name, p in zip(arrays, f.arrays, strict=True)], band

    def _blocks(self) -> Iterator[None]:
        for c in self.f.range(self._end, step=self.vectors * self.count):
            self._block = c
            self.masks = [self.f.first(self._end - c - i * self.count, self.count) for i in range(self.vectors)]
            yield

    def columns(self) -> Iterator[Value]:
        for w in self.f.range(self.f["out_w"]):
            for _ in self._blocks():
                self._start, self._taps = self.start(w, "w"), self.taps(w, "w")
                yield w

    def columns_first(self) -> Value:
        return self.f.splat(_raised(self._start, self.f["step_w"]).to("i4"), self.count)

    def groups(self) -> Iterator[Group]:
        f = self.f
        for i in f.range(self._taps):
            at = i * f["step_w"] + self._start
            with f.when(self.inside(at, "w")):
                yield _Pixel(self, at)

    def load(self, y: Pointer) -> Vectors:
        return super().load(y.at(self._block))

    def store(self, y: Pointer, values: Vectors) -> None:
        super().store(y.at(self._block), values)

    def clear(self, row: Pointer) -> None:
        for w in self.f.range(self.f["in_w"]):
            for _ in self._blocks():
                self.store(row.at(self.at("z", w=w)), [self.splat(0.0)] * self.vectors)


class _Pixel(Group):
    """One tap, which lies in the input for all lanes."""

    def __init__(self, lanes: Channels, at: Value) -> None:
        self._lanes, self._at = lanes, at
        self.places = [lanes.f.splat(at.to("i4"), lanes.count)]

    def read(self, row: Pointer, outside: float) -> list[Vectors]:
        return [self._lanes.load(row.at(self._lanes.at("x", w=self._at)))]

    def write(self, row: Pointer, parts: list[Vectors], *, add: bool) -> None:
        target, (new,) = row.at(self._lanes.at("z", w=self._at)), parts
        if add:
            new = [a + b for a, b in zip(self._lanes.load(target), new, strict=True)]
        self._lanes.store(target, new)


# ---- columns ---------------------------------------------------------------------------------------------------------


class Columns(Lanes):
    """A vector of outputs of one row, `stride` elements of the input apart.

    `width`: of the window, where its taps are adjacent and few enough to be written out; else 0.
    """

    def __init__(self, f: Task, kind: str, width: int, stride: int) -> None:
        super().__init__(f, kind)
        self.width, self.stride = width, stride

    def units(self, arrays: str) -> Iterator[tuple[list[Pointer], Value]]:
        f = self.f
        first, band = f.index / f["bands"] * f["unit"], f.index % f["bands"]
        for unit in f.range(least(first + f["unit"], f["units"]), first):
            n, c = unit / f["channels"], unit % f["channels"]
            yield [p.at(self.at(name, n=n, c=c)) for name, p in zip(arrays, f.arrays, strict=True)], band

    def columns(self) -> Iterator[Value]:
        for w in self.f.range(self.f["out_w"], step=self.count):
            self.masks = [self.f.first(self.f["out_w"] - w, self.count)]
            self._start = self.start(w, "w")
            adjacent = range(0, self.width, self.stride)  # written here, outside of the loop over rows
            self._known = [_Run(self, self._start + k, min(self.stride, self.width - k)) for k in adjacent]
            yield w

    def columns_first(self) -> Value:
        starts, step = self.within(self._start, 0, self.stride)[0], self.f["step_w"].to("i4")
        return _raised(starts, self.f.splat(1, self.count, "i4") if self.width else self.f.splat(step, self.count))

    def groups(self) -> Iterator[Group]:
        yield from self._known
        if not self.width:
            for k in self.f.range(self.f["kernel_w"]):
                yield _Run(self, k * self.f["step_w"] + self._start, 1)

    def clear(self, row: Pointer) -> None:
        for w in self.f.range(self.f["in_w"], step=self.count):
            row.store_some(self.f.first(self.f["in_w"] - w, self.count), self.splat(0.0), w)

    def within(self, at: Value, first: int, step: int) -> tuple[Value, Value]:
        """The columns at + first, at + first + step, ..., and which of them are in the row."""
        f, n = self.f, self.count
        numbers = ", ".join(f"i32 {first + i * step}" for i in range(n))
        place = f.put(f"i4x{n}", f"add {f.splat(at.to('i4'), n)!r}, <{numbers}>")
        return place, f.put(f"b1x{n}", f"icmp ult {place!r}, {f.splat(f['in_w'].to('i4'), n).name}")


class _Run(Group):
    """`taps` adjacent taps, no more than the stride: together they read each element of a run once."""

    def __init__(self, lanes: Columns, at: Value, taps: int) -> None:
        self._lanes, self._at = lanes, at
        self.places = [lanes.within(at, t, lanes.stride)[0] for t in range(taps)]
        self._masks = [lanes.within(at, i * lanes.count, 1)[1] for i in range(lanes.stride)]

    def read(self, row: Pointer, outside: float) -> list[Vectors]:
        f, n, stride = self._lanes.f, self._lanes.count, self._lanes.stride
        other = self._lanes.splat(outside)
        wide = self._joined([row.load_some(m, self._at + i * n, other) for i, m in enumerate(self._masks)])
        return [[f.shuffle(*wide, range(t, t + n * stride, stride))] for t in range(len(self.places))]

    def write(self, row: Pointer, parts: list[Vectors], *, add: bool) -> None:
        f, n, stride = self._lanes.f, self._lanes.count, self._lanes.stride
        rest = [self._lanes.splat(0.0)] * (stride - len(parts))
        wide = self._joined([part for (part,) in parts] + rest)
        for i, mask in enumerate(self._masks):
            target = row.at(self._at + i * n)
            mixed = f.shuffle(*wide, [p % stride * n + p // stride for p in range(i * n, i * n + n)])
            target.store_some(mask, target.load_some(mask) + mixed if add else mixed)

    def _joined(self, parts: Vectors) -> tuple[Value, Value]:
        """The vectors one after another, as the two operands of a shuffle."""
        if len(parts) <= 2:
            return parts[0], parts[-1]
        f, n = self._lanes.f, self._lanes.count
        return f.shuffle(parts[0], parts[1], range(2 * n)), f.shuffle(parts[2], parts[-1], range(2 * n))
