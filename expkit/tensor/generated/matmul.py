"""Matrix products by generated kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from expkit.kernels.cpu.gemm import product as gemm
from expkit.kernels.cpu.gemm.microkernel import has_pairs
from expkit.tensor.dtypes import bfloat16
from expkit.tensor.generated.base import enabled

LEAST = 1 << 13  # multiplications from which a kernel is as fast as NumPy's product
BIASED = 1 << 8  # and as NumPy's product and addition


def product(plain: Callable[..., Any]) -> Callable[..., Any]:
    """x @ y, and with a bias (a vector) x @ y + bias, of arrays of two axes or more."""

    @wraps(plain)
    def impl(x: Any, y: Any, bias: Any = None) -> Any:
        least = LEAST if bias is None else BIASED
        if x.__class__ is np.ndarray and x.size * y.shape[-1] >= least and y.__class__ is np.ndarray:
            out = _generated(x, y, bias)
            if out is not None:
                return out
        return plain(x, y, bias)

    return impl


def _generated(x: Any, y: Any, bias: Any) -> Any:
    """The kernel's result; None where there is no kernel."""
    if y.dtype != x.dtype or not enabled():
        return None
    if x.dtype in gemm.KINDS:
        return gemm.matmul(x, y, bias)
    if x.dtype != bfloat16.dtype or not has_pairs():
        return None
    out = gemm.matmul_bfloat16(x, y, bias if bias is None else bias.astype(np.float32))
    return out if out is None else out.astype(x.dtype)


def pure_matmul(x: Any, y: Any) -> Any:
    """The product by kernel calls alone; None where there are none."""
    return gemm.matmul(x, y) if x.dtype in gemm.KINDS and y.dtype == x.dtype else None


def pure_linear(x: Any, w: Any, b: Any = None) -> Any:
    """x Wᵀ + b in the same way."""
    if x.dtype not in gemm.KINDS or any(v.dtype != x.dtype for v in (w, b) if v is not None):
        return None
    return gemm.matmul(x, w.swapaxes(-1, -2), b) if x.ndim > 1 else None
