"""Sums of parts in zeros, as gradients of slices are: where the parts fill the whole, they are joined instead.

Where a part is -0.0 the sum with the others' zeros has 0.0, what is joined -0.0; nothing else differs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from expkit.autograd.equations import Equation
from expkit.autograd.primitive import PRIMITIVES
from expkit.compiler.passes.rewrite import Found, Known, rule


class Piece(NamedTuple):
    """Places start to stop along an axis, and what lies there."""

    axis: int
    start: int
    stop: int
    value: Any


@rule("add")
def joined(e: Equation, known: Known) -> Found:
    """Zeros with x here, plus zeros with y there, and so on: x, y, ... joined."""
    found = _pieces(e, known)
    if found is None:
        return None
    found.sort(key=lambda piece: piece.start)
    bounds = [0, *(piece.stop for piece in found)]
    axis = found[0].axis
    if any(p.start != b or p.axis != axis for p, b in zip(found, bounds, strict=False)):
        return None
    if bounds[-1] != e.outs[0].shape[axis]:
        return None
    return Equation(PRIMITIVES["cat"], tuple(piece.value for piece in found), {"axis": axis}, e.outs)


def _pieces(e: Equation, known: Known) -> list[Piece] | None:
    """The parts that an equation adds up; None if something else is among them."""
    found: list[Piece] = []
    todo = list(e.args)
    while todo:
        x = todo.pop()
        sum_of, pad = known.by(x, "add"), known.by(x, "pad")
        piece = _piece(pad) if pad is not None else None
        if piece is not None and x.shape == e.outs[0].shape:
            found.append(piece)
        elif sum_of is not None and x.shape == e.outs[0].shape:
            todo += sum_of.args
        else:
            return None
    return found


def _piece(pad: Equation) -> Piece | None:
    """What padding puts into zeros along a single axis."""
    wide = [axis for axis, widths in enumerate(pad.kw["widths"]) if any(widths)]
    if len(wide) != 1 or pad.kw["value"] != 0:
        return None
    (axis,) = wide
    x, start = pad.args[0], pad.kw["widths"][axis][0]
    return Piece(axis, start, start + x.shape[axis], x)
