"""kernel_of(graph): one generated kernel for a graph of elementwise equations and reductions, on raw NumPy arrays.

A program with reductions reduces the same axes throughout (softmax, norms); they, or the kept ones, may be contiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from expkit.autograd.equations import live
from expkit.kernels.cpu.code.elementwise import Gap, kind_of
from expkit.kernels.cpu.loops.pointwise import Kernel
from expkit.kernels.cpu.loops.program import REDUCTIONS, Program, Ref, Step
from expkit.kernels.cpu.loops.reduce import Reduction, RowKernel
from expkit.kernels.cpu.loops.strips import StripKernel

REDUCED: dict[str, tuple[str, Step | None]] = {  # primitives: the reduction, and what it is of
    **{name: (name, None) for name in REDUCTIONS},
    "max": ("amax", None),
    "min": ("amin", None),
    "square_sum": ("sum", Step("square", ())),
    "total": ("sum", Step("cast", (), (("dtype", np.dtype(np.int64)),))),
}


def kernel_of(graph: Any, *, sized: bool = True) -> Callable[..., list[Any]] | None:
    """A kernel for a traced graph: raw arrays (its inputs) -> its outputs, raw, in new memory. None where it has a gap.

    Shapes may differ from the traced ones where the ranks, the axes of size one and the dtypes are the same.
    sized: whether constants may have axes; such a kernel is for shapes that fit these.
    """
    try:
        return _Reader(graph, sized=sized).kernel()
    except Gap:
        return None


def program_of(graph: Any) -> Program | None:
    """The elementwise program of a graph whose results all have the shape of its inputs together; None where it has a
    gap. Inputs may be among the results."""
    try:
        return _Reader(graph, sized=False).elementwise()
    except Gap:
        return None


_elementwise = lru_cache(maxsize=4096)(Kernel)  # equal programs share their kernel, and what it has planned
_reducing = lru_cache(maxsize=4096)(Reduction)
_along_rows = lru_cache(maxsize=4096)(RowKernel)


def _full(arrays: Sequence[Any]) -> tuple[int, ...]:
    return np.broadcast_shapes(*(a.shape for a in arrays))


def _number(raw: Any) -> Any:
    """A constant as a number: what has no axes, and floats of whatever shape that are all one. None for others."""
    if raw.__class__ is not np.ndarray or raw.dtype.kind not in "fiub":
        return None
    if not raw.ndim:
        return raw.item()
    if raw.dtype.kind != "f" or not raw.size:
        return None
    first = raw.flat[0]
    return first.item() if (raw == first).all() and (np.signbit(raw) == np.signbit(first)).all() else None


def axes_of(eq: Any) -> tuple[int, ...]:
    """The axes that an equation of a row of REDUCED goes over."""
    return eq.kw["axes"] if "axes" in eq.kw else (eq.kw["axis"],)


class _Reader:
    """Rewrites a graph as a Program; Gap for what no kernel has."""

    def __init__(self, graph: Any, *, sized: bool) -> None:
        if graph.state or not all(hasattr(v, "index") for v in graph.outputs):
            raise Gap("a graph that writes state or returns numbers")
        self.graph = graph
        numbers = {id(var): _number(raw) for var, raw in graph.consts if _number(raw) is not None}
        consts = [(var, raw) for var, raw in graph.consts if id(var) not in numbers]
        self.vars = [*graph.inputs, *(var for var, _ in consts)]
        self.consts = [raw for _, raw in consts]
        if self.consts and not sized:
            raise Gap("a constant of a size")
        try:
            self.full = _full(self.vars)
        except ValueError:
            raise Gap("operands that do not broadcast together") from None
        self.refs: dict[int, Ref | float] = numbers | {id(v): Ref(i) for i, v in enumerate(self.vars)}
        self.steps: list[Step] = []
        self.row: set[int] = set()  # ids of row variables
        self.axes: set[tuple[int, ...]] = set()
        for eq in live(graph.equations, graph.outputs):
            self._read(eq)

    def _read(self, eq: Any) -> None:
        args, (out,) = eq.args, eq.outs if len(eq.outs) == 1 else (None,)
        name = eq.prim.name
        if name in ("reshape", "expand"):
            self._spread(args[0], out)
            return
        if name in REDUCED:
            if id(args[0]) in self.row or args[0].shape != self.full:
                raise Gap("a reduction of a part")
            self.axes.add(axes_of(eq))
            self.row.add(id(out))
            self._reduce(name, self.refs[id(args[0])], out)
            return
        rows = [id(a) in self.row for a in args if isinstance(self.refs.get(id(a)), Ref)]
        if all(rows):
            self.row.add(id(out))
        elif any(a.shape not in (self._kept(), self.full) for a in args if id(a) in self.row):
            raise Gap("a reduced value beside a full one, not aligned with it")
        operands = tuple(self.refs[id(a)] if hasattr(a, "index") else a for a in args)
        if any(a.__class__ is float and str(a) == "-0.0" for a in operands):
            raise Gap("-0.0, which keys would take for 0.0")
        if not any(isinstance(a, Ref) for a in operands[name == "where" :]):
            raise Gap(f"{name} of numbers only")
        self.refs[id(out)] = self._append(Step(name, operands, tuple(sorted(eq.kw.items()))))

    def _append(self, step: Step) -> Ref:
        self.steps.append(step)
        return Ref(len(self.vars) + len(self.steps) - 1)

    def _reduce(self, name: str, operand: Ref | float, out: Any) -> None:
        if not isinstance(operand, Ref):
            raise Gap(f"{name} of a number")
        reduction, of = REDUCED[name]
        if of is not None:
            operand = self._append(of._replace(args=(operand,)))
        self.refs[id(out)] = self._append(Step(reduction, (operand,)))

    def _kept(self) -> tuple[int, ...]:
        axes = next(iter(self.axes), ())
        return tuple(1 if i in axes else n for i, n in enumerate(self.full))

    def _spread(self, x: Any, out: Any) -> None:
        """reshape and expand that only prepare for broadcasting: another name for the same value."""
        if id(x) in self.row:
            bare = tuple(n for i, n in enumerate(self.full) if i not in next(iter(self.axes)))
            if out.shape not in (self._kept(), bare, self.full):
                raise Gap("a reduced value in another shape")
            self.row.add(id(out))
        elif len(out.shape) < len(x.shape) or any(
            n not in (1, m) for n, m in zip(x.shape[::-1], out.shape[::-1], strict=False)
        ):
            raise Gap("a change of shape")
        self.refs[id(out)] = self.refs[id(x)]

    def elementwise(self) -> Program:
        refs = [self.refs.get(id(v)) for v in self.graph.outputs]
        indices = tuple(ref.number for ref in refs if isinstance(ref, Ref))
        if self.axes or len(indices) < len(refs) or any(v.shape != self.full for v in self.graph.outputs):
            raise Gap("not elementwise")
        return Program(tuple(kind_of(v.dtype) for v in self.vars), tuple(self.steps), indices)

    def kernel(self) -> Callable[..., list[Any]]:
        outputs = self.graph.outputs
        refs = [self.refs.get(id(v)) for v in outputs]
        indices = tuple(ref.number for ref in refs if isinstance(ref, Ref))
        if len(indices) < len(refs) or any(i < len(self.vars) for i in indices) or not indices:
            raise Gap("an output that is an input")
        program = Program(tuple(kind_of(v.dtype) for v in self.vars), tuple(self.steps), indices)
        if not self.axes:
            if any(v.shape != self.full for v in outputs):
                raise Gap("outputs of several shapes")
            return self._checked(_elementwise(program))
        axes = next(iter(self.axes))
        last = self.steps[-1].name in REDUCTIONS and indices == (len(self.vars) + len(self.steps) - 1,)
        if last and sum(s.name in REDUCTIONS for s in self.steps) == 1:
            return self._checked(self._reduction(_reducing(program), outputs[0].shape, axes))
        return self._row_kernel(program, axes)

    def _reduction(self, reduction: Reduction, shape: tuple[int, ...], axes: tuple[int, ...]) -> Callable[..., Any]:
        """The reduction, with the reduced axes as ones where the graph keeps them."""
        if shape == tuple(n for i, n in enumerate(self.full) if i not in axes):
            return lambda *arrays: reduction(arrays, axes)
        if shape != self._kept():
            raise Gap("a reduced value in another shape")

        def kept(*arrays: Any) -> Any:
            out = reduction(arrays, axes)
            return out.reshape([1 if i in axes else n for i, n in enumerate(_full(arrays))])

        return kept

    def _row_kernel(self, program: Program, axes: tuple[int, ...]) -> Callable[..., list[Any]]:
        if len(self.axes) != 1 or len(axes) != 1 or self.vars[0].shape != self.full:
            raise Gap("reductions of several axes")
        flat = [id(v) in self.row and len(v.shape) < len(self.full) for v in self.graph.outputs]
        if any(v.shape == self.full for v in self.graph.outputs if id(v) in self.row):
            raise Gap("a reduced value as a full output")
        (axis,) = axes
        kernel = _along_rows(program) if axis == len(self.full) - 1 else StripKernel(program, axis)

        def run(*arrays: Any) -> list[Any]:
            return [x.squeeze(axis) if f else x for x, f in zip(kernel(*arrays), flat, strict=True)]

        return self._checked(run)

    def _checked(self, run: Callable[..., Any]) -> Callable[..., list[Any]]:
        """Checks dtypes, ranks and ones, appends the constants and returns a list."""
        known = [(v.dtype, tuple(n == 1 for n in v.shape)) for v in self.graph.inputs]
        consts = self.consts

        def kernel(*arrays: Any) -> list[Any]:
            for a, (dtype, ones) in zip(arrays, known, strict=True):
                if a.__class__ is not np.ndarray or a.dtype != dtype or tuple(n == 1 for n in a.shape) != ones:
                    raise TypeError(f"this kernel takes {dtype} with ones at {ones}, not {a.dtype}{list(a.shape)}")
            out = run(*arrays, *consts)
            return out if isinstance(out, list) else [out]

        return kernel
