"""Reductions: which axes the loops run along, and in which parts, for a program and the axes that it reduces.

Two shapes of kernel: along the innermost axis (rows), where a reduced axis has the smallest stride; over the other ones
(columns), where a kept axis has. What is long is cut into parts of fixed length, whose results a second kernel of the
same kind adds up: so sums are accurate, many threads have work, and the result does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.code.elementwise import DTYPES
from expkit.kernels.cpu.code.ir import SIZES
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, Plan, Space, broadcast, collapse, tiles, write_columns, write_rows
from expkit.kernels.cpu.loops.program import Program, Ref, Step, facts
from expkit.kernels.cpu.loops.rows import Layout, Rows

PART = 256  # places of the reduced axes that one accumulator takes in, where columns are reduced
CHUNK = 1 << 15  # elements of a long row that one task adds up
COLUMNS = 2048  # columns of one task
FEW = 8  # rows that are not enough to share out
Shape = tuple[int, ...]


class Reduction:
    """A program whose one output is a reduction of an elementwise expression: kernel(arrays, axes) -> array."""

    def __init__(self, program: Program) -> None:
        self.program = program
        layout = Layout(len(program.inputs) + 1, 0, 0)
        self.kind = Rows(program, layout, ())._kind(program.outputs[0])
        self.dtype = DTYPES[self.kind]
        self.name = program.steps[-1].name
        self._plans: dict[Any, list[tuple[Plan, Shape]]] = {}

    def __call__(self, arrays: Sequence[Any], axes: tuple[int, ...]) -> Any:
        """The reduction of a non-empty space over `axes` (sorted), which are dropped."""
        first = arrays[0]
        key: Any = (axes, first.shape, first.strides)
        if len(arrays) > 1:
            key += tuple([part for a in arrays[1:] for part in (a.shape, a.strides)])
        plans = self._plans.get(key)
        if plans is None:
            plans = plan.remembered(self._plans, key, self._plan(arrays, axes))
        for run, shape in plans:
            out = plan.empty(shape, self.dtype)
            run(*arrays, out)
            arrays = (out,)
        return out

    def _plan(self, arrays: Sequence[Any], axes: tuple[int, ...]) -> list[tuple[Plan, Shape]]:
        full = np.broadcast_shapes(*(a.shape for a in arrays))
        kept = tuple(i for i in range(len(full)) if i not in axes)
        shape = tuple(full[i] for i in kept)
        strides = [broadcast(a.shape, full, a.strides) for a in arrays]
        out = _contiguous(shape, SIZES[self.kind])
        outer, outer_steps = _axes(full, strides, kept, out)
        inner, inner_steps = _axes(full, strides, axes, (0,) * len(axes))
        along = _along_rows(outer, outer_steps, inner, inner_steps)
        parallel = prod(full) >= PARALLEL
        if along and len(inner) > 1 and prod(outer) < FEW and parallel:
            return self._in_turn(arrays, full, axes, max(axes, key=lambda i: abs(strides[0][i]) * (full[i] > 1)))
        if along:
            space, head, chunk, partial = self._rows(outer, outer_steps, inner, inner_steps)
            write = write_rows
        else:
            space, head, chunk, partial = self._columns(outer, outer_steps, inner, inner_steps)
            write = write_columns
        kinds = [*self.program.inputs, self.kind]
        first = Plan(write, self.program, kinds, space, head, chunk, parallel)
        if not partial:
            return [(first, shape)]
        rows = prod(shape)
        parts = (rows, partial) if along else (partial, rows)
        later = _again(self.name, self.kind)._plan((np.empty(parts, self.dtype),), (1,) if along else (0,))
        return [(first, parts), *later[:-1], (later[-1][0], shape)]

    def _in_turn(
        self, arrays: Sequence[Any], full: Shape, axes: tuple[int, ...], last: int
    ) -> list[tuple[Plan, Shape]]:
        """The slowest axis after the others: it is shared out over the threads, where hardly any axis is kept."""
        first = self._plan(arrays, tuple(i for i in axes if i != last))
        left = [i for i in range(len(full)) if i == last or i not in axes]
        between = np.empty(first[-1][1], self.dtype)
        return [*first, *_again(self.name, self.kind)._plan((between,), (left.index(last),))]

    def _rows(self, outer: list[int], outer_steps: Any, inner: list[int], inner_steps: Any) -> Any:
        n, reduced, size = (inner or [1])[-1], tuple(inner[:-1]), SIZES[self.kind]
        rows, cut = prod(outer), n > CHUNK and not inner[:-1]
        head = tiles(rows, n, whole=not cut, tile=CHUNK, work=prod(reduced))
        head["middle"] = head["part"] = prod(reduced)
        strides = [(tuple(o), tuple(i[:-1]), i[-1] if i else 0) for o, i in zip(outer_steps, inner_steps, strict=True)]
        chunk = [s[2] * head["tile"] for s in strides[:-1]] + [0]
        if cut:  # the partial results lie one after another, a row's together
            chunk[-1] = size
            strides[-1] = (tuple(s * head["chunks"] for s in outer_steps[-1]), (), 0)
        return Space(tuple(outer), reduced, n, tuple(strides)), head, chunk, head["chunks"] if cut else 0

    def _columns(self, outer: list[int], outer_steps: Any, inner: list[int], inner_steps: Any) -> Any:
        n, middle, size = outer[-1], prod(inner), SIZES[self.kind]
        parts = -(-middle // PART) if len(inner) == 1 and middle >= 2 * PART else 0
        sizes = [*outer[:-1], parts] if parts else outer[:-1]
        rows = prod(sizes)
        head = tiles(rows, n, whole=False, tile=COLUMNS, work=PART if parts else middle)
        head |= {"middle": middle, "part": PART if parts else middle, "parts": parts or 1}
        strides = []
        for o, i in zip(outer_steps, inner_steps, strict=True):
            steps = (*o[:-1], i[0] * PART) if parts else tuple(o[:-1])
            strides.append((steps, tuple(i), o[-1]))
        if parts:  # (parts, ...): the results of the second part follow on all of the first
            steps = outer_steps[-1]
            strides[-1] = ((*steps[:-1], size * prod(outer)), (0,), steps[-1])
        chunk = [s[2] * head["tile"] for s in strides]
        return Space(tuple(sizes), tuple(inner), n, tuple(strides)), head, chunk, parts


_AGAIN: dict[tuple[str, str], Reduction] = {}


def _again(name: str, kind: str) -> Reduction:
    """The kernel that reduces partial results."""
    if (name, kind) not in _AGAIN:
        _AGAIN[name, kind] = Reduction(Program((kind,), (Step(name, (Ref(0),)),), (1,)))
    return _AGAIN[name, kind]


def _contiguous(shape: Shape, size: int) -> Shape:
    out = []
    for n in reversed(shape):
        out.append(size)
        size *= n
    return tuple(reversed(out))


def _axes(full: Shape, strides: Sequence[Shape], axes: Sequence[int], out: Shape) -> tuple[list[int], list[list[int]]]:
    """The axes from slow to fast, collapsed: sizes, and each operand's strides, the output's last."""
    order = sorted(range(len(axes)), key=lambda k: -abs(strides[0][axes[k]]))
    shape = [full[axes[k]] for k in order]
    return collapse(shape, [*([s[axes[k]] for k in order] for s in strides), [out[k] for k in order]])


def _along_rows(outer: list[int], outer_steps: Any, inner: list[int], inner_steps: Any) -> bool:
    if not outer or not inner:
        return True
    return abs(inner_steps[0][-1]) <= abs(outer_steps[0][-1])


class RowKernel:
    """A program that reduces along the last axis and goes on with the result: softmax and its like.

    kernel(*arrays) -> its outputs, each of the first array's shape, or with 1 in the last axis where it is a value of
    the row. Operands are broadcast against the first.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        layout = Layout(len(program.inputs) + len(program.outputs), 0, 0)
        writer = Rows(program, layout, ())
        self.kinds = [writer._kind(v) for v in program.outputs]
        self.row = [facts(program).row[v] for v in program.outputs]
        self._plans: dict[Any, tuple[Plan, list[tuple[Shape, Any]]]] = {}

    def __call__(self, *arrays: Any) -> list[Any]:
        key = tuple([(a.shape, a.strides) for a in arrays])
        found = self._plans.get(key)
        if found is None:
            found = plan.remembered(self._plans, key, self._plan(arrays))
        run, makes = found
        outs = [plan.empty(shape, dtype) for shape, dtype in makes]
        run(*arrays, *outs)
        return outs

    def _plan(self, arrays: Sequence[Any]) -> Any:
        full = arrays[0].shape
        makes = [(full[:-1] + (1,) if row else full, DTYPES[k]) for k, row in zip(self.kinds, self.row, strict=True)]
        strides = [broadcast(a.shape, full, a.strides) for a in arrays]
        strides += [broadcast(s, full, _contiguous(s, d.itemsize)) for s, d in makes]
        sizes, steps = collapse(full[:-1], [s[:-1] for s in strides])
        n, rows = full[-1], prod(full[:-1])
        space = Space(tuple(sizes), (), n, tuple((tuple(o), (), s[-1]) for o, s in zip(steps, strides, strict=True)))
        head = tiles(rows, n, whole=True)
        kinds = [*self.program.inputs, *self.kinds]
        return Plan(write_rows, self.program, kinds, space, head, parallel=rows * n >= PARALLEL), makes
