"""Running sums, products and recurrences by generated kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.arrays.scan import kind_of
from expkit.kernels.cpu.arrays.scan import scan as run
from expkit.tensor.generated.base import enabled

LEAST = 1 << 12  # elements from which a kernel is faster than NumPy


def _scanned(how: str, *xs: Any, axis: int, back: bool = False) -> Any:
    """By kernels alone; None where there are none."""
    x = xs[0]
    if not enabled() or not x.size or any(y.__class__ is not np.ndarray or y.dtype != x.dtype for y in xs):
        return None
    if kind_of(x.dtype) is None or any(y.shape != x.shape for y in xs):
        return None
    return run(how, *map(dense, xs), axis=axis, back=back)


def scan(how: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of one of kernels/cpu/arrays/scan.py's: plain(*xs, axis=, back=), all of one shape."""

    @wraps(plain)
    def impl(*xs: Any, axis: int, back: bool = False) -> Any:
        found = _scanned(how, *xs, axis=axis, back=back) if xs[0].size >= LEAST else None
        return plain(*xs, axis=axis, back=back) if found is None else found

    return impl


ROWS: dict[str, Callable[..., Any]] = {  # of the table in pure.py
    "cumsum": partial(_scanned, "sum"), "cumprod": partial(_scanned, "product"), "states": partial(_scanned, "affine"),
}  # fmt: skip
