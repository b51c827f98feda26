"""Pooling by generated kernels: float32 and float64 images from a size on."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from expkit.kernels.cpu import pooling
from expkit.kernels.cpu.pooling import Window
from expkit.tensor.generated.base import F32, F64, enabled

LEAST = 1 << 11  # elements from which a kernel is faster than NumPy


def _window(x: Any, least: int, kw: dict[str, Any]) -> Window | None:
    """The geometry of a pooling of x, where there is a kernel for it."""
    if x.__class__ is not np.ndarray or x.size < least or (x.dtype is not F32 and x.dtype is not F64) or not enabled():
        return None
    kernel, stride, step = kw["kernel"], kw["stride"], kw.get("dilation", (1,) * len(kw["kernel"]))
    size = kw.get("size") or x.shape[x.ndim - len(kernel) :]
    pad = kw["padding"]
    out = tuple(
        (n + lo + hi - e * (k - 1) - 1) // s + 1
        for n, k, s, e, (lo, hi) in zip(size, kernel, stride, step, pad, strict=True)
    )
    window = Window(size, out, kernel, stride, tuple(lo for lo, _ in pad), step, kw.get("scale", 1.0)).plain()
    return window if window.fits() else None


def reduced(what: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of "max", "sum" or "place" of windows."""

    @wraps(plain)
    def impl(x: Any, **kw: Any) -> Any:
        window = _window(x, LEAST, kw)
        return plain(x, **kw) if window is None else pooling.forward(what, x, window)

    return impl


def spread(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The transpose of the sum."""

    @wraps(plain)
    def impl(g: Any, **kw: Any) -> Any:
        window = _window(g, LEAST // 4, kw)
        return plain(g, **kw) if window is None else pooling.backward("sum", g, window)

    return impl


def max_gradient(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient of the maximum from (g, maxima, input)."""

    @wraps(plain)
    def impl(g: Any, top: Any, x: Any, **kw: Any) -> Any:
        window = _window(x, LEAST, kw)
        if window is None or g.__class__ is not np.ndarray or g.dtype is not x.dtype:
            return plain(g, top, x, **kw)
        return pooling.backward("max", g, window, top, x)

    return impl
