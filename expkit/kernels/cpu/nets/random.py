"""Philox 4x32-10 and what is made of its words: uniform and normal numbers, masks.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The key is the seed, a counter gives four 32-bit
words; eight counters are worked on at once, each word in a lane of 64 bits. The words, and the uniform numbers made of
them, are bit for bit those of `expkit.tensor.ops.generator`.
"""

from __future__ import annotations

import math as numbers
from collections.abc import Callable, Sequence
from functools import cache

from expkit.kernels.cpu.code import math
from expkit.kernels.cpu.code.builder import least
from expkit.kernels.cpu.code.ir import Value, scalar_of
from expkit.kernels.cpu.code.routine import Routine, Task
from expkit.kernels.cpu.code.vectors import LANES, Place

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
MASK = 0xFFFFFFFF
LANE = 8  # counters at once
WORDS = ("count", "block", "chance")  # how many results, those of a task, and the `bits` of a probability


def _high(x: Value) -> Value:
    return x.binary("lshr", 32)


def rounds(f: Task, counter: Value, seed: Value) -> list[Value]:
    """The four words of eight counters (i8x8), in lanes of 64 bits."""
    c = [counter & MASK, _high(counter), f.splat(0, LANE, "i8"), f.splat(0, LANE, "i8")]
    keys = [seed & MASK, _high(seed)]
    for _ in range(10):
        p0, p1 = c[0] * M0, c[2] * M1
        k0, k1 = (f.splat(k, LANE) for k in keys)
        c = [_high(p1) ^ c[1] ^ k0, p1 & MASK, _high(p0) ^ c[3] ^ k1, p0 & MASK]
        keys = [(k + w) & MASK for k, w in zip(keys, (W0, W1), strict=True)]
    return c


def _zipped(f: Task, a: Value, b: Value) -> list[Value]:
    """a0 b0 a1 b1 ..., as two vectors."""
    n = LANE if scalar_of(a.kind) in ("i8", "f8") else 2 * LANE
    order = [k // 2 + n * (k % 2) for k in range(2 * n)]
    return [f.shuffle(a, b, order[:n]), f.shuffle(a, b, order[n:])]


def _words(f: Task, c: Sequence[Value]) -> list[Value]:
    """The 32 words in order: two vectors i4x16."""
    pairs = _zipped(f, c[0] | (c[1] << 32), c[2] | (c[3] << 32))
    return [f.put("i4x16", f"bitcast {v!r} to <16 x i32>") for v in pairs]


def _uniform4(f: Task, c: Sequence[Value]) -> list[Value]:
    return [w.binary("lshr", 8).to("f4") * 2.0**-24 for w in _words(f, c)]


def _uniform8(f: Task, c: Sequence[Value]) -> list[Value]:
    whole = [(a.binary("lshr", 5) << 26) | b.binary("lshr", 6) for a, b in ((c[0], c[1]), (c[2], c[3]))]
    return [v.to("f8") * 2.0**-53 for v in _zipped(f, *whole)]


def _circle(turns: Value) -> tuple[Value, Value]:
    """Cosine and sine of 2 pi turns, turns on [0, 1)."""
    kind = scalar_of(turns.kind)
    magic = math.FORMATS[kind].magic
    quarters = turns * 4
    shifted = quarters + magic
    x = (quarters - (shifted - magic)) * (numbers.pi / 2)
    terms = 4 if kind == "f4" else len(math.SINE)
    z = x * x
    sine = x + x * z * math.poly(z, math.SINE[:terms])
    cosine = (z * z).fma(math.poly(z, math.COSINE[:terms]), z.fma(-0.5, 1.0))
    n = shifted.bits()
    swapped = (n & 1).compare("ne", 0)
    a, b = swapped.select(sine, cosine), swapped.select(cosine, sine)
    return ((n + 1) & 2).compare("ne", 0).select(-a, a), (n & 2).compare("ne", 0).select(-b, b)


def _normal(uniform: Callable[..., list[Value]]) -> Callable[..., list[Value]]:
    """Box and Muller's transform of neighbours; 1 - u is exact."""

    def normal(f: Task, c: Sequence[Value]) -> list[Value]:
        a, b = uniform(f, c)
        n = LANES[scalar_of(a.kind)]
        first, second = (f.shuffle(a, b, range(k, 2 * n, 2)) for k in range(2))
        radius = math.sqrt(math.log(1 - first) * -2.0)
        cosine, sine = _circle(second)
        return _zipped(f, radius * cosine, radius * sine)

    return normal


def _mask(f: Task, c: Sequence[Value]) -> list[Value]:
    """Where a uniform number is not below the chance."""
    chance = f.splat(f["chance"].as_float().to("f4"), LANES["f4"])
    return [u.compare("ge", chance) for u in _uniform4(f, c)]


MAKERS: dict[str, tuple[str, Callable[..., list[Value]]]] = {  # name: kind, code of the results of eight counters
    "words": ("i4", _words),
    "uniform f4": ("f4", _uniform4),
    "uniform f8": ("f8", _uniform8),
    "normal f4": ("f4", _normal(_uniform4)),
    "normal f8": ("f8", _normal(_uniform8)),
    "mask": ("b1", _mask),
}


@cache
def fill(name: str) -> Routine:
    """(state: seed, offset; out): `count` results of the counters from the offset on; `block` is a multiple of 32."""
    kind, make = MAKERS[name]
    lanes = LANES.get(kind, 2 * LANE)
    per = 2 * lanes // LANE  # results of a counter

    def write(f: Task) -> None:
        state, out = f.arrays
        seed, offset = state.load(0), state.load(1)
        first = f.index * f["block"]
        steps = f.put("i8x8", f"add <8 x i64> zeroinitializer, <{', '.join(f'i64 {k}' for k in range(LANE))}>")
        last = least(first + f["block"], f["count"])
        for i in f.range(last, first, 2 * lanes):
            counter = f.splat(offset + i.binary("sdiv", per), LANE) + steps
            found = make(f, rounds(f, counter, seed))
            for whole in f.either((i + 2 * lanes).compare("le", last)):
                for k, x in enumerate(found):
                    left = last - i - k * lanes
                    Place(i + k * lanes, None if whole else f.first(left, lanes), k, lanes).store(out, x)

    return Routine(f"random {name}", ("i8", kind), WORDS, write, explicit=True)
