"""Single elements by rank or frequency: median, mode, quantile, and the same without NaN."""

from collections import namedtuple
from math import nan
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.arguments import BOOLS, COMPLEX, dim_of, refuse
from expkit.tensor.ops.convert import as_dtype, constant
from expkit.tensor.ops.elementwise import add, ceil, choose, floor, isnan, mul, round, sub
from expkit.tensor.ops.index import gather_p, take_along_dim
from expkit.tensor.ops.movement import flatten, movedim, squeeze, unsqueeze
from expkit.tensor.ops.order import dropped, nonempty_size, order_p, ranked, sort
from expkit.tensor.ops.reduce import INT, all_axes, any, argmax_p, attained, sum
from expkit.tensor.ops.scan import accumulate
from expkit.tensor.ops.special import is_float
from expkit.tensor.ops.ternary import clamp

_Median, _NanMedian, _Mode = (namedtuple(name, ["values", "indices"]) for name in ("median", "nanmedian", "mode"))

# ---- primitives ------------------------------------------------------------------------------------------------------


def _nans(x: Any) -> Any:
    return x != x


def _rows(x: Any, axes: tuple[int, ...]) -> Any:
    """x with the reduced axes as the last one."""
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    return x.transpose(kept + axes).reshape((*(x.shape[a] for a in kept), -1))


def _ordered(rows: Any, start: int, stop: int) -> Any:
    return order_p.impl(rows, axis=rows.ndim - 1, descending=False, start=start, stop=stop)[0]


def _middle(x: Any, *, axes: tuple[int, ...]) -> Any:
    """The lower median; NaN where there is one."""
    rows = _rows(x, axes)
    rank = (rows.shape[-1] - 1) // 2
    found = _ordered(rows, rank, rank + 1)[..., 0]
    return xp_of(x).where(_nans(rows).any(-1), nan, found).astype(x.dtype) if is_float(x) else found


def _middle_number(x: Any, *, axes: tuple[int, ...]) -> Any:
    """The lower median of what is not NaN."""
    rows = _rows(x, axes)
    rank = xp_of(x).maximum((~_nans(rows)).sum(-1, keepdims=True) - 1, 0) // 2
    return xp_of(x).take_along_axis(_ordered(rows, 0, rows.shape[-1]), rank, -1)[..., 0]


median_p = attained("median", _middle, nans=True)
nanmedian_p = attained("nanmedian", _middle_number, nans=True)


def _mode_places(x: Any, *, axis: int) -> Any:
    """The place of the most frequent element (of several the smallest): its last one. The axis stays, with size 1."""
    xp, n = xp_of(x), x.shape[axis]
    values, places = order_p.impl(x, axis=axis, descending=False, start=0, stop=n)
    values, places = xp.moveaxis(values, axis, -1), xp.moveaxis(places, axis, -1)
    steps = xp.broadcast_to(xp.arange(n), values.shape)
    begins = xp.concatenate([xp.ones((*values.shape[:-1], 1), bool), values[..., 1:] != values[..., :-1]], -1)
    longest = (steps - accumulate(xp.where(begins, steps, 0), x.ndim - 1, "maximum")).argmax(-1)
    return xp.moveaxis(xp.take_along_axis(places, longest[..., None], -1), -1, axis)


mode_places_p = Primitive(
    "mode_places",
    _mode_places,
    lambda x, *, axis: Aval(tuple(1 if a == axis else n for a, n in enumerate(x.shape)), INT, x.device),
    batch=lambda size, values, mapped, kw: mode_places_p(values[0], axis=kw["axis"] + 1),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def _of_all(prim: Primitive, x: Any) -> Any:
    if x.numel():
        return apply1(prim, x, axes=all_axes(x.ndim))
    d = dtypes.of(x.raw)
    return x.new_full((), nan if d.is_floating_point else dtypes.iinfo(d).min)


def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of all elements, or (values, indices) along `dim`; NaN where there is one."""
    refuse(input, "median", BOOLS + COMPLEX)
    if dim is None:
        return _of_all(median_p, input)
    middle = (nonempty_size(input, dim, "median") - 1) // 2
    values, indices = ranked(input, dim, middle, middle + 1, False)
    if dtypes.of(input.raw).is_floating_point:  # NaN is the largest, and there the median
        line, at = (input if input.ndim else input.reshape(1)), dim_of(dim, input.ndim)
        top = unsqueeze(apply1(argmax_p, line, axis=at), at)
        indices = choose(isnan(apply(gather_p, line.detach(), top, axis=at)), top, indices)
        values = apply(gather_p, line, indices, axis=at)
    return _Median(*dropped(input, (values, indices), dim, keepdim))


def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """As median, of what is not NaN; NaN where nothing is left."""
    refuse(input, "nanmedian", BOOLS + COMPLEX)
    if dim is None:
        return _of_all(nanmedian_p, input)
    nonempty_size(input, dim, "nanmedian")
    line, at = (input if input.ndim else input.reshape(1)), dim_of(dim, input.ndim)
    rank = clamp(sub(sum(~isnan(line), at, True), 1), min=0) // 2
    values, places = ranked(line, at, 0, None, False)
    found = tuple(apply(gather_p, x, rank, axis=at) for x in (values, places))
    return _NanMedian(*dropped(input, found, dim, keepdim))


def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the most frequent element along `dim`, of several the smallest."""
    refuse(input, "mode", COMPLEX)
    nonempty_size(input, dim, "mode")
    line, at = (input if input.ndim else input.reshape(1)), dim_of(dim, input.ndim)
    index = apply1(mode_places_p, line, axis=at)
    return _Mode(*dropped(input, (apply(gather_p, line, index, axis=at), index), dim, keepdim))


_ROUNDED = {"lower": floor, "higher": ceil, "nearest": round}
_BETWEEN = ("linear", "midpoint")


def _quantile_arguments(what: str, input: Any, q: Any, interpolation: str) -> Any:
    """q as a tensor, everything checked."""
    d = dtypes.of(input.raw)
    if d not in (dtypes.float32, dtypes.float64):
        raise TypeError(f"{what}(): the input must be float32 or float64, got {d}")
    if interpolation not in _ROUNDED and interpolation not in _BETWEEN:
        known = ", ".join([*_BETWEEN, *_ROUNDED])
        raise ValueError(f"{what}(): interpolation must be one of {known}, not {interpolation!r}")
    if not isinstance(q, Handle):
        if not 0 <= q <= 1:
            raise ValueError(f"{what}(): q must lie in [0, 1], got {q}")
        q = constant(float(q), d, input)
    if q.ndim > 1 or dtypes.of(q.raw) is not d:
        raise ValueError(f"{what}(): q must be a number or vector of {d}, got {dtypes.of(q.raw)}{list(q.shape)}")
    if q.raw.__class__ is np.ndarray and not ((q.raw >= 0) & (q.raw <= 1)).all():
        raise ValueError(f"{what}(): the values of q must lie in [0, 1]")
    return q


def _quantile(what: str, input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, skip: bool) -> Any:
    q = _quantile_arguments(what, input, q, interpolation)
    at = None if dim is None else dim_of(dim, input.ndim)
    x = flatten(input) if at is None or not input.ndim else movedim(input, at, -1)
    if not x.shape[-1]:
        raise ValueError(f"{what}(): the input of shape {tuple(input.shape)} has no elements to take quantiles of")
    values = sort(x, -1).values
    last = x.shape[-1] - 1
    gaps = isnan(values)
    if skip:
        rank = clamp(mul(q.reshape(-1), sub(sum(~gaps, -1, True), 1)), min=0)
    else:  # NaN comes last in the order
        rank = choose(any(gaps, -1, True), float(last), mul(q.reshape(-1), last))
    out = _interpolated(values, rank, interpolation)
    if keepdim:
        shape = (1,) * input.ndim if at is None else tuple(1 if a == at else n for a, n in enumerate(input.shape))
        out = movedim(out, -1, 0).reshape(-1, *shape)
        return out if q.ndim else squeeze(out, 0)
    return movedim(out, -1, 0) if q.ndim else squeeze(out, -1)


def _interpolated(values: Any, rank: Any, interpolation: str) -> Any:
    """The values at fractional ranks along the last dimension."""
    if interpolation in _ROUNDED:
        return take_along_dim(values, as_dtype(_ROUNDED[interpolation](rank), dtypes.int64), -1)
    low = floor(rank).detach()
    below, above = (take_along_dim(values, as_dtype(r, dtypes.int64), -1) for r in (low, ceil(rank).detach()))
    part = 0.5 if interpolation == "midpoint" else sub(rank, low)
    if interpolation == "midpoint":
        return add(below, mul(sub(above, below), part))
    return below.lerp(above, part)


def quantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Any:
    """The q-quantiles (q in [0, 1], a number or vector, which comes in front) of all elements or over `dim`."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation, skip=False)


def nanquantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Any:
    """As quantile, of what is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, skip=True)
