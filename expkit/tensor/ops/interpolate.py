"""Interpolation: images resampled along their last axes.

Every mode is linear, separable and local: along one axis it is a banded matrix (`Taps`), and a primitive applies one to
each axis. Its gradient applies their transposes, so derivatives of any order come by themselves.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from math import floor
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.tape import apply1
from expkit.kernels.cpu.arrays.taps import Taps
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.generated.interpolate import resampling
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.kinds import linear

Sizes = tuple[int, ...]

# ---- the primitive ---------------------------------------------------------------------------------------------------


def _along(x: Any, axis: int, taps: Taps) -> Any:
    """One banded matrix along an axis, tap by tap."""
    beside = (-1,) + (1,) * (x.ndim - 1 - axis)
    total = None
    for k in range(taps.width):
        there = k < taps.counts
        part = np.take(x, np.where(there, taps.starts + k, 0), axis=axis)
        part = part * taps.weights[:, k].astype(x.dtype).reshape(beside)
        part = np.where(there.reshape(beside), part, np.zeros((), x.dtype))
        total = part if total is None else total + part
    return total


WEIGHT_BITS = 15  # of the whole-numbered weights that images of bytes are blended with


def _along_bytes(x: Any, axis: int, taps: Taps) -> Any:
    """The same for uint8, in whole numbers as PyTorch: weights of 15 bits at most, each axis rounded by itself."""
    bits = 0
    while bits < 22 and int(0.5 + taps.weights.max() * (1 << (bits + 1))) < 1 << WEIGHT_BITS:
        bits += 1
    xp, unit = xp_of(x), 1 << bits
    if xp is np:
        total = np.full((1,) * x.ndim, unit // 2)
        for k in range(taps.width):
            weights = _whole(np, taps.weights[:, k] * unit).reshape((-1,) + (1,) * (x.ndim - 1 - axis))
            total = total + np.take(x, np.where(k < taps.counts, taps.starts + k, 0), axis=axis) * weights
    else:
        weights = _whole(xp, taps.matrix(xp, np.float64) * unit)
        total = xp.moveaxis(xp.moveaxis(x, axis, -1).astype(np.int64) @ weights.T, -1, axis) + unit // 2
    return xp.clip(total >> bits, 0, 255).astype(np.uint8)


def _whole(xp: Any, weights: Any) -> Any:
    """Rounded half away from zero."""
    return xp.trunc(weights + xp.where(weights < 0, -0.5, 0.5)).astype(np.int64)


def _resample(x: Any, *, taps: tuple[Taps, ...]) -> Any:
    xp = xp_of(x)
    if x.dtype == np.uint8:
        for axis in range(x.ndim - 1, x.ndim - 1 - len(taps), -1):
            matrix = taps[axis - x.ndim + len(taps)]
            x = np.take(x, matrix.starts, axis=axis) if matrix.picks and xp is np else _along_bytes(x, axis, matrix)
        return x
    for axis, matrix in enumerate(taps, x.ndim - len(taps)):
        if xp is np:
            x = _along(x, axis, matrix)
        else:  # no tables cross over to the device
            x = xp.moveaxis(xp.moveaxis(x, axis, -1) @ matrix.matrix(xp, x.dtype).T, -1, axis)
    return x


resample_p = linear(
    "resample",
    resampling(_resample),
    lambda x, *, taps: Aval((*x.shape[: x.ndim - len(taps)], *(t.n_out for t in taps)), x.dtype, x.device),
    lambda g, _x, *, taps: resample_p(g, taps=tuple(t.T for t in taps)),
    batch_kw=lambda _size, kw: kw,
)

# ---- the matrices ----------------------------------------------------------------------------------------------------
# Each gives, made with an array library, the columns and the weights of the first tap of every row, the second, ...


def _sources(xp: Any, n: int, out: int, scale: float | None, corners: bool) -> Any:
    """Where in the input each element of the output lies; `scale` is that of the output, where it was given."""
    at = xp.arange(out)
    if corners:
        return at * ((n - 1) / (out - 1) if out > 1 else 0.0)
    return (at + 0.5) * (1 / scale if scale else n / out) - 0.5


def _nearest(
    xp: Any, n: int, out: int, scale: float | None, _corners: bool, real: Any, shift: float = 0.0
) -> tuple[list[Any], list[Any]]:
    """Rounded as PyTorch rounds: computed in `real`, the dtype of the input, then in float32."""
    at = xp.arange(out, dtype=real)
    if n != out or shift:
        at = xp.floor(((at + real(shift)) * real(1 / scale if scale else n / out)).astype(np.float32))
    return [at], [xp.ones(out)]


def _linear(xp: Any, n: int, out: int, scale: float | None, corners: bool, _real: Any) -> tuple[list[Any], list[Any]]:
    if n == out:
        return [xp.arange(n)], [xp.ones(n)]
    at = xp.maximum(_sources(xp, n, out, scale, corners), 0.0)
    first = xp.minimum(xp.floor(at), n - 1)
    share = xp.minimum(at - first, 1.0)
    return [first, first + 1], [1 - share, share]


def _cubic(xp: Any, n: int, out: int, scale: float | None, corners: bool, _real: Any) -> tuple[list[Any], list[Any]]:
    """Keys' convolution kernel with A = -0.75."""
    at = _sources(xp, n, out, scale, corners)
    first = xp.floor(at)
    t = at - first

    def near(d: Any) -> Any:
        return (1.25 * d - 2.25) * d * d + 1

    def far(d: Any) -> Any:
        return -0.75 * (((d - 5) * d + 8) * d - 4)

    return [first - 1, first, first + 1, first + 2], [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _area(xp: Any, n: int, out: int, _scale: float | None, _corners: bool, _real: Any) -> tuple[list[Any], list[Any]]:
    """The means over windows that cut the axis into equal pieces."""
    i, most = xp.arange(out), -(-n // out) + 1
    start, end = i * n // out, -(-(i + 1) * n // out)
    columns = [xp.minimum(start + k, end - 1) for k in range(most)]
    return columns, [xp.where(start + k < end, 1.0 / (end - start), 0.0) for k in range(most)]


def _smooth(
    xp: Any, n: int, out: int, scale: float | None, corners: bool, _real: Any, reach: int, kernel: Callable[..., Any]
) -> tuple[list[Any], list[Any]]:
    """A kernel that grows where the image shrinks, so that every element counts; `reach`: half its width."""
    step = (n - 1) / (out - 1) if corners and out > 1 else 0.0 if corners else 1 / scale if scale else n / out
    wide = max(step, 1.0)
    centre = step * (xp.arange(out) + 0.5)
    start = xp.maximum(xp.floor(xp.maximum(centre - reach * wide + 0.5, 0)), 0)
    stop = xp.minimum(xp.floor(centre + reach * wide + 0.5), n)
    columns = [start + k for k in range(2 * int(np.ceil(reach * wide)) + 1)]
    weights = [xp.where(c < stop, kernel(xp, (c - centre + 0.5) / wide), 0.0) for c in columns]
    total = sum(weights)
    return columns, [w / total for w in weights]


def _triangle(xp: Any, d: Any) -> Any:
    return xp.maximum(1 - xp.abs(d), 0.0)


def _keys(xp: Any, d: Any) -> Any:
    """Keys' kernel with A = -0.5."""
    d = xp.abs(d)
    far = -0.5 * (((d - 5) * d + 8) * d - 4)
    return xp.where(d < 1, (1.5 * d - 2.5) * d * d + 1, xp.where(d < 2, far, 0.0))


SMOOTH: dict[str, Callable[..., tuple[list[Any], list[Any]]]] = {  # antialias=True
    "bilinear": partial(_smooth, reach=1, kernel=_triangle), "bicubic": partial(_smooth, reach=2, kernel=_keys),
}  # fmt: skip
MATRICES: dict[str, Callable[..., tuple[list[Any], list[Any]]]] = {
    "nearest": _nearest, "nearest-exact": partial(_nearest, shift=0.5), "area": _area,
    "linear": _linear, "bilinear": _linear, "trilinear": _linear, "bicubic": _cubic,
}  # fmt: skip
BYTES = {"nearest", "nearest-exact", "bilinear", "bicubic"}  # that images of uint8 may be resampled with
AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}  # of the modes that blend; the others take any


@lru_cache(maxsize=256)
def _taps(mode: str, n: int, out: int, scale: float | None, corners: bool, real: Any, antialias: bool = False) -> Taps:
    make = (SMOOTH if antialias else MATRICES)[mode]
    return Taps.of(n, lambda xp: make(xp, n, out, scale, corners, real))


def averaging(n: int, out: int) -> Taps:
    """The matrix of an adaptive average."""
    return _taps("area", n, out, None, False, np.float32)


# ---- the function ----------------------------------------------------------------------------------------------------


def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """The input (N, C, *S) brought to `size`, or to `scale_factor` times its size. Arguments are PyTorch's.

    mode: nearest, nearest-exact, area, linear (one axis), bilinear, bicubic (two), trilinear (three).
    antialias (bilinear, bicubic): where the image shrinks, the kernel grows, so that every element counts.
    """
    sizes = tuple(input.shape[2:])
    _check(input, sizes, mode, align_corners, antialias)
    out, scales = _target(sizes, size, scale_factor, recompute_scale_factor)
    if min(*sizes, *out) <= 0:
        raise RuntimeError(
            f"interpolate: sizes must be greater than 0, got {sizes} for the input and {out} for the output"
        )
    corners = bool(align_corners)
    d = dtypes.of(input.raw)
    real = np.float64 if d.itemsize == 8 else np.float32
    taps = tuple(_taps(mode, n, m, s, corners, real, antialias) for n, m, s in zip(sizes, out, scales, strict=True))
    return resampled(input, taps)


def resampled(x: Any, taps: tuple[Taps, ...]) -> Any:
    """A matrix applied to each of the last axes; two-byte floats are computed in float32 and rounded once."""
    d = dtypes.of(x.raw)
    if d.itemsize == 2:
        return as_dtype(apply1(resample_p, as_dtype(x, dtypes.float32), taps=taps), d)
    return apply1(resample_p, x, taps=taps)


def _check(x: Any, sizes: Sizes, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in MATRICES or len(sizes) not in (1, 2, 3):
        raise NotImplementedError(
            f"interpolate takes 3 to 5 dimensions and the modes {', '.join(MATRICES)}; got {x.ndim} and mode={mode!r}"
        )
    if AXES.get(mode, len(sizes)) != len(sizes):
        raise NotImplementedError(f"interpolate: got {x.ndim} dimensions, but mode={mode!r} needs {AXES[mode] + 2}")
    if antialias and mode not in SMOOTH:
        raise ValueError(f"interpolate: antialias=True goes with the modes {', '.join(SMOOTH)}, not {mode!r}")
    if align_corners is not None and mode not in AXES:
        raise ValueError(f"interpolate: align_corners can only be set for the modes {', '.join(AXES)}, not {mode!r}")
    d = dtypes.of(x.raw)
    if not d.is_floating_point and not (d is dtypes.uint8 and mode in BYTES):
        kinds = f"floating-point{' or uint8' if mode in BYTES else ''}"
        raise TypeError(f"interpolate: mode={mode!r} takes {kinds} inputs, got {d}. Use .float().")


def _target(sizes: Sizes, size: Any, scale_factor: Any, recompute: bool | None) -> tuple[Sizes, list[float | None]]:
    """The sizes of the output, and the scales to go by instead of their ratios, where they were given."""
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give one of size and scale_factor, and not both")
    nothing: list[float | None] = [None] * len(sizes)
    if size is not None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor means nothing beside an explicit size")
        return _per_axis("size", size, sizes, int), nothing
    scales = _per_axis("scale_factor", scale_factor, sizes, (int, float))
    out = tuple(floor(n * s) for n, s in zip(sizes, scales, strict=True))
    return out, nothing if recompute else [float(s) for s in scales]


def _per_axis(name: str, value: Any, sizes: Sizes, kinds: Any) -> tuple[Any, ...]:
    items = tuple(value) if isinstance(value, list | tuple) else (value,) * len(sizes)
    if any(not isinstance(v, kinds) or isinstance(v, bool) for v in items):
        raise TypeError(f"interpolate: {name} must be a number or a tuple of numbers, got {value!r}")
    if len(items) != len(sizes):
        raise ValueError(f"interpolate: {name} must be a number or {len(sizes)} numbers, one per axis, got {value!r}")
    return items


def upsample(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Any:
    """`interpolate` under its old name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` by the nearest elements, under its old name."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` with mode="bilinear" and align_corners=True, under its old name."""
    return interpolate(input, size, scale_factor, "bilinear", True)
