"""Discrete Fourier transforms by torch.fft's names.

Forward is the sum of x[j] exp(-2 pi i j k / n). `n` (or `s`, a size for each dim) cuts the input or fills it up with
zeros; `norm` is "backward" (the inverse divides by n), "ortho" (both divide by its root) or "forward".
The functions with an r take or give real numbers, and of their symmetric spectrum the first half; those with an h
exchange the two sides: their spectrum is real.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from expkit.autograd.tape import apply1
from expkit.tensor import Tensor, arange, conj, dtypes, roll, where
from expkit.tensor.ops.arguments import dim_of, dims_of, require_tensor
from expkit.tensor.ops.complex import complexed
from expkit.tensor.ops.convert import floating
from expkit.tensor.ops.fourier import c2c_p, c2r_p, r2c_p
from expkit.tensor.ops.movement import pad_p, slice_p
from expkit.tensor.precision import cast_public

Sizes = int | Sequence[int] | None
Dims = int | Sequence[int] | None

# ---- arguments -------------------------------------------------------------------------------------------------------


def _input(x: Any, name: str, *, real: bool = False) -> Any:
    """The input in a dtype that the transform takes. TypeError for two-byte floats, and for complex where real."""
    d = require_tensor(x, f"fft.{name}").dtype
    if d.is_complex and real:
        raise TypeError(f"fft.{name} expects a real input tensor, but got {d}")
    if d.is_floating_point and d.itemsize == 2:
        raise TypeError(f"fft.{name}: unsupported dtype {d}. Use .float()")
    x = floating(x)
    return x if real else complexed(x)


def _scale(name: str, norm: str | None, count: int, forward: bool) -> float:
    if norm not in (None, "backward", "ortho", "forward"):
        raise ValueError(f"fft.{name}: norm must be 'backward', 'ortho' or 'forward', not {norm!r}")
    if norm == "ortho":
        return 1 / math.sqrt(count) if count else 1.0
    divides = forward == (norm == "forward")
    return 1 / count if divides and count else 1.0


def _axis(x: Any, name: str, dim: int) -> int:
    if not x.ndim:
        raise IndexError(f"fft.{name}: dim {dim} was given, but the tensor has no dimensions")
    return dim_of(dim, x.ndim)


def _sized(x: Any, axis: int, n: int) -> Any:
    """x cut or filled up with zeros to n elements along the axis."""
    have = x.shape[axis]
    if n < have:
        return apply1(slice_p, x, spans=tuple((0, n if i == axis else m, 1) for i, m in enumerate(x.shape)))
    if n > have:
        return apply1(pad_p, x, widths=tuple((0, n - have if i == axis else 0) for i in range(x.ndim)), value=0)
    return x


def _checked(name: str, n: int) -> int:
    if n < 1:
        raise ValueError(f"fft.{name}: invalid number of data points ({n}) specified")
    return n


def _axes(x: Any, name: str, s: Sizes, dim: Dims) -> tuple[list[int], list[int | None]]:
    """(the axes, the size that was given for each), as n-dimensional transforms take s and dim."""
    sizes = None if s is None else [s] if isinstance(s, int) else list(s)
    if dim is None:
        count = x.ndim if sizes is None else len(sizes)
        if count > x.ndim:
            raise ValueError(f"fft.{name}: s has {count} values, but the input tensor has {x.ndim} dimensions")
        axes = list(range(x.ndim - count, x.ndim))
    else:
        given = [dim] if isinstance(dim, int) else list(dim)
        axes = [dim_of(d, x.ndim) for d in given]
        dims_of(given, x.ndim)  # refuses what is named twice
    if sizes is not None and len(sizes) != len(axes):
        raise ValueError(f"fft.{name}: when given, dim and s must have the same length, got {dim} and {s}")
    return axes, [None] * len(axes) if sizes is None else [None if n == -1 else n for n in sizes]


def _fitted(x: Any, name: str, axes: list[int], sizes: list[int | None]) -> Any:
    for axis, n in zip(axes, sizes, strict=True):
        x = _sized(x, axis, _checked(name, x.shape[axis] if n is None else n))
    return x


# ---- transforms over axes --------------------------------------------------------------------------------------------


def _c2c(x: Any, axes: list[int], forward: bool, scale: float) -> Any:
    return apply1(c2c_p, x, axes=tuple(axes), forward=forward, scale=scale) if axes else x


def _count(x: Any, axes: list[int]) -> int:
    return math.prod(x.shape[a] for a in axes)


def _complex(name: str, forward: bool, input: Any, s: Sizes, dim: Dims, norm: str | None) -> Any:
    x = _input(input, name)
    axes, sizes = _axes(x, name, s, dim)
    x = _fitted(x, name, axes, sizes)
    return _c2c(x, axes, forward, _scale(name, norm, _count(x, axes), forward))


def _from_real(name: str, forward: bool, input: Any, s: Sizes, dim: Dims, norm: str | None) -> Any:
    """rfftn, and with forward=False ihfftn."""
    x = _input(input, name, real=True)
    axes, sizes = _axes(x, name, s, dim)
    if not axes:
        raise ValueError(f"fft.{name} must transform at least one axis")
    x = _fitted(x, name, axes, sizes)
    scale = _scale(name, norm, _count(x, axes), forward)
    half = apply1(r2c_p, x, axis=axes[-1], scale=scale, weighted=False)
    return _c2c(half if forward else conj(half), axes[:-1], forward, 1.0)


def _to_real(name: str, forward: bool, input: Any, s: Sizes, dim: Dims, norm: str | None) -> Any:
    """irfftn, and with forward=True hfftn."""
    x = _input(input, name)
    axes, sizes = _axes(x, name, s, dim)
    if not axes:
        raise ValueError(f"fft.{name} must transform at least one axis")
    n = _checked(name, 2 * (x.shape[axes[-1]] - 1) if sizes[-1] is None else sizes[-1])
    x = _fitted(x, name, axes, [*sizes[:-1], n // 2 + 1])
    scale = _scale(name, norm, _count(x, axes[:-1]) * n, forward)
    x = _c2c(x, axes[:-1], forward, 1.0)
    return apply1(c2r_p, conj(x) if forward else x, n=n, axis=axes[-1], scale=scale, weighted=False)


# ---- the public names ------------------------------------------------------------------------------------------------

_Transform = Callable[[str, bool, Any, Sizes, Dims, str | None], Any]


def _one(name: str, transform: _Transform, forward: bool, doc: str) -> Callable[..., Any]:
    def fn(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
        _axis(require_tensor(input, f"fft.{name}"), name, dim)
        return transform(name, forward, input, None if n is None else [_checked(name, n)], [dim], norm)

    return _named(fn, name, f"{doc} along one dimension.")


def _two(name: str, transform: _Transform, forward: bool, doc: str) -> Callable[..., Any]:
    def fn(input: Tensor, s: Sizes = None, dim: Dims = (-2, -1), norm: str | None = None) -> Tensor:
        return transform(name, forward, input, s, dim, norm)

    return _named(fn, name, f"{doc} over two dimensions.")


def _many(name: str, transform: _Transform, forward: bool, doc: str) -> Callable[..., Any]:
    def fn(input: Tensor, s: Sizes = None, dim: Dims = None, norm: str | None = None) -> Tensor:
        return transform(name, forward, input, s, dim, norm)

    return _named(fn, name, f"{doc} over all dimensions, or those of `dim`.")


def _named(fn: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn


_DOCS = {
    "fft": "The Fourier transform", "ifft": "The inverse Fourier transform",
    "rfft": "The half spectrum of real numbers", "irfft": "The real numbers of a half spectrum",
    "hfft": "The real spectrum of the first half of a symmetric signal", "ihfft": "The inverse of hfft: half a signal",
}  # fmt: skip


def _family(name: str, transform: _Transform, forward: bool) -> tuple[Callable[..., Any], ...]:
    """The transform along one dimension, over two, over all."""
    return tuple(make(name + k, transform, forward, _DOCS[name]) for k, make in (("", _one), ("2", _two), ("n", _many)))


fft, fft2, fftn = _family("fft", _complex, True)
ifft, ifft2, ifftn = _family("ifft", _complex, False)
rfft, rfft2, rfftn = _family("rfft", _from_real, True)
irfft, irfft2, irfftn = _family("irfft", _to_real, False)
hfft, hfft2, hfftn = _family("hfft", _to_real, True)
ihfft, ihfft2, ihfftn = _family("ihfft", _from_real, False)

# ---- frequencies -----------------------------------------------------------------------------------------------------


def _frequencies(whole: Any, n: int, d: float, dtype: Any, requires_grad: bool) -> Any:
    dtype = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        raise TypeError(f"fft: frequencies need a floating-point or complex dtype, not {dtype}")
    return (whole.to(dtype) * (1 / (n * d))).requires_grad_(requires_grad)


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The frequencies of fft's result, for samples at distance d: 0, 1, ..., -2, -1 divided by n d."""
    whole = arange(n, device=device)
    return _frequencies(where(whole < (n + 1) // 2, whole, whole - n), n, d, dtype, requires_grad)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The frequencies of rfft's result, for samples at distance d: 0, 1, ..., n // 2 divided by n d."""
    return _frequencies(arange(n // 2 + 1, device=device), n, d, dtype, requires_grad)


def _shift(input: Tensor, dim: Dims, steps: Callable[[int], int]) -> Tensor:
    axes = list(range(input.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    return roll(input, [steps(input.shape[a]) for a in axes], axes)


def fftshift(input: Tensor, dim: Dims = None) -> Tensor:
    """The spectrum with frequency 0 moved to the middle."""
    return _shift(input, dim, lambda n: n // 2)


def ifftshift(input: Tensor, dim: Dims = None) -> Tensor:
    """The inverse of fftshift."""
    return _shift(input, dim, lambda n: (n + 1) // 2)


cast_public(globals(), "fft.")
