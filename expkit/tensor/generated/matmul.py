"""Matrix products by generated kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from expkit.kernels.cpu.gemm import product as gemm
from expkit.tensor.generated.base import enabled

LEAST = 1 << 13  # multiplications from which a kernel is as fast as NumPy's product


def product(plain: Callable[..., Any]) -> Callable[..., Any]:
    """x @ y, and with a bias (a vector) x @ y + bias, of arrays of two axes or more."""

    @wraps(plain)
    def impl(x: Any, y: Any, bias: Any = None) -> Any:
        if x.__class__ is np.ndarray and x.size * y.shape[-1] >= LEAST and y.__class__ is np.ndarray:
            kind = gemm.KINDS.get(x.dtype)
            if kind and y.dtype == x.dtype and enabled():
                out = gemm.matmul(x, y, bias if bias is None else np.ascontiguousarray(bias))
                if out is not None:
                    return out
        return plain(x, y, bias)

    return impl
