"""Products in which one operand has few rows: the other is read once, as it lies, at the speed of memory.

`dots`: both operands are rows along k; every element of C is a dot product of two rows, vectors run along k.
`streams`: the rows of B run along n; C is summed up from a few of them at a time.
Each takes tasks that are chunks of the longer side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from expkit.kernels.cpu.code.builder import Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.gemm.epilogue import Places, tail
from expkit.kernels.cpu.gemm.microkernel import blocking
from expkit.kernels.cpu.gemm.tiles import DEPTH
from expkit.kernels.cpu.machine.call import Bound

FEW = 32  # rows of the shorter side, at most
DOTS = ((4, 4), (2, 6), (1, 8))  # blocks: rows of the shorter side, rows of the longer
STREAMS = ((4, 4), (2, 8), (1, 8))  # blocks: rows of C, rows of B
LEAST, TASKS = 1 << 16, 16  # multiplications that are worth a task; tasks for one product, at most
LONG = 1024  # columns of C in a task of `streams`, at most
MULTIPLE = 16  # of which chunks are
SHARED = ("few", "many", "k", "chunk", "chunks", "axes", "adds", "finish")
DOT_WORDS = (*SHARED, "a_row", "b_row", "c_few", "c_many", "turned")
STREAM_WORDS = (*SHARED, "a_row", "a_k", "b_k", "c_row")


@lru_cache(maxsize=64)
def dots(kind: str) -> Routine:
    """C[few, many] (= or +=) A[few, k] B[many, k]^T and what follows, by rows of `many` where C is `turned`: over
    (A, B, steps, slots, C), see epilogue.py."""
    kinds = (kind, kind, *tail(kind))
    return Routine(f"dots {kind}", kinds, DOT_WORDS, lambda f: _Dots(f, kind).write(), explicit=True)


@lru_cache(maxsize=64)
def streams(kind: str) -> Routine:
    """C[few, many] (= or +=) A[few, k] B[k, many] and what follows: over (A, B, steps, slots, C)."""
    kinds = (kind, kind, *tail(kind))
    return Routine(f"streams {kind}", kinds, STREAM_WORDS, lambda f: _Streams(f, kind).write(), explicit=True)


def chunking(many: int, work: int, batch: int, shortest: int, longest: int) -> dict[str, int]:
    """How the longer side is cut: into chunks that are worth a task; `work`: multiplications for one of its rows."""
    count = max(1, min(many * work // LEAST, many // shortest, TASKS), -(-many // longest))
    size = -(-many // (count * MULTIPLE)) * MULTIPLE
    chunks = -(-many // size)
    return {"tasks": batch * chunks, "chunk": size, "chunks": chunks}


class Product:
    """The call of one product: call(A, B, slots, C)."""

    __slots__ = ("_call", "_steps")

    def __init__(self, call: Bound, steps: Any) -> None:
        self._call, self._steps = call, steps

    def __call__(self, a: Any, b: Any, slots: Sequence[Any], c: Any) -> None:
        self._call(a, b, self._steps, *slots, c)


class _Dots:
    """A task of `dots`: blocks of sums, each a vector along k until the end."""

    def __init__(self, f: Task, kind: str) -> None:
        self.f, self.kind, self.lanes = f, kind, blocking(kind).lanes
        batch, chunk = f.index / f["chunks"], f.index % f["chunks"]
        self.places = Places(f, batch)
        self.a, self.b, self.c = self.places.a, self.places.b, self.places.c
        self.start = chunk * f["chunk"]
        self.stop = least(self.start + f["chunk"], f["many"])

    def write(self) -> None:
        f = self.f
        row = f.constant("i8", 0)
        for high, wide in DOTS:
            count = (f["few"] - row) / high
            for block in f.range(count):
                first = row + block * high
                whole = self.stop - (self.stop - self.start) % wide
                for j in f.range(whole, start=self.start, step=wide):
                    self._block(first, j, high, wide)
                for j in f.range(self.stop, start=whole):
                    self._block(first, j, high, 1)
            row = row + count * high
        few, many = (f.constant("i8", 0), f["few"]), (self.start, self.stop - self.start)
        for turned in f.either(f["turned"].compare("ne", 0)):
            rows, columns = (many, few) if turned else (few, many)
            self.places.finish(rows[0], columns[0], rows[1], columns[1])

    def _block(self, i: Value, j: Value, high: int, wide: int) -> None:
        """The dot products of some rows of both sides."""
        f = self.f
        a = [self.a.move((i + r) * f["a_row"]) for r in range(high)]
        b = [self.b.move((j + r) * f["b_row"]) for r in range(wide)]
        sums = [f.cell(f.splat(0.0, self.lanes, self.kind)) for _ in range(high * wide)]
        whole = f["k"] & -self.lanes

        def step(p: Value, mask: Value | None) -> None:
            x, y = ([_load(row.at(p), mask, self.lanes) for row in rows] for rows in (a, b))
            for n, cell in enumerate(sums):
                cell.value = x[n // wide].fma(y[n % wide], cell.value)

        for p in f.range(whole, step=self.lanes):
            step(p, None)
        with f.when(whole.compare("lt", f["k"])):
            step(whole, f.first(f["k"] - whole, self.lanes))
        for n, cell in enumerate(sums):
            self._store(f.total(cell.value), i + n // wide, j + n % wide)

    def _store(self, value: Value, i: Value, j: Value) -> None:
        place = self.c.move(i * self.f["c_few"] + j * self.f["c_many"])
        for adds in self.f.either(self.f["adds"].compare("ne", 0)):
            place.store(place.load() + value if adds else value)


class _Streams:
    """A task of `streams`: for a few rows of B at a time, sums += their product with as many columns of A. So B is read
    in long runs, and the sums stay near. Now and then they are added to C and begin anew, which keeps them exact."""

    def __init__(self, f: Task, kind: str) -> None:
        self.f, self.kind, self.lanes = f, kind, blocking(kind).lanes
        batch, chunk = f.index / f["chunks"], f.index % f["chunks"]
        self.start = chunk * f["chunk"]
        self.places = Places(f, batch)
        self.a, self.b, self.c = self.places.a, self.places.b.at(self.start), self.places.c.at(self.start)
        self.columns = least(f["many"] - self.start, f["chunk"])
        self.whole = self.columns & -self.lanes
        self.lead = LONG + 3 * self.lanes  # no two rows share their places in the cache
        self.sums = f.scratch(kind, FEW * self.lead)

    def write(self) -> None:
        f = self.f
        self._start()
        for p in f.range(f["k"], step=DEPTH):
            self._block(p, least(f["k"], p + DEPTH))
            for i in f.range(f["few"]):
                for j, mask in self._along():
                    place, sums = self._row(i).at(j), self.sums.at(i * self.lead + j)
                    _store(place, _load(place, mask, self.lanes) + sums.load(lanes=self.lanes), mask)
                    sums.store(f.splat(0.0, self.lanes, self.kind))
        self.places.finish(0, self.start, f["few"], self.columns)

    def _start(self) -> None:
        """C = 0 where it is not added to, sums = 0."""
        f = self.f
        zero = f.splat(0.0, self.lanes, self.kind)
        for i in f.range(f["few"]):
            for j, mask in self._along():
                with f.when(f["adds"].compare("eq", 0)):
                    _store(self._row(i).at(j), zero, mask)
                self.sums.at(i * self.lead + j).store(zero)

    def _block(self, start: Value, stop: Value) -> None:
        """The sums of some rows of B."""
        f = self.f
        row = f.constant("i8", 0)
        for high, deep in STREAMS:
            count = (f["few"] - row) / high
            whole = stop - (stop - start) % deep
            for p in f.range(whole, start=start, step=deep):
                self._rows(row, count, p, high, deep)
            for p in f.range(stop, start=whole):
                self._rows(row, count, p, high, 1)
            row = row + count * high

    def _row(self, i: Value) -> Pointer:
        return self.c.move(i * self.f["c_row"])

    def _along(self) -> Iterator[tuple[Value, Value | None]]:
        """The chunk's vectors, the last one with the mask of what is there."""
        f = self.f
        for j in f.range(self.whole, step=self.lanes):
            yield j, None
        with f.when(self.whole.compare("lt", self.columns)):
            yield self.whole, f.first(self.columns - self.whole, self.lanes)

    def _rows(self, row: Value, count: Value, p: Value, high: int, deep: int) -> None:
        """What `deep` rows of B add to the sums, `high` rows of those at once."""
        f = self.f
        b = [self.b.move((p + d) * f["b_k"]) for d in range(deep)]
        for block in f.range(count):
            i = row + block * high
            a = [self.a.move((i + r) * f["a_row"] + p * f["a_k"]) for r in range(high)]
            x = [[f.splat(a[r].move(f["a_k"] * d).load(), self.lanes) for d in range(deep)] for r in range(high)]
            sums = [self.sums.at((i + r) * self.lead) for r in range(high)]
            for j, mask in self._along():
                y = [_load(line.at(j), mask, self.lanes) for line in b]
                for r in range(high):
                    value = x[r][0] * y[0]
                    for d in range(1, deep):
                        value = x[r][d].fma(y[d], value)
                    sums[r].at(j).store(sums[r].load(j, self.lanes) + value)


def _load(place: Pointer, mask: Value | None, lanes: int) -> Value:
    return place.load(lanes=lanes) if mask is None else place.load_some(mask)


def _store(place: Pointer, x: Value, mask: Value | None) -> None:
    if mask is None:
        place.store(x)
    else:
        place.store_some(mask, x)
