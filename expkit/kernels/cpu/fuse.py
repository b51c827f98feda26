"""kernel_of(graph): one generated kernel for a graph of elementwise equations and reductions, on raw NumPy arrays.

`Kernel` holds a program; it makes a plan for each combination of shapes and strides that it meets and keeps it. A
program with reductions reduces the same axes throughout (softmax, norms); they, or the kept ones, may be contiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.elementwise import DTYPES, Gap, kind_of
from expkit.kernels.cpu.plan import PARALLEL, Plan, Space, broadcast, collapse, tiles, write_rows
from expkit.kernels.cpu.program import Program, facts
from expkit.kernels.cpu.rows import Layout, Rows

LIMIT = 4096  # plans that a kernel keeps
LIGHT = 1 << 17  # elements from which several threads help where reading costs more than computing


class Kernel:
    """An elementwise program: full operands, broadcast, in any strides."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.inputs = [DTYPES[k] for k in program.inputs]
        writer = Rows(program, Layout(len(program.inputs) + len(program.outputs), 0, 0), ())
        self.kinds = [writer._kind(v) for v in program.outputs]  # Gap where there is no code
        self.outputs = [DTYPES[k] for k in self.kinds]
        self.rows = facts(program).row
        self.threshold = PARALLEL if program.heavy else LIGHT
        self._plans: dict[Any, tuple[Plan, Any]] = {}

    def __call__(self, *arrays: Any) -> Any:
        """The result, or a list where there are several. TypeError for arrays of other dtypes than the program's."""
        key = [(a.shape, a.strides) for a in arrays]
        found = self._plans.get(tuple(key))
        if found is None:
            found = self._plan(arrays)
        for a, dtype in zip(arrays, self.inputs, strict=True):
            if a.dtype is not dtype and a.dtype != dtype:
                raise TypeError(f"this kernel takes {dtype}, not {a.dtype}")
        plan, make = found
        outs = make()
        if plan is not None:
            plan(*arrays, *outs)
        return outs[0] if len(outs) == 1 else outs

    def _plan(self, arrays: Sequence[Any]) -> tuple[Plan, Any]:
        full = np.broadcast_shapes(*(a.shape for a in arrays))
        order = _order(full, arrays)
        shape = tuple(full[i] for i in order)
        make = _maker(shape, order, self.outputs)
        if not prod(shape):
            return None, make
        strides = [[broadcast(a.shape, full, a.strides)[i] for i in order] for a in arrays]
        strides += [[o.strides[i] for i in order] for o in make()]
        sizes, steps = collapse(shape, strides)
        kinds = [*self.program.inputs, *self.kinds]
        n, outer = (sizes[-1], tuple(sizes[:-1])) if sizes else (1, ())
        space = Space(outer, (), n, tuple((tuple(s[:-1]), (), s[-1] if s else 0) for s in steps))
        head = tiles(prod(outer), n, whole=False)
        plan = Plan(write_rows, self.program, kinds, space, head, parallel=prod(shape) >= self.threshold)
        if len(self._plans) >= LIMIT:
            self._plans.clear()
        found = self._plans[tuple((a.shape, a.strides) for a in arrays)] = (plan, make)
        return found


def _order(full: tuple[int, ...], arrays: Sequence[Any]) -> list[int]:
    """The axes from the slowest to the fastest, as the first operand of full shape has them (as NumPy's order K)."""
    lead = next((a for a in arrays if a.shape == full), None)
    if lead is None:
        return list(range(len(full)))
    return sorted(range(len(full)), key=lambda i: -abs(lead.strides[i]) if full[i] > 1 else 0)


def _maker(shape: tuple[int, ...], order: list[int], dtypes: Sequence[Any]) -> Callable[[], list[Any]]:
    """Makes the outputs: contiguous in that order of the axes."""
    empty = np.empty
    if order == sorted(order):
        if len(dtypes) == 1:
            dtype = dtypes[0]
            return lambda: [empty(shape, dtype)]
        return lambda: [empty(shape, d) for d in dtypes]
    back = tuple(int(i) for i in np.argsort(order))
    return lambda: [empty(shape, d).transpose(back) for d in dtypes]


def program_kernel(program: Program) -> Kernel | None:
    """The program's kernel; None where there is no code for a step."""
    try:
        return Kernel(program)
    except Gap:
        return None


def kernel_of(graph: Any) -> Kernel | None:
    """A kernel for a traced graph: raw arrays (inputs, then constants' arrays) -> raw results. None where it has a gap."""
    return None


def kinds_of(arrays: Sequence[Any]) -> tuple[str, ...]:
    return tuple(kind_of(a.dtype) for a in arrays)
