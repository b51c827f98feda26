"""Elementwise programs on arrays: the plans of one program for all shapes and strides that it meets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.code.elementwise import DTYPES
from expkit.kernels.cpu.code.ir import SIZES
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.plan import PARALLEL, Plan, Space, broadcast, collapse, movement, tiles, write_rows
from expkit.kernels.cpu.loops.program import Program
from expkit.kernels.cpu.loops.rows import DENSE, STRIDED, Layout, Rows
from expkit.kernels.cpu.loops.streams import Streams

LIGHT = 1 << 16  # elements from which several threads help where reading costs more than computing
STREAM = 1 << 25  # bytes of a result that no cache is going to hold


class Kernel:
    """An elementwise program: full operands, broadcast, in any strides. Results are new, or lie in an operand's memory.

    With `program.into` that operand has the full shape, and the others share no memory with it, or all of it.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.inputs = [DTYPES[k] for k in program.inputs]
        writer = Rows(program, Layout(len(program.inputs) + len(program.outputs), 0, 0), ())
        self.kinds = [writer._kind(v) for v in program.outputs]  # Gap where there is no code
        self.outputs = [DTYPES[k] for k in self.kinds]
        self._several, self._into = len(self.kinds) > 1, program.into
        self.threshold = PARALLEL if program.heavy else LIGHT
        self._plans: dict[Any, tuple[Callable[..., None], Callable[[], Any]]] = {}

    def __call__(self, *arrays: Any) -> Any:
        """The result, or a list where there are several. TypeError for arrays of other dtypes than the program's."""
        for a, dtype in zip(arrays, self.inputs, strict=True):
            if a.__class__ is not np.ndarray or (a.dtype is not dtype and a.dtype != dtype):
                raise TypeError(f"this kernel takes {dtype}, not {type(a).__name__} of {a.dtype}")
        return self.run(*arrays)

    def run(self, *arrays: Any) -> Any:
        """The same for arrays whose dtypes are known to be right."""
        x = arrays[0]
        if len(arrays) == 1:
            key: Any = (x.shape, x.strides)
        elif len(arrays) == 2:
            y = arrays[1]
            key = (x.shape, x.strides, y.shape, y.strides)
        else:
            key = tuple([part for a in arrays for part in (a.shape, a.strides)])
        found = self._plans.get(key)
        if found is None:
            found = plan.remembered(self._plans, key, self._plan(arrays))
        run, make = found
        if self._several:
            outs = make()
            run(*arrays, *outs)
            return outs
        out = make() if self._into is None else arrays[self._into]
        run(*arrays, out)
        return out

    def _plan(self, arrays: Sequence[Any]) -> tuple[Callable[..., None], Callable[[], Any]]:
        into = self.program.into
        full = np.broadcast_shapes(*(a.shape for a in arrays))
        if into is not None and arrays[into].shape != full:
            raise ValueError(f"a result of shape {full} does not fit into {arrays[into].shape}")
        order = _order(full, arrays)
        shape = tuple(full[i] for i in order)
        make = _maker(shape, order, self.outputs)
        if not prod(shape):
            return _nothing, make
        strides = [[broadcast(a.shape, full, a.strides)[i] for i in order] for a in arrays]
        if into is None:
            strides += [_dense(shape, dtype.itemsize) for dtype in self.outputs]
        else:
            strides.append([arrays[into].strides[i] for i in order])
        sizes, steps = collapse(shape, strides)
        kinds = [*self.program.inputs, *self.kinds]
        n, outer = (sizes[-1], tuple(sizes[:-1])) if sizes else (1, ())
        space = Space(outer, (), n, tuple((tuple(s[:-1]), (), s[-1] if s else 0) for s in steps))
        head = tiles(prod(outer), n, whole=False)
        write = write_streams if self._streams(prod(shape), space) else write_rows
        return Plan(write, self.program, kinds, space, head, parallel=prod(shape) >= self.threshold), make

    def _streams(self, count: int, space: Space) -> bool:
        if self.program.into is not None or len(self.kinds) != 1 or SIZES[self.kinds[0]] < 4:
            return False
        kinds = [*self.program.inputs, *self.kinds]
        moves = [movement(s[2], kind) for s, kind in zip(space.strides, kinds, strict=True)]
        return count * SIZES[self.kinds[0]] >= STREAM and STRIDED not in moves and moves[-1] == DENSE


def write_streams(program: Any, layout: Layout, moves: tuple[int, ...]) -> str:
    return Streams(program, layout, moves).text()


def _nothing(*_arrays: Any) -> None:
    """What there is to do for no elements."""


def _order(full: tuple[int, ...], arrays: Sequence[Any]) -> list[int]:
    """The axes from the slowest to the fastest, as the first operand of full shape has them (as NumPy's order K).

    One that is repeated along an axis leads only where there is no other.
    """
    whole = [a for a in arrays if a.shape == full]
    lead = next((a for a in whole if not _repeats(a)), whole[0] if whole else None)
    if lead is None:
        return list(range(len(full)))
    return sorted(range(len(full)), key=lambda i: -abs(lead.strides[i]) if full[i] > 1 else 0)


def _repeats(x: Any) -> bool:
    return any(step == 0 and n > 1 for step, n in zip(x.strides, x.shape, strict=True))


def _dense(shape: tuple[int, ...], itemsize: int) -> list[int]:
    """The strides of an array without gaps."""
    return [itemsize * prod(shape[i + 1 :]) for i in range(len(shape))]


def _maker(shape: tuple[int, ...], order: list[int], dtypes: Sequence[Any]) -> Callable[[], Any]:
    """Makes the output, or a list of them: contiguous in that order of the axes."""
    if len(dtypes) > 1:
        each = [_maker(shape, order, [dtype]) for dtype in dtypes]
        return lambda: [make() for make in each]
    dtype = dtypes[0]
    if order == sorted(order):
        return lambda: plan.empty(shape, dtype)
    back = tuple(int(i) for i in np.argsort(order))
    return lambda: plan.empty(shape, dtype).transpose(back)
