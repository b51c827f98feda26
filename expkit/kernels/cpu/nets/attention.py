"""Attention by blocks (Dao et al., 2022, arXiv:2205.14135): softmax(scale Q Kᵀ + mask) V without the matrix of scores.

A task takes a panel of queries, one for each lane of a micro-kernel's row, and goes over the keys in blocks. Scores are
kept transposed, [key][query]: then the queries' maxima and sums are vectors, keys and values need no packing (the
micro-kernel reads its left operand in any strides), and the block of weights is packed as the next product wants it.

    Sᵀ = K (scale Q)ᵀ;  m, l: maxima and sums so far;  Oᵀ = Oᵀ exp(m_old - m) + Vᵀ exp(Sᵀ - m);  lse = m + log l

The backward pass computes the weights again from `lse`; a task is a head, whose key and value gradients it adds up.

    P = exp(S - lse);  dV = Pᵀ dO;  dS = P (dO Vᵀ - rowsum(dO O));  dQ = scale dS K;  dK = scale dSᵀ Q
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from expkit.kernels.cpu.arrays.parts import like_parts
from expkit.kernels.cpu.code import math
from expkit.kernels.cpu.code.builder import Cell, Pointer, least
from expkit.kernels.cpu.code.elementwise import kind_of
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.gemm.microkernel import blocking
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.call import Bound
from expkit.kernels.cpu.nets.panels import INF, KEYS, Block, Form, Panel

WIDEST = 256  # largest size of a head: what the scratch memory holds
PARALLEL = 1 << 18  # multiplications from which several threads are worth waking
LIMIT = 1024  # bound calls that are kept


# ---- forward ---------------------------------------------------------------------------------------------------------


def _forward(form: Form) -> Callable[[Task], None]:
    def write(f: Task) -> None:
        q, k, v, mask, out, lse = f.arrays
        p = Panel(f, form)
        panel, rest = f.index % f["panels"], f.index.binary("sdiv", f["panels"])
        head, batch = rest % f["heads"], rest.binary("sdiv", f["heads"])
        query = panel * p.width
        count = least(f["t"] - query, p.width)
        k, v = p.head("k", k, batch, head), p.head("v", v, batch, head)
        mask = p.head("m", mask, batch, head) if form.mask else mask
        packed, scores, sums = p.scratch(WIDEST), p.scratch(KEYS), p.scratch(WIDEST)
        p.pack("q", p.head("q", q, batch, head).move(query * f["q2"]), packed, count, p.scale)
        top = [f.cell(p.splat(-INF)) for _ in range(p.vectors)]
        total = [f.cell(p.splat(0.0)) for _ in range(p.vectors)]
        for at in p.blocks(query, count):
            p.scores(k, packed, scores, at, mask)
            shift = _weigh(p, scores, at, top, total)
            with f.when(at.key.compare("gt", 0)):
                for d in f.range(f["dv"]):
                    p.store_at(sums, d, [x * y for x, y in zip(p.vectors_at(sums, d), shift, strict=True)])
            more = least(at.key, 1)
            p.multiply(v.move(at.key * f["v2"]), (f["v3"], f["v2"]), scores, sums, p.row, rows=f["dv"], k=at.keys,
                       accumulate=more)  # fmt: skip
        _finish(p, sums, top, total, lse.at(rest * f["t"] + query), count)
        p.unpack("o", sums, p.head("o", out, batch, head).move(query * f["o2"]), count, f.constant(form.kind, 1.0))

    return write


def _weigh(p: Panel, scores: Pointer, at: Block, top: list[Cell], total: list[Cell]) -> list[Value]:
    """Scores become weights; returns what the sums so far are to be multiplied with."""
    f = p.f
    before = [cell.value for cell in top]
    for j in f.range(at.keys):
        for cell, x in zip(top, p.vectors_at(scores, j), strict=True):
            cell.value = x.compare("gt", cell.value).select(x, cell.value)
    safe = [cell.value.compare("eq", -INF).select(p.splat(0.0), cell.value) for cell in top]
    shift = [math.exp(old - new) for old, new in zip(before, safe, strict=True)]
    for cell, x in zip(total, shift, strict=True):
        cell.value = cell.value * x
    for j in f.range(at.keys):
        weights = [math.exp(x - m) for x, m in zip(p.vectors_at(scores, j), safe, strict=True)]
        p.store_at(scores, j, weights)
        for cell, x in zip(total, weights, strict=True):
            cell.value = cell.value + x
    return shift


def _finish(p: Panel, sums: Pointer, top: list[Cell], total: list[Cell], lse: Pointer, count: Value) -> None:
    """Divides by the sums of weights; a query without any key that counts gets zeros, and lse = infinity."""
    f = p.f
    empty = [cell.value.compare("eq", 0.0) for cell in total]
    factors = [e.select(p.splat(0.0), 1 / cell.value) for e, cell in zip(empty, total, strict=True)]
    for d in f.range(f["dv"]):
        p.store_at(sums, d, [x * y for x, y in zip(p.vectors_at(sums, d), factors, strict=True)])
    for v in range(p.vectors):
        x = empty[v].select(p.splat(INF), top[v].value + math.log(total[v].value))
        lse.store_some(f.first(count - v * p.lanes, p.lanes), x, v * p.lanes)


# ---- backward --------------------------------------------------------------------------------------------------------


def _backward(form: Form) -> Callable[[Task], None]:
    def write(f: Task) -> None:
        q, k, v, mask, out, lse, g, dq, dk, dv = f.arrays
        p = Panel(f, form)
        head, batch = f.index % f["heads"], f.index.binary("sdiv", f["heads"])
        q, k, v, out, g, dq, dk, dv = (
            p.head(name, x, batch, head) for name, x in zip("qkvogxyz", (q, k, v, out, g, dq, dk, dv), strict=True)
        )
        mask = p.head("m", mask, batch, head) if form.mask else mask
        _clear(f, dk, f["y2"], f["d"])
        _clear(f, dv, f["z2"], f["dv"])
        one = f.constant(form.kind, 1.0)
        qt, gt, ot, q_rows, g_rows, sums = (p.scratch(WIDEST) for _ in range(6))
        weights, slopes = p.scratch(KEYS), p.scratch(KEYS)
        for query in f.range(f["t"], step=p.width):
            count = least(f["t"] - query, p.width)
            p.pack("q", q.move(query * f["q2"]), qt, count, p.scale)
            p.pack("g", g.move(query * f["g2"]), gt, count, one)
            p.pack("o", out.move(query * f["o2"]), ot, count, one)
            p.spread("q", q.move(query * f["q2"]), q_rows, count, p.scale)
            p.spread("g", g.move(query * f["g2"]), g_rows, count, one)
            delta = [f.cell(p.splat(0.0)) for _ in range(p.vectors)]
            for d in f.range(f["dv"]):
                for cell, x, y in zip(delta, p.vectors_at(gt, d), p.vectors_at(ot, d), strict=True):
                    cell.value = x.fma(y, cell.value)
            ends = _ends(p, lse.at(f.index * f["t"] + query), count)
            for at in p.blocks(query, count):
                p.scores(k, qt, weights, at, mask)
                steps = (f["v2"], f["v3"])
                p.multiply(v.move(at.key * f["v2"]), steps, gt, slopes, p.row, rows=at.keys, k=f["dv"])
                _slope(p, weights, slopes, ends, delta, at)
                _add_rows(p, weights, g_rows, dv.move(at.key * f["z2"]), f["z2"], f["dv"], at)
                _add_rows(p, slopes, q_rows, dk.move(at.key * f["y2"]), f["y2"], f["d"], at)
                more = least(at.key, 1)
                p.multiply(k.move(at.key * f["k2"]), (f["k3"], f["k2"]), slopes, sums, p.row, rows=f["d"], k=at.keys,
                           accumulate=more)  # fmt: skip
            p.unpack("x", sums, dq.move(query * f["x2"]), count, p.scale)

    return write


def _clear(f: Task, x: Pointer, row: Value, size: Value) -> None:
    for j in f.range(f["s"]):
        for d in f.range(size):
            x.move(j * row).store(0.0, d)


def _slope(
    p: Panel, weights: Pointer, slopes: Pointer, ends: Sequence[Value], delta: Sequence[Cell], at: Block
) -> None:
    """Scores become weights, and the weights' gradients those of the scores."""
    for j in p.f.range(at.keys):
        some = [math.exp(x - end) for x, end in zip(p.vectors_at(weights, j), ends, strict=True)]
        p.store_at(weights, j, some)
        rise = zip(some, p.vectors_at(slopes, j), delta, strict=True)
        p.store_at(slopes, j, [w * (x - cell.value) for w, x, cell in rise])


def _ends(p: Panel, lse: Pointer, count: Value) -> list[Value]:
    """The logarithms of the sums of exponentials; infinity for the queries that there are not."""
    found = []
    for v in range(p.vectors):
        there = p.f.first(count - v * p.lanes, p.lanes)
        found.append(there.select(lse.load_some(there, v * p.lanes), p.splat(INF)))
    return found


def _add_rows(p: Panel, block: Pointer, rows: Pointer, to: Pointer, step: Value, size: Value, at: Block) -> None:
    """to[key] += sum over queries of block[key][query] rows[query]"""
    item = SIZES[p.form.kind]
    for d in p.f.range(size, step=p.width):
        wide = least(size - d, p.width)
        p.multiply(block, (p.row, item), rows.at(d * p.width), to.at(d), step, rows=at.keys, k=at.queries,
                   columns=wide, accumulate=1)  # fmt: skip


# ---- calls -----------------------------------------------------------------------------------------------------------

_SIZES = ("heads", "panels", "t", "s", "d", "dv", "scale")


@lru_cache(maxsize=64)
def _routine(form: Form, backward: bool) -> Routine:
    kind, mask = form.kind, form.mask or "u1"
    names = ("q", "k", "v", "m", "o") + (("g", "x", "y", "z") if backward else ())
    kinds = (kind, kind, kind, mask, kind, kind) + ((kind,) * 4 if backward else ())
    words = (*_SIZES, *(f"{name}{axis}" for name in names for axis in range(4)))
    write = _backward(form) if backward else _forward(form)
    return Routine("attention, backward" if backward else "attention", kinds, words, write)


@lru_cache(maxsize=LIMIT)
def _bound(form: Form, backward: bool, shape: tuple[int, ...], scale: float, strides: tuple[Any, ...]) -> Bound:
    """shape: (B, H, T, S, D, Dv); strides: of all operands but lse."""
    b, h, t, s, d, dv = shape
    panels = -(-t // blocking(form.kind).width)
    sizes = (h, panels, t, s, d, dv, struct.unpack("<q", struct.pack("<d", scale))[0])
    routine = _routine(form, backward)
    words = dict(zip(routine.words, [*sizes, *(x for steps in strides for x in steps)], strict=True))
    wide = b * h * t * s * (d + dv) >= PARALLEL
    return routine.bind(b * h * (1 if backward else panels), parallel=wide, **words)


def fits(d: int, dv: int) -> bool:
    """Whether there are kernels for heads of such sizes."""
    return 0 < d <= WIDEST and 0 < dv <= WIDEST


def forward(q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float) -> tuple[Any, Any]:
    """(result, logarithm of the sum of exponentials of each query)"""
    out, lse = _like(q, v.shape[3]), plan.empty(q.shape[:3], q.dtype)
    given = (q, k, v, q if mask is None else mask, out)
    _call(False, given, mask, causal, scale)(*given, lse)
    return out, lse


def backward(
    g: Any, out: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float
) -> tuple[Any, Any, Any]:
    """The gradients of q, k and v: slices of one array where these are."""
    grads = tuple(like_parts(q, k, v) or (_like(x, x.shape[3]) for x in (q, k, v)))
    given = (q, k, v, q if mask is None else mask, out)
    _call(True, (*given, g, *grads), mask, causal, scale)(*given, lse, g, *grads)
    return grads


def _call(backward: bool, arrays: Sequence[Any], mask: Any, causal: bool, scale: float) -> Bound:
    q, k, v = arrays[:3]
    form = Form(kind_of(q.dtype), causal, "" if mask is None else kind_of(mask.dtype))
    shape = (*q.shape[:3], k.shape[2], q.shape[3], v.shape[3])
    return _bound(form, backward, shape, scale, tuple([x.strides for x in arrays]))


def _like(x: Any, size: int) -> Any:
    """A new array (B, H, T, size): heads inside of time in memory where x has them so."""
    b, h, t, _ = x.shape
    if abs(x.strides[1]) < abs(x.strides[2]):
        return plan.empty((b, t, h, size), x.dtype).transpose(0, 2, 1, 3)
    return plan.empty((b, h, t, size), x.dtype)
