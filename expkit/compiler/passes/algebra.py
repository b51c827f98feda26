"""Rules of arithmetic. They hold for every value, infinities and NaN included, and put no sum in another order.

They hold for -0.0 as well, but that a sum of it alone is 0.0.
"""

from __future__ import annotations

from math import copysign, prod
from typing import Any

import numpy as np

from expkit.autograd.equations import Equation
from expkit.autograd.handle import Aval
from expkit.autograd.primitive import PRIMITIVES
from expkit.compiler.passes.rewrite import Found, Known, rule, same

FLOATS = "float16", "bfloat16", "float32", "float64"
WHOLE = {"float32": 3, "float64": 6}  # the widest integers that a float holds exactly, in bytes (rounded down)
IDEMPOTENT = "relu", "abs", "floor", "ceil", "trunc", "round"


@rule("mul")
def times_one(e: Equation, known: Known) -> Found:
    """x * 1 and 1 * x are x."""
    x, y = e.args
    for a, b in ((x, y), (y, x)):
        if known.number(b) == 1 and same(a, e):
            return a
    return None


@rule("div")
def over_one(e: Equation, known: Known) -> Found:
    """x / 1 is x."""
    return same(e.args[0], e) if known.number(e.args[1]) == 1 else None


@rule("sub")
def minus_zero(e: Equation, known: Known) -> Found:
    """x - 0 is x, with 0.0 for floats: -0.0 - 0.0 is -0.0."""
    zero = known.number(e.args[1])
    return same(e.args[0], e) if zero == 0 and copysign(1, zero) == 1 else None


@rule("add")
def plus_zero(e: Equation, known: Known) -> Found:
    """x + 0 is x for integers, x + -0.0 for floats (-0.0 + 0.0 is 0.0)."""
    sign = 1 if e.outs[0].dtype.kind in "iu" else -1
    for a, b in (e.args, e.args[::-1]):
        zero = known.number(b)
        if zero == 0 and copysign(1, zero) == sign and same(a, e):
            return a
    return None


@rule("neg", "logical_not")
def twice(e: Equation, known: Known) -> Found:
    """-(-x) is x; so is not not x of bools."""
    inner = known.by(e.args[0], e.prim.name)
    return same(inner.args[0], e) if inner is not None else None


@rule(*IDEMPOTENT)
def again(e: Equation, known: Known) -> Found:
    """f(f(x)) is f(x)."""
    return same(e.args[0], e) if known.by(e.args[0], e.prim.name) is not None else None


@rule("add", "sub")
def of_negative(e: Equation, known: Known) -> Found:
    """x + -y is x - y, x - -y is x + y."""
    x, y = e.args
    negative = known.by(y, "neg")
    if negative is None:
        return None
    other = PRIMITIVES["sub" if e.prim.name == "add" else "add"]
    return Equation(other, (x, negative.args[0]), {}, e.outs)


@rule("where")
def either_way(e: Equation, _known: Known) -> Found:
    """where(c, x, x) is x."""
    return same(e.args[1], e) if e.args[1] is e.args[2] else None


@rule("convert", "cast")
def to_itself(e: Equation, _known: Known) -> Found:
    """A conversion to the dtype that x has."""
    return same(e.args[0], e)


@rule("convert", "cast")
def through_wider(e: Equation, known: Known) -> Found:
    """A conversion by way of a dtype that holds all values of the first is one conversion."""
    inner = known.by(e.args[0], "convert", "cast")
    if inner is None or not _holds(e.args[0].dtype, inner.args[0].dtype):
        return None
    x, dtype = inner.args[0], e.outs[0].dtype
    if x.dtype == dtype:
        return same(x, e)
    floats = str(x.dtype) in FLOATS and str(dtype) in FLOATS
    return Equation(PRIMITIVES["convert" if floats else "cast"], (x,), {"dtype": dtype}, e.outs)


def _holds(wide: Any, narrow: Any) -> bool:
    """Whether each value of one dtype is one of the other."""
    wide, narrow = np.dtype(wide), np.dtype(narrow)
    if wide.name in FLOATS:
        if narrow.name in FLOATS:
            return narrow.itemsize < wide.itemsize or narrow == wide
        return narrow.kind == "b" or (narrow.kind in "iu" and narrow.itemsize <= WHOLE.get(wide.name, 0))
    return wide.kind in "iu" and narrow.kind in "biu" and np.can_cast(narrow, wide, "safe")


@rule("sum", "prod", "amax", "amin", "max", "min")
def of_one(e: Equation, _known: Known) -> Found:
    """A reduction of single elements only takes axes away."""
    x, out = e.args[0], e.outs[0]
    if prod(x.shape) != prod(out.shape) or not prod(x.shape) or x.dtype != out.dtype:
        return None
    return Equation(PRIMITIVES["reshape"], (x,), {"shape": out.shape}, e.outs)


@rule("amax", "amin", "max", "min", "sum")
def of_equal(e: Equation, known: Known) -> Found:
    """A reduction of elements that are all the same: one of them, or so many times it."""
    inner, out = known.by(e.args[0], "expand"), e.outs[0]
    if inner is None or prod(inner.args[0].shape) != prod(out.shape) or e.args[0].dtype != out.dtype:
        return None
    x, count = inner.args[0], prod(e.args[0].shape) // max(1, prod(out.shape))
    if not count or _order(x.shape) != _order(out.shape):
        return None
    if e.prim.name != "sum":
        return Equation(PRIMITIVES["reshape"], (x,), {"shape": out.shape}, e.outs)
    one = out.trace.var(Aval(out.shape, out.dtype, out.device))
    number = float(count) if out.dtype.kind not in "iu" else count
    return [
        Equation(PRIMITIVES["reshape"], (x,), {"shape": out.shape}, (one,)),
        Equation(PRIMITIVES["mul"], (one, number), {}, e.outs),
    ]


@rule("squared_error")
def a_squared_error(e: Equation, _known: Known) -> Found:
    """scale * sum((x - y)²): the difference may be known, and what follows belongs to its kernel."""
    x, y = e.args
    if x.dtype.name not in ("float32", "float64"):
        return None
    out = e.outs[0]
    difference, total = (out.trace.var(Aval(shape, out.dtype, out.device)) for shape in (x.shape, out.shape))
    return [
        Equation(PRIMITIVES["sub"], (x, y), {}, (difference,)),
        Equation(PRIMITIVES["square_sum"], (difference,), {"axes": e.kw["axes"]}, (total,)),
        Equation(PRIMITIVES["mul"], (total, e.kw["scale"]), {}, e.outs),
    ]


def _order(shape: tuple[int, ...]) -> list[int]:
    return [n for n in shape if n != 1]
