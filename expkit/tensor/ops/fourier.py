"""Discrete Fourier transforms as three linear primitives: complex to complex, real to complex, complex to real.

A transform's matrix is symmetric, so the transpose of a complex one is itself. The real ones keep the first half of a
spectrum that is symmetric: an inner element stands for two. `weighted` says that this is counted in: r2c multiplies the
inner elements by 2, c2r takes them as multiplied by 2 already; each is then the transpose of the other without it.
"""

from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.complex import COMPLEX, REAL, conj_p
from expkit.tensor.ops.kinds import linear, shifted


def _scaled(out: Any, scale: float) -> Any:
    if scale != 1.0:
        out *= out.real.dtype.type(scale)
    return out


def _c2c(x: Any, *, axes: tuple[int, ...], forward: bool, scale: float) -> Any:
    fft = xp_of(x).fft
    out = fft.fftn(x, None, axes, "backward") if forward else fft.ifftn(x, None, axes, "forward")
    return _scaled(out, scale)


def _inner(n: int, axis: int) -> tuple[Any, ...]:
    """The index of what stands for two elements, in the half spectrum of n real numbers."""
    return (*(slice(None),) * axis, slice(1, (n + 1) // 2))


def _r2c(x: Any, *, axis: int, scale: float, weighted: bool) -> Any:
    out = _scaled(xp_of(x).fft.rfft(x, None, axis, "backward"), scale)
    if weighted:
        out[_inner(x.shape[axis], axis)] *= 2
    return out


def _c2r(x: Any, *, n: int, axis: int, scale: float, weighted: bool) -> Any:
    if weighted:
        x = x.copy()
        x[_inner(n, axis)] *= 0.5
    return _scaled(xp_of(x).fft.irfft(x, n, axis, "forward"), scale)


def _resized(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


c2c_p = linear(  # over the axes, without dividing but by `scale`; e^(-i...) forward, e^(+i...) else
    "fft_c2c",
    _c2c,
    lambda x, **_kw: x,
    lambda g, _x, **kw: c2c_p(g, **kw),
    batch_kw=lambda size, kw: {**kw, "axes": shifted(kw["axes"])},
)
r2c_p = linear(  # along one axis, forward
    "fft_r2c",
    _r2c,
    lambda x, *, axis, **_kw: Aval(
        _resized(x.shape, axis, x.shape[axis] // 2 + 1), COMPLEX[np.dtype(x.dtype)], x.device
    ),
    lambda g, _x, *, axis, scale, weighted: c2r_p(
        conj_p(g), n=_x.shape[axis], axis=axis, scale=scale, weighted=not weighted
    ),
    batch_kw=lambda size, kw: {**kw, "axis": kw["axis"] + 1},
)
c2r_p = linear(  # along one axis of n // 2 + 1 elements, backward
    "fft_c2r",
    _c2r,
    lambda x, *, n, axis, **_kw: Aval(_resized(x.shape, axis, n), REAL[np.dtype(x.dtype)], x.device),
    lambda g, _x, *, n, axis, scale, weighted: conj_p(r2c_p(g, axis=axis, scale=scale, weighted=not weighted)),
    batch_kw=lambda size, kw: {**kw, "axis": kw["axis"] + 1},
)
