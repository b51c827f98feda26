"""Products with weights: bilinear."""

from __future__ import annotations

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.tensor import Tensor


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x₁ᵀ W x₂ + b.   input1: (..., in1), input2: (..., in2), weight: (out, in1, in2) -> (..., out)"""
    out, in1, in2 = weight.shape
    if input1.shape[-1] != in1 or input2.shape[-1] != in2 or input1.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(
            f"bilinear: inputs {tuple(input1.shape)} and {tuple(input2.shape)} do not fit weight "
            f"{tuple(weight.shape)}: they need equal leading dimensions and {in1} and {in2} features"
        )
    left = T.matmul(input1, weight.permute(1, 0, 2).reshape(in1, out * in2))
    left = left.reshape(*input1.shape[:-1], out, in2)
    product = T.matmul(left, input2.unsqueeze(-1)).squeeze(-1)
    return product if bias is None else product + bias
