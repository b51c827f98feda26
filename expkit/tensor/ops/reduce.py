"""Reductions."""

import math
from collections import namedtuple
from functools import cache, wraps
from typing import Any

import numpy as np

from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.kernels.cpu.loops.program import Ref, Step
from expkit.tensor import dtypes
from expkit.tensor.generated.reduction import along, place
from expkit.tensor.generated.reduction import reduction as by_kernel
from expkit.tensor.ops import special
from expkit.tensor.ops.convert import as_dtype, cast_p, floating
from expkit.tensor.ops.elementwise import add, choose, div, exp, log, maximum, minimum, sqrt, square, sub
from expkit.tensor.ops.index import gather_p
from expkit.tensor.ops.kinds import BOOL, expand_p, keep, reduced, reduction, reshape_p, sum_p
from expkit.tensor.ops.movement import dim_of, dims_of, flatten, pad_p, slice_p, squeeze
from expkit.tensor.ops.pointwise import eq_p, isnan_p, logical_or_p

INT = np.dtype(np.int64)

# ---- primitives ------------------------------------------------------------------------------------------------------


def _spread(g: Any, x: Any, axes: tuple[int, ...]) -> Any:
    return expand_p(keep(g, x, axes), shape=tuple(x.shape))


def _share(out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """1/n at each of the n places that attain the extremum, 0 elsewhere (NaN attains NaN)."""
    best = _spread(out, x, axes)
    hit = cast_p(logical_or_p(eq_p(x, best), isnan_p(x)), dtype=x.dtype)
    return hit / _spread(sum_p(hit, axes=axes), x, axes)


def _extremum_vjp(g: Any, out: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    return _spread(g, x, axes) * _share(out, x, axes)


def _extremum_push(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    return None if tangents[0] is None else sum_p(tangents[0] * _share(out, primals[0], kw["axes"]), axes=kw["axes"])


amax_p = reduction(
    "amax",
    by_kernel("amax", lambda x, *, axes: x.max(axes)),
    _extremum_vjp,
    jvp=_extremum_push,
)
amin_p = reduction(
    "amin",
    by_kernel("amin", lambda x, *, axes: x.min(axes)),
    _extremum_vjp,
    jvp=_extremum_push,
)
total_p = reduction(  # of whole numbers and bools, in int64
    "total",
    by_kernel("sum", lambda x, *, axes: x.sum(axes, INT), Step("cast", (Ref(0),), (("dtype", INT),))),
    dtype=INT,
)
square_sum_p = reduction(
    "square_sum",
    by_kernel("sum", special.widened(lambda x, *, axes: np.square(x).sum(axes, x.dtype)), Step("square", (Ref(0),))),
    lambda g, _out, x, *, axes: _spread(g, x, axes) * (x * 2),
    jvp=lambda tangents, _out, primals, kw: (
        None if tangents[0] is None else sum_p(tangents[0] * (primals[0] * 2), axes=kw["axes"])
    ),
)
any_p = reduction("any", lambda x, *, axes: x.any(axes), dtype=BOOL)
all_p = reduction("all", lambda x, *, axes: x.all(axes), dtype=BOOL)


def _argbatch(prim_name: str) -> Any:
    return lambda size, values, mapped, kw: _ARG[prim_name](values[0], axis=kw["axis"] + 1)


argmax_p, argmin_p = (
    Primitive(name, impl, lambda x, *, axis: reduced(x, (axis,), INT), batch=_argbatch(name))
    for name, impl in {
        "argmax": place("argmax", lambda x, *, axis: x.argmax(axis)),
        "argmin": place("argmin", lambda x, *, axis: x.argmin(axis)),
    }.items()
)
_ARG = {"argmax": argmax_p, "argmin": argmin_p}


def _running(x: Any, axis: int, backwards: bool) -> Any:
    """At each place along the axis the product of all elements before (after) it, in log2(n) rounds of doubling."""
    n = x.shape[axis]

    def moved(p: Any, k: int) -> Any:  # by k places, ones coming in
        kept, ones = ((k, n, 1), (0, k)) if backwards else ((0, n - k, 1), (k, 0))
        rest = slice_p(p, spans=tuple(kept if i == axis else (0, m, 1) for i, m in enumerate(p.shape)))
        return pad_p(rest, widths=tuple(ones if i == axis else (0, 0) for i in range(len(p.shape))), value=1)

    p, k = moved(x, 1) if n else x, 1
    while k < n:
        p, k = p * moved(p, k), 2 * k
    return p


def _others(x: Any, axis: int) -> Any:
    """The product of all other elements along the axis, exact where some are zero."""
    return _running(x, axis, False) * _running(x, axis, True)


def _prod_vjp(g: Any, _out: Any, x: Any, *, axis: int) -> Any:
    return keep(g, x, (axis,)) * _others(x, axis)


def _prod_push(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    return None if tangents[0] is None else sum_p(tangents[0] * _others(primals[0], kw["axis"]), axes=(kw["axis"],))


prod_p = Primitive(
    "prod",
    along("prod", special.widened(lambda x, *, axis: x.prod(axis, dtype=x.dtype))),
    lambda x, *, axis: reduced(x, (axis,)),
    _prod_vjp,
    jvp=_prod_push,
    batch=lambda size, values, mapped, kw: prod_p(values[0], axis=kw["axis"] + 1),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def _finish(x: Any, like: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    return apply1(reshape_p, x, shape=tuple(1 if i in axes else n for i, n in enumerate(like.shape))) if keepdim else x


@cache
def all_axes(ndim: int) -> tuple[int, ...]:
    """Every axis of an array."""
    return tuple(range(ndim))


def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum over `dim` (all dimensions where None). Integers and bools are summed in int64."""
    x = input if dtype is None else as_dtype(input, dtypes.get(dtype))
    raw = x.raw
    axes = all_axes(raw.ndim) if dim is None else dims_of(dim, raw.ndim)
    out = apply1(total_p if dtype is None and raw.dtype.kind in "biu" else sum_p, x, axes=axes)
    return _finish(out, x, axes, True) if keepdim else out


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod(shape[a] for a in axes)


def _wide(fn: Any) -> Any:
    """The function, computed in float32 for two-byte floats and rounded once."""

    @wraps(fn)
    def wrapped(input: Any, *args: Any, **kw: Any) -> Any:
        d = dtypes.of(input.raw)
        if d.itemsize > 2 or not d.is_floating_point or kw.get("dtype") is not None:
            return fn(input, *args, **kw)
        return as_dtype(fn(as_dtype(input, dtypes.float32), *args, **kw), d)

    return wrapped


@_wide
def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean over `dim`. TypeError for integers and bools unless a dtype is given."""
    x = input if dtype is None else as_dtype(input, dtypes.get(dtype))
    d = dtypes.of(x.raw)
    if not (d.is_floating_point or d.is_complex):
        raise TypeError(f"mean(): the input must be floating-point or complex, got {d}. Use .float() or dtype=.")
    axes = dims_of(dim, x.ndim)
    return _finish(div(apply1(sum_p, x, axes=axes), float(_count(x.shape, axes))), x, axes, keepdim)


@_wide
def var(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> Any:
    """The variance over `dim`: squared distances from the mean, divided by n - correction (1 unless given)."""
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    axes = dims_of(dim, input.ndim)
    centred = sub(input, mean(input, axes or None, keepdim=True))
    n = _count(input.shape, axes) - correction
    total = sum(square(centred), axes or None, keepdim)
    return div(total, float(n) if n > 0 else 0.0)


@_wide
def std(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> Any:
    """The standard deviation over `dim`."""
    return _safe_sqrt(var(input, dim, unbiased, keepdim, correction=correction))


def var_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Any, Any]:
    """(variance, mean) over `dim`."""
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


def _nonempty(input: Any, axes: tuple[int, ...], what: str) -> None:
    if 0 in [input.shape[a] for a in axes]:
        raise ShapeError(
            f"{what}(): cannot reduce over a dimension of size 0 (shape {tuple(input.shape)}): it has no identity"
        )


def _extremum(prim: Primitive, doc: str) -> Any:
    def fn(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        axes = dims_of(dim, input.ndim)
        _nonempty(input, axes, prim.name)
        return _finish(apply1(prim, input, axes=axes), input, axes, keepdim)

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


amax = _extremum(amax_p, "The largest element over `dim`; ties share the gradient evenly.")
amin = _extremum(amin_p, "The smallest element over `dim`; ties share the gradient evenly.")


def _arg(prim: Primitive, doc: str) -> Any:
    def fn(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is None:
            index = apply1(prim, flatten(input), axis=0)
            return index.reshape((1,) * input.ndim) if keepdim else index
        if input.ndim == 0:
            return apply1(prim, flatten(input), axis=0)
        at = dim_of(dim, input.ndim)
        _nonempty(input, (at,), prim.name)
        return _finish(apply1(prim, input, axis=at), input, (at,), keepdim)

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


argmax = _arg(argmax_p, "The index of the largest element (the first, at ties).")
argmin = _arg(argmin_p, "The index of the smallest element (the first, at ties).")


def _with_indices(name: str, whole: Any, arg: Any, pair: Any) -> Any:
    result = namedtuple(name, ["values", "indices"])

    def fn(input: Any, dim: Any = None, keepdim: bool = False, **kw: Any) -> Any:
        other = kw.pop("other", None)
        if kw:
            raise TypeError(f"{name}() got an unexpected keyword argument {next(iter(kw))!r}")
        if other is not None or hasattr(dim, "raw"):
            return pair(input, dim if other is None else other)
        if dim is None:
            return whole(input)
        if input.ndim == 0:
            return result(input.clone(), arg(input, 0))
        at = dim_of(dim, input.ndim)
        index = arg(input, at, keepdim=True)
        values = apply(gather_p, input, index, axis=at)
        return result(values, index) if keepdim else result(squeeze(values, at), squeeze(index, at))

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = (
        f"{name}(input): of all elements; {name}(input, dim): (values, indices); {name}(input, other): elementwise."
    )
    return fn


max = _with_indices("max", amax, argmax, maximum)
min = _with_indices("min", amin, argmin, minimum)


def _truth(prim: Primitive, doc: str) -> Any:
    def fn(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        x = as_dtype(input, dtypes.bool_)
        if dim is None or not isinstance(dim, list | tuple) or len(dim):  # unlike elsewhere, () means no dimension
            axes = dims_of(dim, x.ndim)
            x = _finish(apply1(prim, x, axes=axes), x, axes, keepdim)
        return as_dtype(x, dtypes.uint8) if input.dtype is dtypes.uint8 else x

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


any = _truth(any_p, "True where some element over `dim` is nonzero (uint8 for uint8, as in PyTorch).")
all = _truth(all_p, "True where every element over `dim` is nonzero (uint8 for uint8, as in PyTorch).")


def prod(input: Any, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The product over `dim` (of all elements where None)."""
    d = dtypes.get(dtype) if dtype is not None else dtypes.of(input.raw)
    if dtype is None and not (d.is_floating_point or d.is_complex):
        d = dtypes.int64
    x = as_dtype(input, d)
    if dim is None or x.ndim == 0:
        return apply1(prod_p, flatten(x), axis=0)
    at = dim_of(dim, x.ndim)
    return _finish(apply1(prod_p, x, axis=at), x, (at,), keepdim)


@_wide
def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """log(sum(exp(x))) over `dim`, without overflow."""
    x = floating(input)
    axes = dims_of(dim, x.ndim)
    if not _count(x.shape, axes):
        return log(sum(exp(x), axes or None, keepdim))
    top = amax(x, axes or None, keepdim=True).detach()
    top = choose(top.isfinite(), top, 0.0)
    total = add(log(sum(exp(sub(x, top)), axes or None, keepdim=True)), top)
    return total if keepdim else squeeze(total, axes) if axes else total


@_wide
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The vector p-norm over `dim` (p a number, "fro" = 2, or an infinity); its gradient is 0 where the norm is 0."""
    x = input if dtype is None else as_dtype(input, dtypes.get(dtype))
    if not (x.is_floating_point() or x.is_complex()):
        raise TypeError(f"norm(): expected a floating-point or complex tensor, got {x.dtype}. Use .float() or dtype=.")
    p = 2.0 if p in ("fro", None) else p
    if not isinstance(p, int | float):
        raise ValueError(f"norm(): p must be a number or 'fro', not {p!r}")
    if p in (math.inf, -math.inf):
        return (amax if p > 0 else amin)(x.abs(), dim, keepdim)
    if p == 0:
        return as_dtype(sum(x != 0, dim, keepdim), dtypes.of(x.raw))
    if p == 1:
        return sum(x.abs(), dim, keepdim)
    if p == 2:
        axes = dims_of(dim, x.ndim)
        total = sum(square(x), dim) if x.is_complex() else apply1(square_sum_p, x, axes=axes)
        return _finish(_safe_sqrt(total), x, axes, keepdim)
    total = sum(_safe_pow(x.abs(), p), dim, keepdim)
    if p < 0:  # one element of 0 is enough
        total = choose(amin(x.detach().abs(), dim, keepdim) == 0, 0.0, total)
    return _safe_pow(total, 1 / p)


def _safe_sqrt(x: Any) -> Any:
    """The square root with gradient 0 at 0 (the subgradient of the norm)."""
    zero = x == 0
    return choose(zero, 0.0, sqrt(choose(zero, 1.0, x)))


def _safe_pow(x: Any, p: float) -> Any:
    """x ** p for x >= 0, with gradient 0 at 0."""
    zero = x == 0
    return choose(zero, 0.0, choose(zero, 1.0, x) ** p)


def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements over `dim` are not zero."""
    return sum(input != 0, dim)
