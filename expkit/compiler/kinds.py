"""What an equation can be part of: elementwise code, a reduction, or what is known of each row of one.

A *row* value belongs to a space and the axis of it that was reduced (softmax, norms): a reduction's result, what is
computed from such results alone, and their views that prepare for broadcasting.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from expkit.autograd.equations import Equation, Var
from expkit.compiler.cores import CORES
from expkit.kernels.cpu.code.elementwise import DTYPES, EMITTERS, HEAVY, KINDS, Gap, emit
from expkit.kernels.cpu.code.ir import Block, Value
from expkit.kernels.cpu.loops.fuse import REDUCED, axes_of
from expkit.kernels.cpu.loops.plan import PARALLEL
from expkit.tensor.generated.base import enabled

FEW = 8  # rows that are not enough to share out, where there is work for several threads
VIEWS = frozenset({"reshape", "expand"})  # that may only prepare for broadcasting
Shape = tuple[int, ...]


class Rows(NamedTuple):
    """The space and the axes of it that row values do not have, or have as ones."""

    space: Shape
    axes: tuple[int, ...]

    @property
    def kept(self) -> Shape:
        return tuple(1 if i in self.axes else n for i, n in enumerate(self.space))

    @property
    def bare(self) -> Shape:
        return tuple(n for i, n in enumerate(self.space) if i not in self.axes)


class Kind(NamedTuple):
    """space: what the code loops over. axes: what it reduces. row: to which rows its result belongs, if to any."""

    space: Shape
    axes: tuple[int, ...] = ()
    row: Rows | None = None
    alone: bool = False  # the only result of its kernel
    cheap: bool = False  # worth computing again rather than storing
    view: bool = False
    core: bool = False  # elementwise code can run inside of its kernels: see cores.py


def rows_of(equations: Sequence[Equation]) -> dict[int, Rows]:
    """The row values, by Var. Rows are those of the last axis: its elements lie together."""
    found: dict[int, Rows] = {}
    for e in equations:
        row = _row(e, found)
        if row is not None:
            found[e.outs[0].index] = row
    return found


def _row(e: Equation, known: dict[int, Rows]) -> Rows | None:
    reads = [a for a in e.args if isinstance(a, Var)]
    if len(e.outs) != 1 or not reads:
        return None
    name, out = e.prim.name, e.outs[0]
    if name in REDUCED:
        space, axes = reads[0].shape, axes_of(e)
        rows = prod(space[:-1])
        along = axes == (len(space) - 1,) and (rows >= FEW or rows * space[-1] < PARALLEL)
        return Rows(space, axes) if along else None
    row = known.get(reads[0].index)
    if row is None:
        return None
    if name in VIEWS:
        return row if out.shape in (row.kept, row.bare, row.space) else None
    together = name in EMITTERS and all(known.get(a.index) == row for a in reads)
    return row if together and out.shape in (row.kept, row.bare) else None


def kind_of(e: Equation, rows: dict[int, Rows]) -> Kind | None:
    """None for what has no place in a generated loop."""
    if not enabled() or not prod(e.outs[0].shape):
        return None
    name, out = e.prim.name, e.outs[0]
    if name in CORES:
        inner = CORES[name].inner(e)
        return Kind(inner.shape, core=True) if inner.device in (None, "cpu") else None
    if len(e.outs) != 1:
        return None
    row = rows.get(out.index)
    if name in VIEWS:
        return Kind(row.space, row=row, cheap=True, view=True) if row is not None else None
    reads = [a for a in e.args if isinstance(a, Var)]
    if any(v.device not in (None, "cpu") for v in reads):
        return None
    if name in REDUCED:
        space = reads[0].shape
        reducible = prod(space) > 0 and reads[0].dtype in KINDS and reads[0].dtype != bool and out.dtype in KINDS
        return Kind(space, axes_of(e), row, alone=row is None) if reducible else None
    if name not in EMITTERS or not _has_code(name, tuple(map(_operand, e.args)), _settings(e.kw), out.dtype):
        return None
    large = sum(a.shape == out.shape for a in reads)
    return Kind(out.shape, row=row, cheap=large <= 1 and name not in HEAVY)


def _operand(a: Any) -> Any:
    """What decides the code of an operand: its dtype, or the number."""
    if isinstance(a, Var):
        return a.dtype
    return (type(a), repr(a)) if not hasattr(a, "value") else None


def _settings(kw: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((name, value if value.__hash__ else repr(value)) for name, value in kw.items()))


@lru_cache(maxsize=1 << 14)
def _has_code(name: str, operands: tuple[Any, ...], kw: tuple[tuple[str, Any], ...], dtype: np.dtype) -> bool:
    """Whether there is code for such operands, and it makes that dtype. None among them: a number that is left open."""
    block = Block()
    known = [d for d in operands if isinstance(d, np.dtype)]
    if not known or any(d not in KINDS for d in (*known, dtype)):
        return False
    like = next((d for d in known if KINDS[d] != "b1"), dtype)
    args: list[Any] = []
    for d in operands:
        if isinstance(d, tuple):
            args.append(_literal(*d))
        else:
            args.append(Value(block, KINDS[like if d is None else d], "%x"))
    try:
        return DTYPES[emit(name, args, dict(kw)).kind] == dtype and not any(a is None for a in args)
    except (Gap, TypeError):
        return False


def _literal(kind: type, text: str) -> Any:
    """A number of an equation. None for -0.0, which the keys of kernels would take for 0.0."""
    return None if text == "-0.0" else kind(text if kind is not bool else text == "True")
