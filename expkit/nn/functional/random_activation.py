"""Activations that draw random numbers: rrelu and gumbel_softmax."""

from __future__ import annotations

import expkit.tensor as T
from expkit.nn.functional.activation import leaky_relu, softmax
from expkit.tensor import Tensor


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """leaky_relu with slopes uniform in [lower, upper], or their mean where it does not train (Xu et al., 2015)."""
    if lower > upper:
        raise ValueError(f"rrelu: lower {lower} is greater than upper {upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slopes = T.rand_like(input) * (upper - lower) + lower
    return input.copy_(_sloped(input.clone(), slopes)) if inplace else _sloped(input, slopes)


def _sloped(input: Tensor, slopes: Tensor) -> Tensor:
    return T.where(input > 0, input, input * slopes)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """Random classes by softmax((logits + Gumbel noise) / tau) (Jang et al., 2017).

    hard: one-hot vectors, which have the gradient of the soft ones. eps is PyTorch's, and means nothing there too.
    """
    uniform = T.rand_like(logits)
    noise = -T.log(-T.log1p(-uniform))
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.argmax(dim, True)
    return T.zeros_like(soft).scatter(dim, index, 1.0) - soft.detach() + soft
