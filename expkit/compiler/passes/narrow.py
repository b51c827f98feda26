"""Two-byte floats: kernels compute with four bytes, so these are converted around them, as eager operations do inside.

Each result is rounded as it would be by itself. Conversions of one value are made once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from expkit.autograd.equations import Equation, Var
from expkit.autograd.handle import Aval
from expkit.autograd.primitive import PRIMITIVES
from expkit.kernels.cpu.code.elementwise import EMITTERS
from expkit.kernels.cpu.loops.fuse import REDUCED
from expkit.tensor.generated.base import F32, enabled

NARROW = ("float16", "bfloat16")
CONVERSIONS = ("convert", "cast")


def widened(equations: Sequence[Equation]) -> list[Equation]:
    """Elementwise equations and reductions of two-byte floats as ones of float32, with conversions around."""
    if not enabled():
        return list(equations)
    wide: dict[int, Var] = {}  # of two-byte Vars
    found: list[Equation] = []
    for e in equations:
        if not _widens(e):
            found.append(e)
            continue
        for a in e.args:
            if _narrow(a) and a.index not in wide:
                wide[a.index] = _like(a, F32)
                found.append(_converted(a, wide[a.index]))
        args = tuple(wide[a.index] if _narrow(a) else a for a in e.args)
        (out,) = e.outs
        if not _narrow(out):
            found.append(Equation(e.prim, args, e.kw, (out,)))
            continue
        exact = _like(out, F32)
        found += [Equation(e.prim, args, e.kw, (exact,)), _converted(exact, out)]
    return found


def _widens(e: Equation) -> bool:
    name = e.prim.name
    computed = (name in EMITTERS or name in REDUCED) and name not in CONVERSIONS and len(e.outs) == 1
    return computed and any(map(_narrow, (*e.args, *e.outs)))


def _narrow(x: object) -> bool:
    return isinstance(x, Var) and x.device in (None, "cpu") and np.dtype(x.dtype).name in NARROW


def _like(v: Var, dtype: np.dtype) -> Var:
    return v.trace.var(Aval(v.shape, dtype, v.device))


def _converted(x: Var, out: Var) -> Equation:
    return Equation(PRIMITIVES["convert"], (x,), {"dtype": np.dtype(out.dtype)}, (out,))
