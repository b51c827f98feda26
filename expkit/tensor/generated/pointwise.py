"""Elementwise functions by generated kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from expkit.kernels.cpu.fuse import Kernel
from expkit.kernels.cpu.program import unary
from expkit.tensor.generated.base import Lazy

LEAST = 1 << 12  # elements from which a costly function is faster than NumPy's


def elementwise(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of a costly function of one operand."""
    lazy = Lazy(lambda kind: Kernel(unary(name, kind)))

    @wraps(plain)
    def impl(x: Any) -> Any:
        if x.__class__ is np.ndarray and x.size >= LEAST:
            kernel = lazy.of(x.dtype)
            if kernel is not None:
                return kernel(x)
        return plain(x)

    return impl
