"""Products of arrays by generated kernels: which one, and its calls for given shapes and strides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.arrays import copy
from expkit.kernels.cpu.code.elementwise import DTYPES
from expkit.kernels.cpu.code.ir import SIZES
from expkit.kernels.cpu.gemm import packed, parts, skinny
from expkit.kernels.cpu.gemm.epilogue import SLOTS, Epilogue, address, kinds, table
from expkit.kernels.cpu.gemm.pack import way_of
from expkit.kernels.cpu.gemm.tiles import tiling
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.program import Program, Ref, Step

Shape = tuple[int, ...]
Layout = tuple[Shape, Shape]  # shape and strides
KINDS = {np.dtype(np.float32): "f4", np.dtype(np.float64): "f8"}
BIAS = {kind: Program((kind, kind), (Step("add", (Ref(0), Ref(1))),), (2,)) for kind in KINDS.values()}
DOT = 12  # k for each row from which dot products are faster than packing, for all that their last sums cost
SHORT = 64  # below this k, packing is faster where there are more than DOT rows
NOTHING = np.zeros(1, np.int64)
NOTHING.flags.writeable = False
UNUSED = (NOTHING,) * SLOTS  # what is in slots that nothing needs


def matmul(x: Any, y: Any, bias: Any = None) -> Any:
    """x @ y (+ bias) of arrays of two axes or more, the leading ones broadcast; all have one dtype of KINDS."""
    kind = KINDS[x.dtype]
    if bias is None:
        made, slots = _planned(kind, (x.shape, x.strides), (y.shape, y.strides)), UNUSED
    else:
        bias = _walked(bias, kind)
        made = _biased(kind, (x.shape, x.strides), (y.shape, y.strides), (bias.shape, bias.strides))
        slots = (bias, *UNUSED[1:])
    shape, run, swapped, *_ = made
    out = plan.empty(shape, x.dtype)
    run(y if swapped else x, x if swapped else y, slots, out)
    return out


def fused(x: Any, y: Any, program: Program | None = None, operands: Sequence[Any] = (), into: Any = None) -> list[Any]:
    """The results of an elementwise program whose first input is x @ y, and whose others are `operands`: arrays of the
    program's kinds that broadcast to the product's shape. No program: the product alone.

    into: an array of the product's shape and dtype, dense along its last axis, that the product is added to: the
    program's input is then the sum. The first result of that dtype lies there, and no operand may. ValueError for an
    `into` or operands that do not fit, and where there are more than SLOTS operands and further results; TypeError for
    other dtypes; Gap for a program without code.
    """
    if program is not None:
        operands = [_walked(each, kind) for each, kind in zip(operands, program.inputs[1:], strict=True)]
    if into is not None and into.dtype != x.dtype:
        raise TypeError(f"a product of {x.dtype} is not added to an array of {into.dtype}")
    layouts = tuple([(each.shape, each.strides) for each in operands])
    layout = None if into is None else (into.shape, into.strides)
    made = _planned(KINDS[x.dtype], (x.shape, x.strides), (y.shape, y.strides), program, layouts, layout)
    return made.run_on(x, y, operands, into)


def matmul_bfloat16(x: Any, y: Any, bias: Any = None) -> Any:
    """x @ y + bias in float32, of bfloat16's x and y (and float32's bias), by instructions that multiply pairs of them
    (`has_pairs`); None where k is odd."""
    if x.shape[-1] % 2:
        return None
    x, y = (_paired(x), _paired(y.swapaxes(-1, -2)).swapaxes(-1, -2))
    program, operands = (None, ()) if bias is None else (BIAS["f4"], (_walked(bias, "f4"),))
    layouts = tuple([(each.shape, each.strides) for each in operands])
    made = _planned("f4", (x.shape, x.strides), (y.shape, y.strides), program, layouts, pairs=True)
    return made.run_on(x, y, operands, None)[0]


def _paired(x: Any) -> Any:
    """The pairs along the last axis, as the bits of float32's."""
    if x.strides[-1] != 2:
        x = copy.contiguous(x)
    return x.view(np.float32)


def _walked(x: Any, kind: str) -> Any:
    """An operand of an epilogue: repeated or dense along its last axis."""
    if x.dtype != DTYPES[kind]:
        raise TypeError(f"the program takes an operand of {DTYPES[kind]}, not of {x.dtype}")
    if not x.ndim or x.shape[-1] == 1 or x.strides[-1] in (0, x.itemsize):
        return x
    return copy.contiguous(x)


class Made(NamedTuple):
    """What is known of products of given shapes and strides."""

    shape: Shape
    run: Callable[..., None]
    swapped: bool  # it takes y before x
    dtypes: tuple[Any, ...]  # of the results
    home: int | None  # the result that takes the product's place

    def run_on(self, x: Any, y: Any, operands: Sequence[Any], into: Any) -> list[Any]:
        shape, run, swapped, dtypes, home = self
        outs = [plan.empty(shape, dtype) if n != home or into is None else into for n, dtype in enumerate(dtypes)]
        if home is not None:
            c = outs[home]
        else:
            c = plan.empty(shape, x.dtype) if into is None else into
        slots = [*operands, *(out for n, out in enumerate(outs) if n != home)]
        run(y if swapped else x, x if swapped else y, (*slots, *UNUSED[len(slots) :]), c)
        return outs


class Problem(NamedTuple):
    """A batch of products of the same strides: extents, steps in bytes of rows and columns, and of the batch's axes."""

    m: int
    n: int
    k: int
    a: tuple[int, int]
    b: tuple[int, int]
    c: tuple[int, int]
    slots: tuple[tuple[int, int], ...]
    batch: Sequence[int]
    steps: Sequence[Sequence[int]]  # of A, B, C and the slots for each axis of the batch

    def turned(self) -> Problem:
        """The same as C^T = B^T A^T."""
        m, n, k, a, b, c, slots, batch, steps = self
        steps = (steps[1], steps[0], *steps[2:])
        return Problem(n, m, k, b[::-1], a[::-1], c[::-1], tuple([s[::-1] for s in slots]), batch, steps)


class Follow(NamedTuple):
    """What follows a product: an elementwise program, and whether C is added to."""

    program: Program | None
    home: int | None
    adds: bool

    def words(self, problem: Problem) -> dict[str, int] | None:
        """The words of FOLLOW (packed.py), None where the slots do not lie along the rows of C."""
        words = {"axes": len(problem.batch), "adds": int(self.adds), "finish": 0}
        if self.program is None:
            return words
        count = len(self.program.inputs) - 1
        sizes = [SIZES[kind] for kind in (*self.program.inputs[1:], *_others(kinds(self.program), self.home))]
        moves = [step for _, step in problem.slots]
        repeated = tuple(not step for step in moves[:count])
        lies = [step == size or problem.n == 1 for step, size in zip(moves, sizes, strict=True)]
        if not all(a or b for a, b in zip(lies, (*repeated, *lies[count:]), strict=True)):
            return None
        return words | {"finish": address(Epilogue(self.program, repeated, self.home))}


def _others(items: Sequence[Any], home: int | None) -> list[Any]:
    """What does not take the product's place."""
    return [item for n, item in enumerate(items) if n != home]


@lru_cache(maxsize=4096)
def _planned(
    kind: str, x: Layout, y: Layout, program: Program | None = None, operands: tuple[Layout, ...] = (),
    into: Layout | None = None, *, pairs: bool = False,
) -> Made:  # fmt: skip
    """How a product is made."""
    shape = (*np.broadcast_shapes(x[0][:-2], y[0][:-2]), x[0][-2], y[0][-1])
    made = [kind] if program is None else kinds(program)
    if program is not None and program.inputs[0] != kind:
        raise TypeError(f"the program takes a product of {DTYPES[program.inputs[0]]}, not of {DTYPES[kind]}")
    if any(np.broadcast_shapes(shape, each) != shape for each, _ in operands):
        raise ValueError(f"operands of shapes {[each for each, _ in operands]} do not fit a product of shape {shape}")
    home = made.index(kind) if kind in made else None
    if len(operands) + len(_others(made, home)) > SLOTS:
        raise ValueError(f"a product takes {SLOTS} operands and further results at most, not {len(operands)} operands "
                         f"and {len(made)} results")  # fmt: skip
    follow = Follow(program, home, adds=into is not None)
    c = (shape, _dense(shape, SIZES[kind])) if into is None else _addable(into, shape, SIZES[kind])
    others = [(shape, _dense(shape, SIZES[each])) for each in _others(made, home)]
    dtypes = tuple([DTYPES[each] for each in made])
    if 0 in shape:
        return Made(shape, _nothing, False, dtypes, home)
    problem = _folded(shape, x, y, [c, *operands, *others])
    for swapped in (False, True) if not pairs else ():
        run = _skinny(problem.turned() if swapped else problem, kind, follow, swapped=swapped)
        if run is not None:
            return Made(shape, run, swapped, dtypes, home)
    return Made(shape, _packed(problem, kind, follow, pairs=pairs), False, dtypes, home)


@lru_cache(maxsize=4096)
def _biased(kind: str, x: Layout, y: Layout, bias: Layout) -> Made:
    """The same with a bias; a key without the program is found sooner."""
    return _planned(kind, x, y, BIAS[kind], (bias,))


def _nothing(*_arrays: Any) -> None:
    """What there is to do for no elements."""


def _dense(shape: Shape, size: int) -> Shape:
    return tuple([size * math.prod(shape[axis + 1 :]) for axis in range(len(shape))])


def _addable(into: Layout, shape: Shape, size: int) -> Layout:
    """The layout of what a product is added to, checked."""
    if into[0] != shape or (shape[-1] > 1 and into[1][-1] != size):
        raise ValueError(f"a product of shape {shape}, dense along its last axis, is not added to an array of shape "
                         f"{into[0]} and strides {into[1]}")  # fmt: skip
    return into


def _folded(shape: Shape, x: Layout, y: Layout, others: Sequence[Layout]) -> Problem:
    """The problem with as few axes in its batch as may be: where there is one y for all, they are rows."""
    *lead, m, n = shape
    full = [plan.broadcast(s, shape, strides) for s, strides in others]
    steps = [plan.broadcast(s[:-2], tuple(lead), strides[:-2]) for s, strides in (x, y)] + [s[:-2] for s in full]
    batch, (a, b, *rest) = plan.collapse(lead, steps)
    moving, rows = (a, *rest), [x[1][-2], *(s[-2] for s in full)]
    while batch and b[-1] == 0 and (m == 1 or all(s[-1] == m * row for s, row in zip(moving, rows, strict=True))):
        rows = [s[-1] for s in moving] if m == 1 else rows
        m *= batch.pop()
        for some in (b, *moving):
            some.pop()
    c, *slots = [(row, s[-1]) for row, s in zip(rows[1:], full, strict=True)]
    return Problem(m, n, x[0][-1], (rows[0], x[1][-1]), (y[1][-2], y[1][-1]), c, tuple(slots), batch, (a, b, *rest))


def _steps(problem: Problem, c_frame: Problem) -> Any:
    """The table of steps; c_frame: the problem as its epilogue sees it."""
    inner = [(0, 0, *(step[axis] for step in (c_frame.c, *c_frame.slots))) for axis in (0, 1)]
    batch = [tuple([steps[axis] for steps in problem.steps]) for axis in reversed(range(len(problem.batch)))]
    return table((c_frame.m, c_frame.n, *problem.batch[::-1]), inner + batch)


def _packed(problem: Problem, kind: str, follow: Follow, *, pairs: bool) -> Callable[..., None]:
    m, n, k, a, b, c, _, batch, _ = problem
    size = SIZES[kind]
    words = {"m": m, "n": n, "k": k, "a_row": a[0], "a_k": a[1], "b_k": b[0], "b_column": b[1], "c_row": c[0]}
    words |= {"a_way": way_of((m, k), a, size), "b_way": way_of((k, n), b, size)}
    words |= tiling(m, n, max(k, 1), math.prod(batch), kind)
    after, steps = follow.words(problem) or {}, _steps(problem, problem)
    count = words.pop("parts")
    if count == 1:
        return packed.Product(kind, words | after, steps, pairs=pairs)
    words |= {"c_row": n * size, "axes": 1, "adds": 0, "finish": 0}
    apart = table((m, n, count), [(), (), (0, 0, m * n * size)])
    last = {"m": m, "n": n, "parts": count, "c_row": c[0], "adds": after["adds"], "finish": after["finish"]}
    return parts.Split(packed.Product(kind, words, apart, pairs=pairs), kind, last, steps)


def _skinny(problem: Problem, kind: str, follow: Follow, *, swapped: bool) -> Callable[..., None] | None:
    """A kernel for few rows of A, where the steps suit one. `swapped`: this is the problem turned."""
    m, n, k, a, b, c, _, batch, _ = problem
    size, frame = SIZES[kind], problem.turned() if swapped else problem
    if m > skinny.FEW:
        return None
    words = {"few": m, "many": n, "k": k, "a_row": a[0]}
    if a[1] == size and b[0] == size and k >= m * DOT:
        words |= skinny.chunking(n, m * k, math.prod(batch), 16, n)
        words |= {"b_row": b[1], "c_few": c[0], "c_many": c[1], "turned": int(swapped), **(follow.words(frame) or {})}
        return skinny.Product(skinny.dots(kind).bind(parallel=True, **words), _steps(problem, frame))
    after = follow.words(problem)
    if b[1] == size and c[1] == size and after is not None and (k >= SHORT or m <= DOT):
        words |= skinny.chunking(n, m * k, math.prod(batch), 512, skinny.LONG)
        words |= {"a_k": a[1], "b_k": b[0], "c_row": c[0], **after}
        return skinny.Product(skinny.streams(kind).bind(parallel=True, **words), _steps(problem, problem))
    return None
