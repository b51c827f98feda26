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
WINDOW = ("kernel", "stride", "padding", "dilation")
Impl = Callable[..., Any]
LEAST = 1 << 6  # elements from which a kernel is faster than NumPy


def _known(*arrays: Any) -> bool:
    """Whether kernels take such arrays: the first, which is of floats, with places perhaps."""
    x = arrays[0]
    return (
        all(a.__class__ is np.ndarray and a.size for a in arrays) and (x.dtype is F32 or x.dtype is F64) and enabled()
    )


def _window(x: Any, kw: dict[str, Any]) -> Window:
    """The geometry of a pooling of x."""
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


def pure(what: str) -> Impl:
    """ "max" or "sum" of windows, or "place" (maxima, their places), by kernels alone; None where there are none."""
    return lambda x, **kw: pooling.forward(what, x, _window(x, kw)) if _known(x) else None


def pure_spread(g: Any, **kw: Any) -> Any:
    """The transpose of the sum."""
    return pooling.backward(g, _window(g, kw)) if _known(g) else None


def pure_adaptive(x: Any, *, pieces: Sizes) -> Any:
    """(maxima, their places) of windows that cut the last axes into pieces."""
    return pooling.forward("place", x, Window(x.shape[x.ndim - len(pieces) :], pieces)) if _known(x) else None


def pure_drop(g: Any, index: Any, *, size: Sizes, window: tuple[Any, ...] = ()) -> Any:
    """g, added up at flat places in planes; `window`: kernel, ... of a pooling whose maxima are there."""
    if not _known(g, index):
        return None
    if not window:
        return pooling.scattered(g, index, size)
    return pooling.backward(g, _geometry(size, dict(zip(WINDOW, window, strict=True))), index)


def _worth(least: int, run: Impl) -> Callable[[Impl], Impl]:
    """The decorator of a plain implementation: `run` from so many elements on, where there are kernels."""

    def decorator(plain: Impl) -> Impl:
        @wraps(plain)
        def impl(x: Any, *rest: Any, **kw: Any) -> Any:
            found = run(x, *rest, **kw) if x.size >= least else None
            return plain(x, *rest, **kw) if found is None else found

        return impl

    return decorator


def reduced(what: str, plain: Impl) -> Impl:
    """The implementation of `pure(what)`."""
    return _worth(LEAST, pure(what))(plain)


def adaptive_maxima(plain: Impl) -> Impl:
    """The implementation of `pure_adaptive`."""
    few = _worth(LEAST, pure_adaptive)(plain)
    many = _worth(1, pure_adaptive)(plain)  # the plain one goes from piece to piece
    return wraps(plain)(lambda x, *, pieces: (many if prod(pieces) > LEAST else few)(x, pieces=pieces))


spread, dropped = _worth(LEAST // 4, pure_spread), _worth(LEAST // 4, pure_drop)
ROWS: dict[str, Impl] = {  # of the table in pure.py
    "max_pool": pure("max"), "max_place": pure("place"), "window_sum": pure("sum"), "window_spread": pure_spread,
    "adaptive_place": pure_adaptive, "drop": pure_drop,
}  # fmt: skip
