"""From shapes and strides to a kernel and its table; and the call, which is one foreign call.

A Plan belongs to a program and the shapes and strides of its operands. What it holds is fixed but for the pointers:
the generated `call` copies its table to the stack, reads the pointers out of the array objects themselves (the data
pointer is the first field behind the object's header) and runs the tasks, in the pool where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from expkit.kernels.cpu.code.ir import SIZES
from expkit.kernels.cpu.loops.columns import Columns
from expkit.kernels.cpu.loops.rows import DENSE, HEAD, SCALAR, STRIDED, Layout, Rows
from expkit.kernels.cpu.machine.call import Bound, Kernel, compiled

TILE = 1 << 14  # elements of one task
SHORT = 128  # elements of a row below which four wide vectors are too many
LIMIT = 4096  # plans that a kernel keeps
PARALLEL = 1 << 15  # elements from which several threads are worth waking
Shape = tuple[int, ...]
Made = TypeVar("Made")
empty: Callable[..., Any] = np.empty  # makes all results; tests put one with guarded edges here


class Space(NamedTuple):
    """An iteration space: sizes and, for each operand, strides, of the outer, the reduced and the innermost axes."""

    outer: Shape
    reduced: Shape
    n: int
    strides: tuple[tuple[Shape, Shape, int], ...]


def collapse(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Neighbouring axes that every operand walks through in one stride become one; axes of size 1 go."""
    sizes: list[int] = []
    out: list[list[int]] = [[] for _ in strides]
    for axis in range(len(shape)):
        if shape[axis] == 1:
            continue
        steps = [s[axis] for s in strides]
        if sizes and all(o[-1] == s * shape[axis] for o, s in zip(out, steps, strict=True)):
            sizes[-1] *= shape[axis]
            for o, s in zip(out, steps, strict=True):
                o[-1] = s
        else:
            sizes.append(shape[axis])
            for o, s in zip(out, steps, strict=True):
                o.append(s)
    return sizes, out


def broadcast(shape: Shape, full: Shape, strides: Shape) -> Shape:
    """Strides for the whole space: 0 where the operand is repeated."""
    missing = len(full) - len(shape)
    return (0,) * missing + tuple(0 if n == 1 else s for n, s in zip(shape, strides, strict=True))


def movement(stride: int, kind: str) -> int:
    return SCALAR if stride == 0 else DENSE if stride == SIZES[kind] else STRIDED


@lru_cache(maxsize=4096)
def _kernel(write: Callable[..., str], program: Any, layout: Layout, moves: tuple[int, ...]) -> Kernel:
    return compiled(write(program, layout, moves), layout.operands, layout.words, layout.head("tasks"))


def write_rows(program: Any, layout: Layout, moves: tuple[int, ...]) -> str:
    return Rows(program, layout, moves).text()


def write_columns(program: Any, layout: Layout, moves: tuple[int, ...]) -> str:
    return Columns(program, layout, moves).text()


class Plan(Bound):
    """A kernel with its table: plan(*arrays) runs it, inputs first, then outputs."""

    __slots__ = ()

    def __init__(
        self, write: Callable[..., str], program: Any, kinds: Sequence[str], space: Space, head: dict[str, int],
        chunk: Sequence[int] | None = None, parallel: bool = False,
    ) -> None:  # fmt: skip
        layout = Layout(len(kinds), len(space.outer), len(space.reduced), program.reduces and space.n < SHORT)
        moves = tuple(movement(s[2], kind) for s, kind in zip(space.strides, kinds, strict=True))
        words = [0] * layout.operands
        full = {"middle": 1, "part": 1, "parts": 1, **head}
        words += [full[name] for name in HEAD]
        words += [*space.outer, *space.reduced]
        for k, (outer, reduced, inner) in enumerate(space.strides):
            step = inner * full["tile"] if chunk is None else chunk[k]
            words += [step, inner, *outer, *reduced]
        table = np.array(words, np.int64)
        make = partial(_kernel, write, program, layout, moves)
        super().__init__(make, table, parallel=parallel and full["tasks"] > 1)


def remembered(plans: dict[Any, Made], key: Any, made: Made) -> Made:
    """Adds a plan to those that a kernel keeps, which are forgotten all at once where there are too many."""
    if len(plans) >= LIMIT:
        plans.clear()
    plans[key] = made
    return made


def tiles(rows: int, n: int, *, whole: bool, tile: int = TILE, work: int = 1) -> dict[str, int]:
    """How rows of n elements are cut into tasks: whole rows, or chunks of long ones; by the extents alone.

    `work`: how often each element of a row is gone through (the places that are reduced).
    """
    tile = n if whole else min(n, tile)
    block = max(1, TILE // max(1, tile * work))
    chunks = max(1, -(-n // tile))
    return {
        "tasks": -(-rows // block) * chunks, "rows": rows, "block": block, "n": n, "tile": tile, "chunks": chunks,
    }  # fmt: skip
