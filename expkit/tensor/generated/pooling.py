"""Pooling by generated kernels: float32 and float64 images from a size on."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu import pooling
from expkit.kernels.cpu.pooling import Window
from expkit.tensor.generated.base import F32, F64, enabled

Sizes = tuple[int, ...]
LEAST = 1 << 6  # elements from which a kernel is faster than NumPy


def _known(x: Any, least: int) -> bool:
    return x.size >= least and (x.dtype is F32 or x.dtype is F64) and enabled()


def _window(x: Any, least: int, kw: dict[str, Any]) -> Window | None:
    """The geometry of a pooling of x, where there is a kernel for it."""
    if x.__class__ is not np.ndarray or not _known(x, least):
        return None
    return _geometry(kw.get("size") or x.shape[x.ndim - len(kw["kernel"]) :], kw)


def _geometry(size: Sizes, kw: dict[str, Any]) -> Window:
    """The geometry for an input of that size."""
    return _cached(size, kw["kernel"], kw["stride"], kw["padding"], kw.get("dilation"), kw.get("scale", 1.0))


@lru_cache(maxsize=4096)
def _cached(size: Sizes, kernel: Sizes, stride: Sizes, pad: Any, dilation: Sizes | None, scale: float) -> Window:
    step = dilation or (1,) * len(kernel)
    out = tuple(
        (n + lo + hi - e * (k - 1) - 1) // s + 1
        for n, k, s, e, (lo, hi) in zip(size, kernel, stride, step, pad, strict=True)
    )
    return Window(size, out, kernel, stride, tuple(lo for lo, _ in pad), step, scale).plain()


def reduced(what: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of "max" or "sum" of windows, or of "place": (maxima, their places)."""

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
        return plain(g, **kw) if window is None else pooling.backward(g, window)

    return impl


def adaptive_maxima(plain: Callable[..., Any]) -> Callable[..., Any]:
    """(maxima, their places) of windows that cut the last axes into pieces."""

    @wraps(plain)
    def impl(x: Any, *, pieces: tuple[int, ...]) -> Any:
        size = x.shape[x.ndim - len(pieces) :]
        many = prod(pieces) > LEAST and x.size > 0  # the plain one goes from piece to piece
        if x.__class__ is not np.ndarray or not _known(x, 1 if many else LEAST):
            return plain(x, pieces=pieces)
        return pooling.forward("place", x, Window(size, pieces))

    return impl


def dropped(plain: Callable[..., Any]) -> Callable[..., Any]:
    """g, added up at flat places in planes."""

    @wraps(plain)
    def impl(g: Any, index: Any, *, size: tuple[int, ...]) -> Any:
        if index.__class__ is np.ndarray and g.__class__ is np.ndarray and _known(g, LEAST // 4):
            return pooling.scattered(g, index, size)
        return plain(g, index, size=size)

    return impl


def max_gradient(g: Any, places: Any, size: tuple[int, ...], kw: dict[str, Any]) -> Any:
    """The gradient of the maxima of windows from their places; None where there is no kernel."""
    if g.__class__ is not np.ndarray or places.__class__ is not np.ndarray or not _known(g, LEAST // 4):
        return None
    return pooling.backward(g, _geometry(size, kw) if kw else Window(size, g.shape[g.ndim - len(size) :]), places)
