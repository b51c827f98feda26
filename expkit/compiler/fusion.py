"""Which equations run together: elementwise ones of one shape become a generated kernel, the others run alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.equations import Equation, Graph, Var
from expkit.autograd.handle import Aval
from expkit.compiler.units import Unit, alone
from expkit.kernels.cpu.code.elementwise import EMITTERS
from expkit.kernels.cpu.loops.fuse import kernel_of
from expkit.tensor.generated.base import enabled

LEAST = 1 << 9  # elements from which a kernel pays
DTYPES = {np.dtype(t) for t in ("float32", "float64", "int64", "int32", "bool")}


class Open:
    """A number that is left open, as the 0-d array that a kernel takes."""

    def __init__(self, number: Any, dtype: Any) -> None:
        self.number, self.dtype = number, dtype

    def value(self, numbers: Sequence[float]) -> Any:
        return np.asarray(self.number.value(numbers), self.dtype)


class _Group:
    """Equations that are to become one kernel."""

    def __init__(self, shape: tuple[int, ...] | None) -> None:
        self.shape = shape  # None: never joined
        self.equations: list[Equation] = []
        self.before = 0  # the groups that must have run, as bits


def units(graph: Graph, live: Sequence[Equation], results: Sequence[Any]) -> list[Unit]:
    """The equations as units, in an order in which they can run. `results`: what is wanted afterwards."""
    groups = _grouped(live)
    wanted = {v.index for v in results if isinstance(v, Var)}
    found: list[Unit] = []
    for k, group in enumerate(groups):
        later = {a.index for other in [*groups[:k], *groups[k + 1 :]] for e in other.equations for a in _vars(e)}
        found += _units_of(group, wanted | later)
    return found


def _grouped(live: Sequence[Equation]) -> list[_Group]:
    """Groups in topological order: an equation joins the group of the last of its operands that it may join."""
    groups: list[_Group] = []
    home: dict[int, int] = {}  # the group that makes a Var
    for e in live:
        makers = {home[a.index] for a in _vars(e) if a.index in home}
        chosen = _joinable(e, makers, groups)
        if chosen is None:
            chosen = len(groups)
            groups.append(_Group(e.outs[0].shape if _pointwise(e) else None))
        group = groups[chosen]
        group.equations.append(e)
        for m in makers - {chosen}:
            group.before |= groups[m].before | 1 << m
        home.update((v.index, chosen) for v in e.outs)
    return groups


def _joinable(e: Equation, makers: set[int], groups: list[_Group]) -> int | None:
    """The newest of the makers' groups of e's shape, if all other operands are made before it."""
    if not _pointwise(e) or not makers:
        return None
    newest = max(makers)
    return newest if groups[newest].shape == e.outs[0].shape else None


def _pointwise(e: Equation) -> bool:
    out = e.outs[0]
    return (
        e.prim.name in EMITTERS
        and len(e.outs) == 1
        and all(v.dtype in DTYPES and v.device in (None, "cpu") for v in [out, *_vars(e)])
        and all(isinstance(a, Var | int | float) for a in e.args)
        and enabled()
        and int(np.prod(out.shape)) >= LEAST
    )


def _vars(e: Equation) -> list[Var]:
    return [a for a in e.args if isinstance(a, Var)]


def _units_of(group: _Group, wanted: set[int]) -> list[Unit]:
    if len(group.equations) > 1:
        fused = _fused(group, wanted)
        if fused is not None:
            return [fused]
    return [alone(e) for e in group.equations]


def _fused(group: _Group, wanted: set[int]) -> Unit | None:
    """One kernel for the group; None where there is none."""
    made = [v for e in group.equations for v in e.outs]
    inside = {v.index for v in made}
    args = list({a.index: a for e in group.equations for a in _vars(e) if a.index not in inside}.values())
    outs = [v for v in made if v.index in wanted]
    opened: list[tuple[Var, Open]] = []
    equations = [_with_numbers_as_inputs(e, opened) for e in group.equations]
    part = Graph([*args, *(v for v, _ in opened)], [], equations)
    part.outputs = outs
    kernel = kernel_of(part, sized=False)
    if kernel is None:
        return None
    return Unit(
        kernel, [*args, *(n for _, n in opened)], outs, "+".join(e.prim.name for e in group.equations), pure=True
    )


def _with_numbers_as_inputs(e: Equation, opened: list[tuple[Var, Open]]) -> Equation:
    """The equation with numbers that are left open as 0-d inputs of its kernel."""
    if not any(hasattr(a, "value") for a in e.args):
        return e
    args = []
    for a in e.args:
        if hasattr(a, "value"):
            dtype = next((v.dtype for v in _vars(e) if v.dtype != bool), e.outs[0].dtype)
            var = Var(e.outs[0].trace, Aval((), dtype), -1 - len(opened))
            opened.append((var, Open(a, dtype)))
            a = var
        args.append(a)
    return Equation(e.prim, tuple(args), e.kw, e.outs)
