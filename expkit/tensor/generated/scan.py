"""Running sums, products and recurrences by generated kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import contiguous
from expkit.kernels.cpu.arrays.scan import kind_of
from expkit.kernels.cpu.arrays.scan import scan as run
from expkit.tensor.generated.base import enabled

LEAST = 1 << 12  # elements from which a kernel is faster than NumPy


def scan(how: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of one of kernels/cpu/arrays/scan.py's: plain(*xs, axis=, back=), all of one shape."""

    @wraps(plain)
    def impl(*xs: Any, axis: int, back: bool = False) -> Any:
        x = xs[0]
        large = x.__class__ is np.ndarray and x.size >= LEAST and kind_of(x.dtype) is not None and enabled()
        if large and all(y.__class__ is np.ndarray and y.dtype == x.dtype and y.shape == x.shape for y in xs):
            dense = (y if y.flags.c_contiguous else contiguous(y) for y in xs)
            return run(how, *dense, axis=axis, back=back)
        return plain(*xs, axis=axis, back=back)

    return impl
