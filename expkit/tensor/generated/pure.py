"""Primitives as nothing but kernel calls, for programs that are recorded: see `kernels/cpu/record`.

A row takes what the primitive's implementation takes and returns what that returns, for arrays of any size; or None,
before it has done anything, where there is no kernel for such operands. All its memory comes from `plan.empty`, all
work on data is done by kernels, nothing is looked at, and what is fixed is kept in read-only arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expkit.tensor.generated import (
    attention,
    conv,
    copy,
    index,
    interpolate,
    loss,
    matmul,
    norm,
    pooling,
    random,
    recurrent,
    reduction,
    scan,
    segments,
    softmax,
    sort,
)

PURE: dict[str, Callable[..., Any]] = {
    **attention.ROWS,
    **conv.ROWS,
    **copy.ROWS,
    **index.ROWS,
    **interpolate.ROWS,
    **loss.ROWS,
    **norm.ROWS,
    **pooling.ROWS,
    **random.ROWS,
    **recurrent.ROWS,
    **reduction.ROWS,
    **scan.ROWS,
    **softmax.ROWS,
    **sort.ROWS,
    "matmul": matmul.pure_matmul,
    "linear": matmul.pure_linear,
    "update": segments.pure_update,  # in place: segments.in_place
    "sum_all": segments.pure_sum,
}
