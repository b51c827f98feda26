"""Products of arrays by generated kernels: which one, and its calls for given shapes and strides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from expkit.kernels.cpu.arrays import copy
from expkit.kernels.cpu.code.ir import SIZES
from expkit.kernels.cpu.gemm import packed, skinny
from expkit.kernels.cpu.gemm.pack import way_of
from expkit.kernels.cpu.gemm.tiles import tiling
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine.call import Bound

Shape = tuple[int, ...]
KINDS = {np.dtype(np.float32): "f4", np.dtype(np.float64): "f8"}
DOT = 12  # k for each row from which dot products are faster than packing, for all that their last sums cost
SHORT = 64  # below this k, packing is faster where there are more than DOT rows


def matmul(x: Any, y: Any, bias: Any = None, activation: str = "") -> Any:
    """activation(x @ y + bias) of arrays of two axes or more, the leading ones broadcast; None where there is no kernel
    for their strides, and for empty ones. x, y and bias (a contiguous vector) have one dtype of KINDS."""
    made = _planned(KINDS[x.dtype], x.shape, x.strides, y.shape, y.strides, bias is not None, activation)
    if made is None:
        return None
    shape, run, swapped = made
    out = plan.empty(shape, x.dtype)
    a, b = (y, x) if swapped else (x, y)
    run(a, b, y if bias is None else bias, out)
    return out


def matmul_bfloat16(x: Any, y: Any, bias: Any = None) -> Any:
    """x @ y + bias in float32, of bfloat16's x and y (and float32's bias), by instructions that multiply pairs of them
    (`has_pairs`); None where k is odd or there is no kernel."""
    if x.shape[-1] % 2:
        return None
    x, y = (_paired(x), _paired(y.swapaxes(-1, -2)).swapaxes(-1, -2))
    made = _planned("f4", x.shape, x.strides, y.shape, y.strides, bias is not None, "", pairs=True)
    if made is None:
        return None
    shape, run, _ = made
    out = plan.empty(shape, x.dtype)
    run(x, y, y if bias is None else bias, out)
    return out


def _paired(x: Any) -> Any:
    """The pairs along the last axis, as the bits of float32's."""
    if x.strides[-1] != 2:
        x = copy.contiguous(x)
    return x.view(np.float32)


class Problem(NamedTuple):
    """A batch of products of the same strides: extents, steps in bytes of rows and columns, and of the batch's axes."""

    m: int
    n: int
    k: int
    a: tuple[int, int]
    b: tuple[int, int]
    c: tuple[int, int]
    batch: Sequence[int]
    steps: Sequence[Sequence[int]]  # of A, B and C for each axis of the batch

    def turned(self) -> Problem:
        """The same as C^T = B^T A^T."""
        m, n, k, a, b, c, batch, steps = self
        return Problem(n, m, k, b[::-1], a[::-1], c[::-1], batch, (steps[1], steps[0], steps[2]))


@lru_cache(maxsize=4096)
def _planned(
    kind: str,
    x: Shape,
    x_strides: Shape,
    y: Shape,
    y_strides: Shape,
    biased: bool,
    activation: str,
    *,
    pairs: bool = False,
) -> tuple[Shape, Bound | packed.Product, bool] | None:
    """The result's shape, the call, and whether it takes y before x."""
    shape = (*np.broadcast_shapes(x[:-2], y[:-2]), x[-2], y[-1])
    problem = _folded(shape, x, x_strides, y, y_strides, SIZES[kind])
    if len(problem.batch) > 2 or 0 in (*shape, problem.k):
        return None
    for swapped in (False, True) if not pairs else ():
        run = _skinny(problem.turned() if swapped else problem, kind, activation, biased=biased, swapped=swapped)
        if run is not None:
            return shape, run, swapped
    return shape, _packed(problem, kind, activation, biased=biased, pairs=pairs), False


def _folded(shape: Shape, x: Shape, x_strides: Shape, y: Shape, y_strides: Shape, size: int) -> Problem:
    """The problem with as few axes in its batch as may be: where there is one y for all, they are rows."""
    *lead, m, n = shape
    dense = tuple(size * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    steps = [plan.broadcast(s[:-2], tuple(lead), strides[:-2]) for s, strides in ((x, x_strides), (y, y_strides))]
    batch, (a, b, c) = plan.collapse(lead, [*steps, dense[:-2]])
    row, c_row = x_strides[-2], dense[-2]
    while batch and b[-1] == 0 and c[-1] == m * c_row and (m == 1 or a[-1] == m * row):
        row = a[-1] if m == 1 else row
        m *= batch.pop()
        for some in (a, b, c):
            some.pop()
    return Problem(m, n, x[-1], (row, x_strides[-1]), (y_strides[-2], y_strides[-1]), (c_row, size), batch, (a, b, c))


def _batch(problem: Problem) -> dict[str, int]:
    """The words of the batch's axes."""
    words = {"batch": problem.batch[-1] if problem.batch else 1}
    for name, steps in zip("abc", problem.steps, strict=True):
        outer, inner = (0, 0, *steps)[-2:]
        words |= {f"{name}_inner": inner, f"{name}_outer": outer}
    return words


def _packed(problem: Problem, kind: str, activation: str, *, biased: bool, pairs: bool) -> packed.Product:
    m, n, k, a, b, c, batch, _ = problem
    words = {"m": m, "n": n, "k": k, "a_row": a[0], "a_k": a[1], "b_k": b[0], "b_column": b[1], "c_row": c[0]}
    words |= {"a_way": way_of((m, k), a, SIZES[kind]), "b_way": way_of((k, n), b, SIZES[kind])}
    cut_k = not biased and not activation
    words |= {"biased": int(biased), **_batch(problem), **tiling(m, n, k, math.prod(batch), kind, cut_k=cut_k)}
    return packed.Product(kind, activation, words, pairs=pairs)


def _skinny(problem: Problem, kind: str, activation: str, *, biased: bool, swapped: bool) -> Bound | None:
    """A kernel for few rows of A, where the steps suit one. `swapped`: A is y, along whose columns the bias is."""
    m, n, k, a, b, c, batch, _ = problem
    size = SIZES[kind]
    if m > skinny.FEW:
        return None
    words = {"few": m, "many": n, "k": k, "biased": int(biased), "a_row": a[0], **_batch(problem)}
    if a[1] == size and b[0] == size and k >= m * DOT:
        words |= skinny.chunking(n, m * k, math.prod(batch), 16, n)
        words |= {"b_row": b[1], "c_few": c[0], "c_many": c[1]}
        words |= {"bias_few": size * (biased and swapped), "bias_many": size * (biased and not swapped)}
        return skinny.dots(kind, activation).bind(parallel=True, **words)
    if b[1] == size and c[1] == size and not (biased and swapped) and (k >= SHORT or m <= DOT):
        words |= skinny.chunking(n, m * k, math.prod(batch), 512, skinny.LONG)
        return skinny.streams(kind, activation).bind(a_k=a[1], b_k=b[0], c_row=c[0], parallel=True, **words)
    return None
