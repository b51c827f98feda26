"""A program's units: generated kernels for what `groups.py` puts together, the other equations by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.equations import Equation, Graph, Var
from expkit.autograd.handle import Aval
from expkit.compiler.cores import CORES
from expkit.compiler.groups import Groups
from expkit.compiler.kinds import kind_of
from expkit.compiler.units import Unit, alone
from expkit.kernels.cpu.loops.fuse import kernel_of, program_of


class Open:
    """A number that is left open, as the 0-d array that a kernel takes."""

    def __init__(self, number: Any, dtype: Any) -> None:
        self.number, self.dtype = number, dtype

    def value(self, numbers: Sequence[float]) -> Any:
        return np.asarray(self.number.value(numbers), self.dtype)


def units(graph: Graph, live: Sequence[Equation], results: Sequence[Any]) -> list[Unit]:
    """The equations of `graph` that are live as units, in an order in which they can run.

    results: what is wanted afterwards (Vars among other things). A unit's arguments are Vars, and numbers: those with a
    method `value(numbers)` are left open until the program runs. Generated units are pure.
    """
    return _units_of(live, {v.index for v in results if isinstance(v, Var)}, rows=True)


def _units_of(equations: Sequence[Equation], wanted: set[int], *, rows: bool) -> list[Unit]:
    found: list[Unit] = []
    groups = Groups(equations, wanted, rows=rows)
    for group in groups.ordered():
        members, outs = group.equations[::-1], groups.results(group)
        if group.core is not None:
            found += _around(group.core, members, outs)
        elif group.kind is None:
            found += map(alone, members)
        else:
            found += _together(members, outs, group.space, rows=rows)
    return found


def _together(
    members: Sequence[Equation], outs: list[Var], space: tuple[int, ...], *, rows: bool = False
) -> list[Unit]:
    """Equations as one kernel, if that can be."""
    unit = _kernel_unit(members, outs, space)
    if unit is not None:
        return [unit]
    if len(members) > 1:
        return _apart(members, {v.index for v in outs}, rows=rows)
    return [alone(e) for e in members]


def _around(core: Equation, members: Sequence[Equation], outs: list[Var]) -> list[Unit]:
    """An equation with elementwise code inside of its kernels; without any by itself."""
    unit = _core_unit(core, members, outs) if members else alone(core)
    if unit is not None:
        return [unit]
    spec = CORES[core.prim.name]
    made = {v.index for e in members for v in e.outs}
    wanted = [v for v in outs if v.index in made]
    if spec.front and spec.inner(core) not in wanted:
        wanted.append(spec.inner(core))
    others = _together(members, wanted, spec.inner(core).shape)
    return [*others, alone(core)] if spec.front else [alone(core), *others]


def _core_unit(core: Equation, members: Sequence[Equation], outs: list[Var]) -> Unit | None:
    """The unit of a core; None where there is no code for what is inside."""
    spec = CORES[core.prim.name]
    inner, inside = spec.inner(core), {v.index for e in members for v in e.outs}
    reads = {a.index: a for e in members for a in e.args if isinstance(a, Var)}
    reads = {i: a for i, a in reads.items() if i not in inside and a is not inner}
    if spec.front:
        normalised = inner.trace.var(Aval(inner.shape, inner.dtype, inner.device))
        inputs, args = [*reads.values(), normalised], [*reads.values(), *core.args[1:]]
        made = [inner, *(v for v in outs if v.index in inside)]
        results = [*core.outs, *made[1:]]
    else:
        inputs, args = [inner, *reads.values()], [*core.args, *reads.values()]
        made = [v for v in outs if v.index in inside or v is inner]
        results = [*made, *core.outs[1:]]
    code = Graph(inputs, [], list(members))
    code.outputs = list(made)
    program = program_of(code)
    if program is None:
        return None
    equations = [*members, core] if spec.front else [core, *members]
    whole = Graph([a for a in args if isinstance(a, Var)], [], equations)
    whole.outputs = list(results)
    name = "+".join(e.prim.name for e in equations)
    return Unit(spec.run(core, program), args, results, name, pure=True, plain=lambda *raws: whole.run(raws))


def _apart(members: Sequence[Equation], wanted: set[int], *, rows: bool) -> list[Unit]:
    """The equations of a group that has no kernel: reductions apart from what goes on with them, or each by itself.

    What only they read gets new Vars: other groups may make the same values.
    """
    new: dict[int, Var] = {}
    equations = []
    for e in members:
        args = tuple(new.get(a.index, a) if isinstance(a, Var) else a for a in e.args)
        for v in e.outs:
            if v.index not in wanted:
                new[v.index] = v.trace.var(Aval(v.shape, v.dtype, v.device))
        equations.append(Equation(e.prim, args, e.kw, tuple(new.get(v.index, v) for v in e.outs)))
    if rows:
        return _units_of(equations, wanted, rows=False)
    return [_single(e) for e in equations]


def _single(e: Equation) -> Unit:
    """One equation: by a generated kernel if it has one."""
    kind = kind_of(e, {})
    unit = None if kind is None else _kernel_unit([e], list(e.outs), kind.space)
    return unit or alone(e)


def _kernel_unit(members: Sequence[Equation], outs: list[Var], space: tuple[int, ...]) -> Unit | None:
    """One kernel for some equations over `space`; None where there is none."""
    opened = _Opened()
    made = {v.index for e in members for v in e.outs}
    equations = [opened.closed(e) for e in members]
    args = [a for e in members for a in e.args if isinstance(a, Var) and a.index not in made]
    args = list({a.index: a for a in args}.values())
    args.sort(key=lambda a: a.shape != space)  # stable: loops and results follow the first operand's order
    part = Graph([*args, *opened.inputs], [], equations)
    part.outputs = list(outs)
    kernel = kernel_of(part, sized=False)
    if kernel is None:
        return None
    return Unit(kernel, [*args, *opened.numbers], outs, "+".join(e.prim.name for e in members), pure=True)


class _Opened:
    """Numbers that are left open, as 0-d inputs of a kernel; each once."""

    def __init__(self) -> None:
        self._found: dict[Any, tuple[Var, Open]] = {}

    inputs = property(lambda self: [var for var, _ in self._found.values()])
    numbers = property(lambda self: [number for _, number in self._found.values()])

    def closed(self, e: Equation) -> Equation:
        """The equation with Vars for such numbers."""
        if not any(hasattr(a, "value") for a in e.args):
            return e
        dtype = next((a.dtype for a in e.args if isinstance(a, Var) and a.dtype != bool), e.outs[0].dtype)
        args = tuple(self._input(e, a, dtype) if hasattr(a, "value") else a for a in e.args)
        return Equation(e.prim, args, e.kw, e.outs)

    def _input(self, e: Equation, number: Any, dtype: Any) -> Var:
        key = id(number), dtype
        if key not in self._found:
            var = Var(e.outs[0].trace, Aval((), dtype), -1 - len(self._found))
            self._found[key] = var, Open(number, dtype)
        return self._found[key][0]
