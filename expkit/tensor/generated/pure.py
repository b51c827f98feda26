"""Primitives as nothing but kernel calls, for programs that are recorded: see `kernels/cpu/record`.

A row takes what the primitive's implementation takes and returns what that returns, for arrays of any size; or None,
before it has done anything, where there is no kernel for such operands. All its memory comes from `plan.empty`, all
work on data is done by kernels, nothing is looked at, and what is fixed is kept in read-only arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expkit.tensor.generated import attention, conv, copy, index, loss, matmul, norm, random, recurrent, segments

PURE: dict[str, Callable[..., Any]] = {
    **attention.ROWS,
    **copy.ROWS,
    **index.ROWS,
    **loss.ROWS,
    **random.ROWS,
    **recurrent.ROWS,
    "matmul": matmul.pure_matmul,
    "linear": matmul.pure_linear,
    "update": segments.pure_update,  # in place: segments.in_place
    "sum_all": segments.pure_sum,
    "conv": conv.convolution.pure,
    "conv_input": conv.input_gradient.pure,
    "conv_weight": conv.weight_gradient.pure,
    "normalize": norm.normalize,
    **dict.fromkeys(("normalize_grad1", "normalize_grad2", "normalize_grad3"), norm.normalize_grad),
    "rms_norm": norm.pure_rms,
    **dict.fromkeys(("rms_norm_grad1", "rms_norm_grad2"), norm.pure_rms_grad),
}
