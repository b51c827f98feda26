"""Attention by generated kernels, block by block, its gradient too."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.arrays.write import reshaped
from expkit.kernels.cpu.nets import attention as kernels
from expkit.tensor.generated.base import F32, F64, enabled

LEAST = 1 << 8  # products of a query and a key, over all heads, from which a kernel is faster than NumPy
FEW, MANY = 16, 1 << 15  # fewer queries leave a panel mostly empty, which is dear where K and V have many elements


def attention(q: Any, k: Any, v: Any, *mask: Any, causal: bool, scale: float, learned: bool = False) -> Any:
    """(result, logarithm of the sums of exponentials); None where there is no kernel."""
    given = _operands(q, k, v, *mask)
    if given is None:
        return None
    out, lse = kernels.forward(*given, causal=causal, scale=scale)
    return reshaped(out, (*q.shape[:-1], v.shape[-1])), reshaped(lse, q.shape[:-1])


def attention_grad(g: Any, out: Any, lse: Any, q: Any, k: Any, v: Any, *mask: Any, causal: bool, scale: float) -> Any:
    """The gradients of q, k and v; None where there is no kernel."""
    given = _operands(q, k, v, *mask)
    if given is None or g.dtype is not q.dtype:
        return None
    grads = kernels.backward(_four(g), _four(out), dense(lse), *given, causal=causal, scale=scale)
    return [reshaped(x, like.shape) for x, like in zip(grads, (q, k, v), strict=True)]


def worth(q: Any, k: Any, v: Any) -> bool:
    """Whether a kernel is faster than NumPy."""
    if prod(q.shape[:-1]) * k.shape[-2] < LEAST:
        return False
    return q.shape[-2] >= FEW or k.size + v.size <= MANY


def _operands(q: Any, k: Any, v: Any, *mask: Any) -> Any:
    """q, k, v and the mask (or None) with two leading axes; None where no kernel takes them."""
    dtype = q.dtype
    if dtype is not F32 and dtype is not F64:
        return None
    for x in (q, k, v):
        if x.__class__ is not np.ndarray or x.dtype is not dtype or not x.size:
            return None
    if not kernels.fits(q.shape[-1], v.shape[-1]) or not enabled():
        return None
    if any(m.__class__ is not np.ndarray or (m.dtype != bool and m.dtype is not dtype) for m in mask):
        return None
    full = [_four(np.broadcast_to(m, (*q.shape[:-1], k.shape[-2]))) for m in mask]
    return (*(_four(x) for x in (q, k, v)), *(full or [None]))


def _four(x: Any) -> Any:
    """x with two leading axes, batch and heads: a view where it can be."""
    if x.ndim == 4:
        return x
    *lead, t, d = x.shape
    return reshaped(x, (prod(lead[:-1]), lead[-1] if lead else 1, t, d))


ROWS: dict[str, Callable[..., Any]] = {"attention": attention, "attention_grad": attention_grad}  # of pure.py's table
