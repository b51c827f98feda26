"""Memory formats over a whole graph: images are brought into channels-last order once, before the first convolution.

Convolutions with the channels innermost need no copies around them, and what follows keeps the order of its operand:
convolutions themselves, normalisations, pools, elementwise functions.
"""

from __future__ import annotations

from collections.abc import Sequence

from expkit.autograd.equations import Equation, Var
from expkit.autograd.handle import Aval
from expkit.kernels.cpu.code.elementwise import EMITTERS
from expkit.tensor.ops.memory_format import layout_p

ORDER = (0, 2, 3, 1)
KEEPS = {"normalize", "max_pool", "window_sum", "pad", "slice", "cat", "resample", "placed", "drop", *EMITTERS}


def channels_last(equations: Sequence[Equation]) -> list[Equation]:
    """The equations with the images that convolutions begin with in channels-last order."""
    ordered: set[int] = set()  # Vars that lie in that order
    turned: dict[int, Var] = {}  # of a Var that does not: its copy that does
    found: list[Equation] = []
    for e in equations:
        images = [a for a in e.args if isinstance(a, Var) and len(a.shape) == 4]
        if e.prim.name == "conv" and len(e.outs[0].shape) == 4:
            x = e.args[0]
            if x.index not in ordered:
                if x.index not in turned:
                    turned[x.index] = copy = x.trace.var(Aval(x.shape, x.dtype, x.device))
                    found.append(Equation(layout_p, (x,), {"order": ORDER}, (copy,)))
                e = Equation(e.prim, (turned[x.index], *e.args[1:]), e.kw, e.outs)
            ordered.add(e.outs[0].index)
        elif e.prim.name == "conv_weight" and e.args[0].index in turned:
            e = Equation(e.prim, (turned[e.args[0].index], *e.args[1:]), e.kw, e.outs)
        elif e.prim.name in KEEPS and any(a.index in ordered for a in images):
            ordered.update(v.index for v in e.outs if len(v.shape) == 4)
        found.append(e)
    return found
