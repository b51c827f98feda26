"""Reductions: sums, products, means, extrema and their places, truth."""

import math
from functools import cache
from typing import Any

import numpy as np

from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply1
from expkit.errors import RangeError, ShapeError
from expkit.kernels.cpu.loops.program import Ref, Step
from expkit.tensor import dtypes
from expkit.tensor.generated.reduction import along, place
from expkit.tensor.generated.reduction import reduction as by_kernel
from expkit.tensor.ops import special
from expkit.tensor.ops.arguments import BOOLS, COMPLEX, dim_of, dims_of, refuse, require_inexact
from expkit.tensor.ops.convert import as_dtype, cast_p, in_float32
from expkit.tensor.ops.elementwise import div
from expkit.tensor.ops.kinds import BOOL, expand_p, keep, reduced, reduction, reshape_p, sum_p
from expkit.tensor.ops.movement import flatten, pad_p, slice_p
from expkit.tensor.ops.pointwise import eq_p, isnan_p, logical_and_p, logical_or_p

INT = np.dtype(np.int64)

# ---- primitives ------------------------------------------------------------------------------------------------------


def spread_back(g: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """A reduced value at each of the places of x that it comes from."""
    return expand_p(keep(g, x, axes), shape=tuple(x.shape))


def _share(out: Any, x: Any, axes: tuple[int, ...], nans: bool) -> Any:
    """1/n at each of the n places that attain the value, 0 elsewhere. nans: NaN attains NaN, else it is nobody's."""
    best = spread_back(out, x, axes)
    hit = eq_p(x, best)
    if nans:
        hit = logical_or_p(hit, logical_and_p(isnan_p(x), isnan_p(best)))
    hit = cast_p(hit, dtype=x.dtype)
    return hit / spread_back(sum_p(hit, axes=axes), x, axes)


def attained(name: str, impl: Any, *, nans: bool) -> Primitive:
    """A reduction to a value of one of the elements; all elements equal to it share the gradient evenly."""

    def vjp(g: Any, out: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
        return spread_back(g, x, axes) * _share(out, x, axes, nans)

    def push(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        t, axes = tangents[0], kw["axes"]
        return None if t is None else sum_p(t * _share(out, primals[0], axes, nans), axes=axes)

    return reduction(name, impl, vjp, jvp=push)


_largest = by_kernel("amax", lambda x, *, axes: x.max(axes))
_smallest = by_kernel("amin", lambda x, *, axes: x.min(axes))
amax_p, amin_p = attained("amax", _largest, nans=False), attained("amin", _smallest, nans=False)
max_p, min_p = attained("max", _largest, nans=True), attained("min", _smallest, nans=True)
total_p = reduction(  # of whole numbers and bools, in int64
    "total",
    by_kernel("sum", lambda x, *, axes: x.sum(axes, INT), Step("cast", (Ref(0),), (("dtype", INT),))),
    dtype=INT,
)
square_sum_p = reduction(
    "square_sum",
    by_kernel("sum", special.widened(lambda x, *, axes: np.square(x).sum(axes, x.dtype)), Step("square", (Ref(0),))),
    lambda g, _out, x, *, axes: spread_back(g, x, axes) * (x * 2),
    jvp=lambda tangents, _out, primals, kw: (
        None if tangents[0] is None else sum_p(tangents[0] * (primals[0] * 2), axes=kw["axes"])
    ),
)
any_p = reduction("any", lambda x, *, axes: x.any(axes), dtype=BOOL)
all_p = reduction("all", lambda x, *, axes: x.all(axes), dtype=BOOL)


def _place(name: str, plain: Any) -> Primitive:
    prim = Primitive(
        name,
        place(name, plain),
        lambda x, *, axis: reduced(x, (axis,), INT),
        batch=lambda size, values, mapped, kw: prim(values[0], axis=kw["axis"] + 1),
    )
    return prim


argmax_p = _place("argmax", lambda x, *, axis: x.argmax(axis))
argmin_p = _place("argmin", lambda x, *, axis: x.argmin(axis))


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


def finish(x: Any, like: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    """A reduced tensor, with the reduced dimensions as ones where they are to stay."""
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
    return finish(out, x, axes, True) if keepdim else out


def count_of(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """How many elements are reduced to one."""
    return math.prod(shape[a] for a in axes)


@in_float32
def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean over `dim`. TypeError for integers and bools unless a dtype is given."""
    x = require_inexact(input if dtype is None else as_dtype(input, dtypes.get(dtype)), "mean()")
    axes = dims_of(dim, x.ndim)
    return finish(div(apply1(sum_p, x, axes=axes), float(count_of(x.shape, axes))), x, axes, keepdim)


def require_elements(input: Any, axes: tuple[int, ...], what: str) -> None:
    """An error where something without an identity would be reduced over no elements (RangeError names the dim)."""
    for a in axes:
        if not input.shape[a]:
            if len(axes) == input.ndim > 1:
                raise ShapeError(f"{what}(): the input of shape {tuple(input.shape)} has no elements; name a dim")
            raise RangeError(f"{what}(): dimension {a} of shape {tuple(input.shape)} has no elements to reduce")


def _extremum(prim: Primitive, doc: str) -> Any:
    def fn(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
        refuse(input, prim.name, COMPLEX)
        axes = dims_of(dim, input.ndim)
        require_elements(input, axes, prim.name)
        return finish(apply1(prim, input, axes=axes), input, axes, keepdim)

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


amax = _extremum(amax_p, "The largest element over `dim` (all where empty); ties share the gradient evenly.")
amin = _extremum(amin_p, "The smallest element over `dim` (all where empty); ties share the gradient evenly.")


def _arg(prim: Primitive, doc: str) -> Any:
    def fn(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        refuse(input, prim.name, BOOLS + COMPLEX)
        if dim is None:
            x = flatten(input)
            require_elements(x, (0,), prim.name)
            index = apply1(prim, x, axis=0)
            return index.reshape((1,) * input.ndim) if keepdim else index
        at = dim_of(dim, input.ndim)
        if input.ndim == 0:
            return apply1(prim, flatten(input), axis=0)
        require_elements(input, (at,), prim.name)
        return finish(apply1(prim, input, axis=at), input, (at,), keepdim)

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


argmax = _arg(argmax_p, "The index of the largest element (the first, at ties).")
argmin = _arg(argmin_p, "The index of the smallest element (the first, at ties).")


def _truth(prim: Primitive, doc: str) -> Any:
    def fn(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        x = as_dtype(input, dtypes.bool_)
        if dim is None or not isinstance(dim, list | tuple) or len(dim):  # unlike elsewhere, () means no dimension
            axes = dims_of(dim, x.ndim)
            x = finish(apply1(prim, x, axes=axes), x, axes, keepdim)
        return as_dtype(x, dtypes.uint8) if input.dtype is dtypes.uint8 else x

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc
    return fn


any = _truth(any_p, "True where some element over `dim` is nonzero (uint8 for uint8, as in PyTorch).")
all = _truth(all_p, "True where every element over `dim` is nonzero (uint8 for uint8, as in PyTorch).")


def prod(input: Any, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The product over `dim` (of all elements where None). Integers and bools are multiplied in int64."""
    d = dtypes.get(dtype) if dtype is not None else dtypes.of(input.raw)
    if dtype is None and not (d.is_floating_point or d.is_complex):
        d = dtypes.int64
    x = as_dtype(input, d)
    if dim is None:
        return apply1(prod_p, flatten(x), axis=0)
    at = dim_of(dim, x.ndim)
    if x.ndim == 0:
        return apply1(prod_p, flatten(x), axis=0)
    return finish(apply1(prod_p, x, axis=at), x, (at,), keepdim)


def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements over `dim` are not zero."""
    return sum(input != 0, dim)
