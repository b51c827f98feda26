"""Copies between arrays of any strides: rows, transposed tiles, and loops for everything else.

`copy(dst, src)` brings both to the order of dst's memory, joins axes that both walk through in one stride, and picks
two of the axes as the plane that a kernel works on; the others are counted down by the tasks:

    (True, 1)   both lie densely along the same axis: memory is copied, row by row
    (True, -1)  the same, from the last element to the first; (True, 0): one element is repeated
    "tiles"     each lies densely along another axis: squares of registers are transposed (log2(lanes) shuffles of each)
    (dense, k)  anything else: whether dst lies densely, and src's stride in elements, None where it is another one

A kernel is keyed by the mode, the size of an element and the number of axes; sizes and strides are its words, in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.code.builder import Function, Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine import llvm
from expkit.kernels.cpu.machine.call import Bound

KINDS = {1: "i1", 2: "i2", 4: "i4", 8: "i8"}  # elements are moved as integers of their size
TASK = 1 << 17  # bytes of one task
SERIAL = 1 << 18  # bytes below which one thread is as fast
BLOCK = (64, 128)  # of a plane of tiles: both arrays stay in the first level of the cache
STRIPE = 64  # rows of a block of other planes
SHORT = 8  # elements below which an axis is a poor inner loop
LINE = 64  # bytes of a line of the cache
ALIGNED = 8  # blocks of a row from which it is worth to begin on a line
UNROLL = 4  # vectors of a row at once
LONG = 1 << 9  # bytes of a row from which rows are best written in the order of memory
_PLANE = ("a", "n", "sa", "sn", "da", "dn", "ab", "nb", "an", "nn", "s0", "d0", "items", "group")


class Axis(NamedTuple):
    """A size, and the strides of dst and src in bytes."""

    n: int
    d: int
    s: int


# ---- kernels ---------------------------------------------------------------------------------------------------------


def lanes(kind: str) -> int:
    """The side of the squares that are transposed in registers."""
    wide = 16 if llvm.has("avx512f") else 8
    return wide // 2 if kind == "i8" else wide


def transposed(f: Function, rows: list[Value]) -> list[Value]:
    """The square of vectors, transposed: in round k, lanes and rows swap the bit k of their numbers."""
    count, step = len(rows), 1
    while step < count:
        low = [j if not j & step else count + j - step for j in range(count)]
        high = [j + step if not j & step else count + j for j in range(count)]
        out = list(rows)
        for i in range(count):
            if not i & step:
                pair = rows[i], rows[i + step]
                out[i], out[i + step] = f.shuffle(*pair, low), f.shuffle(*pair, high)
        rows, step = out, step * 2
    return rows


def _tile(f: Task, dst: Pointer, src: Pointer, side: int) -> None:
    """One square: dst[j, i] = src[i, j], both dense along their second axis."""
    rows = [src.move(f["sn"] * i).load(0, side) for i in range(side)]
    for j, row in enumerate(transposed(f, rows)):
        dst.move(f["da"] * j).store(row)


def _tiles(f: Task, dst: Pointer, src: Pointer, a: Value, n: Value) -> None:
    """a runs densely through src, n through dst."""
    side = lanes(src.kind)
    whole_a, whole_n = a - a % side, n - n % side
    for i in f.range(whole_n, step=side):
        for j in f.range(whole_a, step=side):
            _tile(f, dst.move(j * f["da"]).at(i), src.move(i * f["sn"]).at(j), side)
    for j in f.range(a):
        start = j.compare("lt", whole_a).select(whole_n, f.constant("i8", 0))
        line = dst.move(j * f["da"])
        for i in f.range(n, start):
            line.store(src.move(i * f["sn"]).load(j), i)


def _row(f: Task, to: Pointer, frm: Pointer, n: Value, step: int) -> None:
    """n elements, dense in dst; in src with the stride `step`: 1, -1 or 0.

    Blocks of vectors, the last of which overlaps the one before; in long rows the second begins on a line of the cache.
    """
    side = lanes(to.kind)
    block = UNROLL * side

    def move(j: Value) -> None:
        starts = [j + k * side for k in range(UNROLL)]
        if step == 0:
            vectors = [f.splat(frm.load(), side)] * UNROLL
        elif step > 0:
            vectors = [frm.load(i, side) for i in starts]
        else:
            backwards = [frm.load(1 - side - i, side) for i in starts]
            vectors = [f.shuffle(x, x, range(side)[::-1]) for x in backwards]
        for i, x in zip(starts, vectors, strict=True):
            to.store(x, i)

    none = f.constant("i8", 0)
    for wide in f.either(n.compare("ge", block)):
        if wide:
            place, long = f.put("i8", f"ptrtoint {to!r} to i64"), n.compare("ge", ALIGNED * block)
            with f.when(long):
                move(none)
            start = long.select(((0 - place) & (LINE - 1)) / SIZES[to.kind], none)
            for j in f.range(n - (block - 1), start, block):
                move(j)
            with f.when(((n - start) % block).compare("ne", 0)):
                move(n - block)
        else:
            for j in f.range(n):
                to.store(frm.load(j * step), j)


def _rows(step: int) -> Callable[..., None]:
    def write(f: Task, dst: Pointer, src: Pointer, a: Value, n: Value) -> None:
        for i in f.range(a):
            _row(f, dst.move(i * f["da"]), src.move(i * f["sa"]), n, step)

    return write


def _loop(dense: bool, step: int | None) -> Callable[..., None]:
    """dense: dst's stride is that of its elements; step: src's stride in elements, None where it is a word."""

    def write(f: Task, dst: Pointer, src: Pointer, a: Value, n: Value) -> None:
        for i in f.range(a):
            to, frm = dst.move(i * f["da"]), src.move(i * f["sa"])
            for j in f.range(n):
                x = frm.move(j * f["sn"]).load() if step is None else frm.load(j * step)
                if dense:
                    to.store(x, j)
                else:
                    to.move(j * f["dn"]).store(x)

    return write


_MODES: dict[Any, Callable[..., None]] = {
    "tiles": _tiles, (True, None): _loop(True, None), **{(False, s): _loop(False, s) for s in (0, 1, -1, None)},
    **{(True, s): _rows(s) for s in (0, 1, -1)},
}  # fmt: skip


def _word_names(outer: int) -> list[str]:
    return [*_PLANE, *(f"{name}{k}" for k in range(outer) for name in ("size", "step_d", "step_s"))]


@lru_cache(maxsize=256)
def routine(mode: Any, kind: str, outer: int) -> Routine:
    """The kernel of a mode for planes along `outer` other axes."""

    def write(f: Task) -> None:
        first = f.index * f["group"]
        for item in f.range(least(first + f["group"], f["items"]), first):
            column, rest = item % f["nn"], item / f["nn"]
            row, rest = rest % f["an"], rest / f["an"]
            to, frm = f["d0"], f["s0"]
            for k in range(outer):
                at, rest = rest % f[f"size{k}"], rest / f[f"size{k}"]
                to, frm = to + at * f[f"step_d{k}"], frm + at * f[f"step_s{k}"]
            a0, n0 = row * f["ab"], column * f["nb"]
            dst, src = f.arrays
            dst = dst.move(to + a0 * f["da"] + n0 * f["dn"])
            src = src.move(frm + a0 * f["sa"] + n0 * f["sn"])
            _MODES[mode](f, dst, src, least(f["a"] - a0, f["ab"]), least(f["n"] - n0, f["nb"]))

    return Routine(f"copy {mode}", (kind, kind), _word_names(outer), write)


# ---- plans -----------------------------------------------------------------------------------------------------------


def _axes(shape: Sequence[int], dst: Sequence[int], src: Sequence[int]) -> tuple[list[Axis], int, int]:
    """The axes, outermost in dst first, all going forward in dst; and where dst and src begin."""
    d0 = s0 = 0
    turned = []
    for n, d, s in zip(shape, dst, src, strict=True):
        if d < 0:
            d0, s0, d, s = d0 + (n - 1) * d, s0 + (n - 1) * s, -d, -s
        turned.append(Axis(n, d, s))
    turned.sort(key=lambda axis: (-axis.d, -axis.n))
    sizes, (ds, ss) = plan.collapse([t.n for t in turned], ([t.d for t in turned], [t.s for t in turned]))
    return [Axis(*axis) for axis in zip(sizes, ds, ss, strict=True)], d0, s0


def _plane(axes: list[Axis], size: int, side: int) -> tuple[Any, Axis, Axis]:
    """The mode, and the axes a and n of the plane, which are taken out of the list."""
    inner = axes.pop()
    if inner.d == size and (inner.s == size or (inner.s in (0, -size) and inner.n >= SHORT)):
        long = inner.n * size >= LONG
        return (True, inner.s // size), _pop(axes, lambda axis: axis.d if long else -axis.n), inner
    across = [axis for axis in axes if abs(axis.s) == size and axis.n >= side]
    if inner.d == size and inner.n >= side and across:
        axes.remove(across[0])
        return "tiles", across[0], inner
    if axes and inner.n < SHORT and max(axes, key=lambda axis: axis.n).n > 4 * inner.n:
        a, n = inner, _pop(axes, lambda axis: -axis.n)
    else:
        a, n = _pop(axes, lambda axis: abs(axis.s)), inner
    step = n.s // size if n.s in (0, size, -size) else None
    return (n.d == size, step), a, n


def _pop(axes: list[Axis], key: Callable[[Axis], int]) -> Axis:
    """Takes out the axis that the key puts first; one of size 1 where there is none."""
    return axes.pop(axes.index(min(axes, key=key))) if axes else Axis(1, 0, 0)


def _blocks(mode: Any, a: int, n: int, size: int) -> tuple[int, int]:
    """How much of the plane is one item."""
    if mode == "tiles":
        return BLOCK
    if mode[0] is True and mode[1] is not None:
        nb = min(n, TASK // size)
        return max(1, TASK // (nb * size)), nb
    ab = min(a, STRIPE)
    return ab, max(STRIPE, (1 << 12) // ab)


@lru_cache(maxsize=4096)
def planned(shape: tuple[int, ...], dst: tuple[int, ...], src: tuple[int, ...], size: int) -> Bound:
    """The call that copies arrays of this shape, of these strides in bytes and of elements of `size` bytes."""
    axes, d0, s0 = _axes(shape, dst, src)
    if not axes:
        axes = [Axis(1, size, size)]
    kind = KINDS[size]
    mode, a, n = _plane(axes, size, lanes(kind))
    if mode == "tiles" and a.s < 0:
        d0, s0, a = d0 + (a.n - 1) * a.d, s0 + (a.n - 1) * a.s, Axis(a.n, -a.d, -a.s)
    ab, nb = _blocks(mode, a.n, n.n, size)
    an, nn = -(-a.n // ab), -(-n.n // nb)
    items = an * nn
    words = dict(a=a.n, n=n.n, sa=a.s, sn=n.s, da=a.d, dn=n.d, ab=ab, nb=nb, an=an, nn=nn, s0=s0, d0=d0)  # noqa: C408
    for k, axis in enumerate(reversed(axes)):
        words |= {f"size{k}": axis.n, f"step_d{k}": axis.d, f"step_s{k}": axis.s}
        items *= axis.n
    group = max(1, TASK // (min(ab, a.n) * min(nb, n.n) * size))
    total = math.prod(shape) * size
    bind = routine(mode, kind, len(axes)).bind
    return bind(-(-items // group), parallel=total >= SERIAL, items=items, group=group, **words)


# ---- functions -------------------------------------------------------------------------------------------------------


def copy(dst: Any, src: Any) -> None:
    """dst[...] = src, for arrays of one dtype that share no memory; src is broadcast to dst's shape."""
    shape, size = dst.shape, dst.itemsize
    strides = src.strides if src.shape == shape else plan.broadcast(src.shape, shape, src.strides)
    if not dst.size:
        return
    to = dst.strides
    if size not in KINDS:  # complex128: two elements
        shape, to, strides, size = (*shape, size // 8), (*to, 8), (*strides, 8), 8
    planned(shape, to, strides, size)(dst, src)


def like(x: Any, shape: tuple[int, ...] | None = None) -> Any:
    """A new array of x's dtype and of x's rank, whose axes lie in memory in the order of x's."""
    shape = x.shape if shape is None else shape
    if x.flags.c_contiguous:
        return plan.empty(shape, x.dtype)
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return plan.empty(tuple(shape[axis] for axis in order), x.dtype).transpose(np.argsort(order))


def contiguous(x: Any) -> Any:
    """A copy of x whose memory is in the order of its axes."""
    out = plan.empty(x.shape, x.dtype)
    copy(out, x)
    return out


def dense(x: Any) -> Any:
    """x itself where its memory is in the order of its axes, else a copy that is."""
    return x if x.flags.c_contiguous else contiguous(x)
