"""Running sums, products and first-order recurrences along an axis, from the front or from the back.

An array is seen as (outer, n, inner). Rows (inner = 1): sums, and products of float32, go eight elements at a time,
which are scanned in a register by doubling; everything else step by step. A long row is cut into chunks: their totals
first, then what is before each, then the chunks. Columns (inner > 1): stripes of columns, the state of each beside it.
float32 is accumulated in float64. Chunks and stripes depend on sizes alone, never on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import copy
from expkit.kernels.cpu.arrays.write import number
from expkit.kernels.cpu.code.builder import Cell, Pointer, least
from expkit.kernels.cpu.code.ir import Value, scalar_of
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops import plan

KINDS = ("f4", "f8", "i1", "u1", "i2", "i4", "i8")
SIDE = 8  # lanes of a register of float64
CHUNK = 1 << 14  # elements of a long row that one task scans
WIDTH = 256  # columns of a stripe
SERIAL = 1 << 15  # elements below which one thread is as fast

# -0.0 is what changes no float when added; and LLVM builds slow shuffles with a vector of plain zeros
_STEPS: dict[str, tuple[int, float, Callable[..., Value]]] = {  # arrays, first state, the next state
    "sum": (1, -0.0, lambda state, x: state + x),
    "product": (1, 1, lambda state, x: state * x),
    "affine": (2, -0.0, lambda state, a, b: state.fma(a, b) if state.is_float else state * a + b),
}


def wide(kind: str) -> str:
    """The kind in which elements are accumulated."""
    return "f8" if kind == "f4" else kind


# ---- kernels ---------------------------------------------------------------------------------------------------------


def _ahead(f: Task, span: tuple[Value, Value], back: bool, step: int = 1) -> Iterator[Value]:
    """Where each `step` elements of a span begin, in the order of the scan; what is left over is left out."""
    start, stop = span
    for i in f.range((stop - start) / step):
        yield stop - (i + 1) * step if back else start + i * step


def _scanned(f: Task, how: str, x: Value) -> Value:
    """The running sums or products inside a vector, by doubling."""
    first = f.splat(_STEPS[how][1], SIDE, scalar_of(x.kind))
    step = 1
    while step < SIDE:
        x = _STEPS[how][2](f.shuffle(first, x, [k + SIDE - step if k >= step else k for k in range(SIDE)]), x)
        step *= 2
    return x


def _turned(f: Task, x: Value, back: bool) -> Value:
    return f.shuffle(x, x, range(SIDE)[::-1]) if back else x


def _vectors(f: Task, how: str, back: bool, x: Pointer, out: Pointer, span: tuple[Value, Value], state: Cell) -> None:
    """Whole vectors of a row."""
    carry = f.cell(f.splat(state.value, SIDE))
    for i in _ahead(f, span, back, SIDE):
        local = _scanned(f, how, _turned(f, x.load(i, SIDE).to(state.kind), back))
        result = _STEPS[how][2](carry.value, local)
        carry.value = _STEPS[how][2](carry.value, f.shuffle(local, local, [SIDE - 1] * SIDE))
        out.store(_turned(f, result.to(out.kind), back), i)
    state.value = f.lane(carry.value, 0)


def _steps(
    f: Task, how: str, back: bool, xs: Sequence[Pointer], out: Pointer | None, span: tuple[Value, Value], state: Cell
) -> None:
    """A row, element by element; without `out` only the last state is wanted."""
    for i in _ahead(f, span, back):
        state.value = _STEPS[how][2](state.value, *(x.load(i).to(state.kind) for x in xs))
        if out is not None:
            out.store(state.value.to(out.kind), i)


def _row(f: Task, how: str, back: bool, xs: list[Pointer], out: Pointer, n: Value, state: Cell) -> None:
    none = f.constant("i8", 0)
    if how == "sum" or (how == "product" and out.kind == "f4"):  # products of float64 could leave its range
        left = n % SIDE
        _vectors(f, how, back, xs[0], out, (left, n) if back else (none, n - left), state)
        _steps(f, how, back, xs, out, (none, left) if back else (n - left, n), state)
    else:
        _steps(f, how, back, xs, out, (none, n), state)


@lru_cache(maxsize=128)
def rows(how: str, kind: str, back: bool, chunked: bool) -> Routine:
    """Rows: inputs, result; and, where they are cut into chunks, the state before each."""

    def write(f: Task) -> None:
        count = _STEPS[how][0]
        first = f.index * f["group"]
        for part in f.range(least(first + f["group"], f["parts"]), first):
            at = part / f["per_row"] * f["n"] + part % f["per_row"] * f["chunk"]
            length = least(f["n"] - part % f["per_row"] * f["chunk"], f["chunk"])
            before = f.arrays[-1].load(part) if chunked else f.constant(wide(kind), _STEPS[how][1])
            xs, out = [x.at(at) for x in f.arrays[:count]], f.arrays[count].at(at)
            _row(f, how, back, xs, out, length, f.cell(before))

    kinds = [kind] * (_STEPS[how][0] + 1) + [wide(kind)] * chunked
    return Routine(f"scan {how}", kinds, ("n", "chunk", "per_row", "parts", "group"), write)


@lru_cache(maxsize=128)
def totals(how: str, kind: str) -> Routine:
    """The sum or product of each chunk of the rows."""

    def write(f: Task) -> None:
        x, out = f.arrays
        start = f.index % f["per_row"] * f["chunk"]
        length, x = least(f["n"] - start, f["chunk"]), x.at(f.index / f["per_row"] * f["n"] + start)
        state = f.cell(f.splat(_STEPS[how][1], SIDE, wide(kind)))
        for i in f.range(length - length % SIDE, step=SIDE):
            state.value = _STEPS[how][2](state.value, x.load(i, SIDE).to(wide(kind)))
        total = f.cell(f.lane(state.value, 0))
        for k in range(1, SIDE):
            total.value = _STEPS[how][2](total.value, f.lane(state.value, k))
        _steps(f, how, False, [x], None, (length - length % SIDE, length), total)
        out.store(total.value, f.index)

    return Routine(f"totals {how}", (kind, wide(kind)), ("n", "chunk", "per_row"), write)


@lru_cache(maxsize=128)
def columns(how: str, kind: str, back: bool) -> Routine:
    """(outer, n, inner): inputs, result."""

    def write(f: Task) -> None:
        count, initial, step = _STEPS[how]
        states = f.scratch(wide(kind), WIDTH)
        first = f.index * f["group"]
        for part in f.range(least(first + f["group"], f["parts"]), first):
            c0 = part % f["stripes"] * WIDTH
            width = least(f["inner"] - c0, WIDTH)
            for c in f.range(width):
                states.store(f.constant(wide(kind), initial), c)
            for i in _ahead(f, (f.constant("i8", 0), f["n"]), back):
                at = (part / f["stripes"] * f["n"] + i) * f["inner"] + c0
                xs, out = [x.at(at) for x in f.arrays[:count]], f.arrays[count].at(at)
                for c in f.range(width):
                    state = step(states.load(c), *(x.load(c).to(wide(kind)) for x in xs))
                    states.store(state, c)
                    out.store(state.to(kind), c)

    return Routine(f"columns {how}", [kind] * (_STEPS[how][0] + 1), ("n", "inner", "stripes", "parts", "group"), write)


# ---- functions -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _bound(how: str, kind: str, back: bool, shape: tuple[int, int, int]) -> tuple[Any, Any, int]:
    """The call that scans; the one that finds the chunks' totals first, if any; the chunks of a row."""
    outer, n, inner = shape
    parallel = outer * n * inner >= SERIAL
    if inner > 1:
        stripes = -(-inner // WIDTH)
        parts, group = outer * stripes, max(1, CHUNK // (n * min(inner, WIDTH)))
        scan = columns(how, kind, back)
        words = {"n": n, "inner": inner, "stripes": stripes, "parts": parts, "group": group}
        return scan.bind(-(-parts // group), parallel=parallel, **words), None, 1
    chunk = CHUNK if outer * CHUNK < n and how != "affine" else n
    per_row = -(-n // chunk)
    parts, group = outer * per_row, max(1, CHUNK // chunk)
    scan, sizes = rows(how, kind, back, per_row > 1), {"n": n, "chunk": chunk, "per_row": per_row}
    call = scan.bind(-(-parts // group), parallel=parallel, parts=parts, group=group, **sizes)
    return call, totals(how, kind).bind(parts, parallel=parallel, **sizes) if per_row > 1 else None, per_row


def kind_of(dtype: Any) -> str | None:
    """The kind of a dtype; None where there is no kernel."""
    kind = dtype.str[1:]
    return kind if kind in KINDS and dtype.isnative else None


def scan(how: str, *xs: Any, axis: int, back: bool = False) -> Any:
    """The running "sum" or "product" of x, or the states s of "affine": s = a * (the state before) + b, along the axis.

    xs: dense arrays of one shape, dtype and at least one element; back: from the last element to the first.
    """
    x = xs[0]
    kind = kind_of(x.dtype)
    if kind is None:
        raise TypeError(f"no kernel scans {x.dtype}")
    shape = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    call, first, per_row = _bound(how, kind, back, shape)
    out = plan.empty(x.shape, x.dtype)
    if first is None:
        call(*xs, out)
        return out
    sums = plan.empty((shape[0], per_row), np.dtype(wide(kind)))
    first(x, sums)
    call(x, out, _before(how, sums, back))
    return out


def _before(how: str, parts: Any, back: bool) -> Any:
    """The total of all chunks of a row that come before each."""
    so_far, before = scan(how, parts, axis=1, back=back), plan.empty(parts.shape, parts.dtype)
    first, rest, last = (-1, slice(-1), slice(1, None)) if back else (0, slice(1, None), slice(-1))
    copy(before[:, first], number(_STEPS[how][1], parts.dtype))
    copy(before[:, rest], so_far[:, last])
    return before
