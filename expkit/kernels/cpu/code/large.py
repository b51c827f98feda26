"""Sine, cosine and tangent of large arguments, whose multiple of π/2 no few floats hold: Payne and Hanek's reduction.

x = m 2^e with a whole m of 53 bits. Of x 2/π only the part below 4 matters: m times 192 bits of 2/π, which begin at a
place that e decides (Payne and Hanek, Radian reduction for trigonometric functions, SIGNUM Newsletter 18, 1983).

It takes tens of times as long as what suffices for usual arguments, so it stands apart: `patched` writes a call of a
function that LLVM's vectoriser replaces by one of vectors; this is inlined afterwards and is a single test for a vector
whose elements are all small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from expkit.kernels.cpu.code.ir import Block, Value, lanes_of, scalar_of, type_of, vector_of

PAD = 64  # zero bits before those of 2/π: arguments of less than four may begin there
WORDS = 20  # of 64 bits, for the largest float64
VECTORS = (2, 4, 8, 16)
SELDOM = '!{!"branch_weights", i32 1, i32 100000}'
PURE = "nounwind willreturn memory(none)"
TURN = 1.5707963267948966 * 2.0**-64, 6.123233995736766e-17 * 2.0**-64  # π/2 in two parts, of 2**64 to a quarter turn

Finish = Callable[[Value, Value], Value]


@lru_cache(maxsize=1)
def _table() -> str:
    """2/π in words, the highest first; π by Machin's formula."""
    bits = 64 * WORDS - PAD
    one = 1 << (bits + 64)

    def arccot(n: int) -> int:
        power, total, k = one // n, 0, 0
        while power:
            total += (power if k % 2 == 0 else -power) // (2 * k + 1)
            power, k = power // (n * n), k + 1
        return total

    pi = 4 * (4 * arccot(5) - arccot(239))
    number = (2 * one << bits) // pi
    words = [number >> 64 * (WORDS - 1 - k) & (1 << 64) - 1 for k in range(WORDS)]
    return f"@two_over_pi = private constant [{WORDS} x i64] [{', '.join(f'i64 {w}' for w in words)}]"


def _word(b: Block, first: Value, shift: Value, k: int) -> Value:
    """64 bits of 2/π, from `shift` bits behind the start of word first + k on."""
    pair = []
    for n in (k, k + 1):
        place = b.put("i8", f"getelementptr i64, ptr @two_over_pi, i64 {(first + n).name}").name
        pair.append(b.put("i8", f"load i64, ptr {place}"))
    return b.call("fshl", *pair, shift)


def _wide(b: Block, op: str, *operands: str) -> str:
    """The name of what an operation on 128 bits gives."""
    return b.put("i8", f"{op} i128 {', '.join(operands)}").name


def _extended(b: Block, x: Value) -> str:
    return b.put("i8", f"zext {x!r} to i128").name


def _half(b: Block, wide: str, shift: int) -> Value:
    """64 of 128 bits."""
    return b.put("i8", f"trunc i128 {_wide(b, 'lshr', wide, str(shift)) if shift else wide} to i64")


def _reduced(x: Value) -> tuple[Value, Value]:
    """(r, quadrant) of a float64, finite and not below 2: |x| = quadrant π/2 + r with |r| <= π/4."""
    b, bits = x.block, x.bits()
    exponent = bits.binary("lshr", 52) & 2047
    mantissa = bits & (1 << 52) - 1 | 1 << 52
    offset = exponent + (PAD - 2 - 1075)
    first, shift = offset.binary("lshr", 6), offset & 63
    top, middle, low = (_word(b, first, shift, k) for k in range(3))
    m = _extended(b, mantissa)
    product = _wide(b, "shl", _extended(b, top * mantissa), "64")
    product = _wide(b, "add", product, _wide(b, "mul", m, _extended(b, middle)))
    product = _wide(b, "add", product, _wide(b, "lshr", _wide(b, "mul", m, _extended(b, low)), "64"))
    turns = _wide(b, "add", product, str(1 << 125))  # a fraction of four quarters; the nearest one
    quadrant = _half(b, _wide(b, "lshr", turns, "126"), 0)
    rest = _wide(b, "shl", product, "2")
    sign = _wide(b, "ashr", rest, "127")
    size = _wide(b, "sub", _wide(b, "xor", rest, sign), sign)
    high, low = _half(b, size, 64), _half(b, size, 0)
    low_float = b.put("f8", f"uitofp {low!r} to double") * 2.0**-64
    r = _angle(b.put("f8", f"uitofp {high & -2048!r} to double"), (high & 2047).to("f8") + low_float)
    return _half(b, sign, 0).compare("eq", 0).select(r, -r), quadrant


def _angle(high: Value, low: Value) -> Value:
    """high + low, in parts of TURN, as radians."""
    total = high + low
    lost = low - (total - high)
    r = total * TURN[0]
    return r + (total.fma(TURN[0], -r) + (lost * TURN[0] + total * TURN[1]))


def _one(name: str, kind: str, limit: float, finish: Finish) -> tuple[str, Block]:
    """name(x, usual): the function of one large x; of others `usual`."""
    b, t = Block(), type_of(kind)
    x, usual = Value(b, kind, "%x"), Value(b, kind, "%usual")
    large = b.call("fabs", x).compare("gt", limit)
    b.write(f"  br i1 {large.name}, label %large, label %done, !prof {SELDOM}\nlarge:")
    r, quadrant = _reduced(x.to("f8"))
    negative = x.compare("lt", 0.0)
    out = finish(negative.select(-r, r), negative.select(-quadrant, quadrant)).to(kind)
    out = b.call("fabs", x).compare("lt", float("inf")).select(out, x - x)
    b.write("  br label %done\ndone:")
    b.write(f"  %out = phi {t} [ {usual.name}, %entry ], [ {out.name}, %large ]\n  ret {t} %out")
    return f"define {t} @{name}({t} %x, {t} %usual) noinline {PURE} {{\nentry:\n" + "\n".join(b.lines) + "\n}", b


def _each(name: str, kind: str) -> str:
    """name.each<lanes>(x, usual): lane by lane; seldom called."""
    t, one, lanes = type_of(kind), type_of(scalar_of(kind)), lanes_of(kind)
    lines, out = [], "%usual"
    for k in range(lanes):
        lines += [
            f"  %x{k} = extractelement {t} %x, i64 {k}\n  %u{k} = extractelement {t} %usual, i64 {k}",
            f"  %f{k} = call {one} @{name}({one} %x{k}, {one} %u{k})",
            f"  %o{k} = insertelement {t} {out}, {one} %f{k}, i64 {k}",
        ]
        out = f"%o{k}"
    head = f"define {t} @{name}.each{lanes}({t} %x, {t} %usual) noinline cold {PURE} {{"
    return "\n".join([head, *lines, f"  ret {t} {out}\n}}"])


def _tested(name: str, kind: str, limit: float) -> tuple[str, Block]:
    """name.v<lanes>(x, usual): the test for a vector."""
    b, t, lanes = Block(), type_of(kind), lanes_of(kind)
    x = Value(b, kind, "%x")
    large = b.call("fabs", x).compare("gt", limit)
    reduce = f"llvm.vector.reduce.or.v{lanes}i1"
    b.calls[reduce] = f"declare i1 @{reduce}({type_of(large.kind)})"
    found = b.put("b1", f"call i1 @{reduce}({large!r})")
    b.write(f"  br i1 {found.name}, label %large, label %done, !prof {SELDOM}\nlarge:")
    b.write(f"  %found = call {t} @{name}.each{lanes}({t} %x, {t} %usual)\n  br label %done\ndone:")
    b.write(f"  %out = phi {t} [ %usual, %entry ], [ %found, %large ]\n  ret {t} %out")
    head = f"define {t} @{name}.v{lanes}({t} %x, {t} %usual) alwaysinline {PURE} {{\nentry:"
    return "\n".join([head, *b.lines, "}"]), b


def patched(function: str, x: Value, usual: Value, limit: float, finish: Finish) -> Value:
    """`usual` where |x| is at most `limit` or NaN, elsewhere what `finish` makes of (r, quadrant), computed in float64.

    function: its name, e.g. "sin". Of infinities NaN.
    """
    b, kind = x.block, scalar_of(x.kind)
    name = f"large_{function}_{kind}"
    if name not in b.calls:
        text, one = _one(name, kind, limit, finish)
        b.calls |= one.calls | {"two_over_pi": _table(), name: text}
        for lanes in VECTORS:
            wide = vector_of(kind, lanes)
            text, test = _tested(name, wide, limit)
            b.calls |= test.calls | {f"{name}.v{lanes}": text, f"{name}.each{lanes}": _each(name, wide)}
    t = type_of(x.kind)
    if (lanes := lanes_of(x.kind)) > 1:
        return b.put(x.kind, f"call {t} @{name}.v{lanes}({x!r}, {usual!r})")
    variants = ",".join(f"_ZGV_LLVM_N{lanes}vv_{name}({name}.v{lanes})" for lanes in VECTORS)
    return b.put(kind, f'call {t} @{name}({x!r}, {usual!r}) "vector-function-abi-variant"="{variants}"')
