"""How often values occur: bincount, histc, histogram, histogramdd. None of them has a gradient."""

import builtins
from collections import namedtuple
from collections.abc import Sequence
from math import isfinite, prod
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError, TraceError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.arguments import require_floating, require_tensor
from expkit.tensor.ops.convert import as_dtype, constant
from expkit.tensor.ops.elementwise import add, choose, eq, floor, ge, le, logical_and, lt, mul, sub
from expkit.tensor.ops.kinds import materialize
from expkit.tensor.ops.movement import flatten
from expkit.tensor.ops.reduce import amax, amin, sum
from expkit.tensor.ops.scan import cumsum
from expkit.tensor.ops.search import searchsorted_p
from expkit.tensor.parts import array_of

_Histogram, _HistogramDD = (namedtuple(name, ["hist", "bin_edges"]) for name in ("histogram", "histogramdd"))


def _bincount(x: Any, *weights: Any, least: int) -> Any:
    return xp_of(x).bincount(x, *weights, minlength=least)


def _untraceable(_x: Any, *_weights: Any, least: int) -> Any:
    raise TraceError("bincount cannot be traced: the size of its result depends on values")


def _bincount_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    """All rows at once, each with a range of its own, as long as the longest needs."""
    x, *weights = (materialize(size, v, m) for v, m in zip(values, mapped, strict=True))
    raw = array_of(x, "bincount()")
    length = builtins.max(int(raw.max()) + 1 if raw.size else 0, kw["least"])
    rows = x + x.new_tensor(np.arange(size) * length).reshape(-1, 1)
    return bincount_p(flatten(rows), *map(flatten, weights), least=size * length).reshape(size, length)


bincount_p = Primitive("bincount", _bincount, _untraceable, batch=_bincount_batch)


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often (with what total weight) each of 0, 1, 2, ... occurs in a vector of whole numbers."""
    d = dtypes.of(require_tensor(input, "bincount").raw)
    if dtypes.category(d) != 1 or input.ndim != 1:
        raise RuntimeError(f"bincount(): expected a vector of integers, got {d}{list(input.shape)}")
    if minlength < 0:
        raise RuntimeError(f"bincount(): minlength must not be negative, got {minlength}")
    if input.raw.__class__ is np.ndarray and (input.raw < 0).any():
        raise RuntimeError("bincount(): an element is negative")
    x = as_dtype(input, dtypes.int64)
    if weights is None:
        return apply(bincount_p, x, least=int(minlength))
    if weights.shape != input.shape:
        raise ShapeError(f"bincount(): weights of shape {tuple(weights.shape)} for {tuple(input.shape)} elements")
    out = apply(bincount_p, x, as_dtype(weights.detach(), dtypes.float64), least=int(minlength))
    return as_dtype(out, dtypes.float32) if dtypes.of(weights.raw) is dtypes.float32 else as_dtype(out, dtypes.float64)


# ---- bins ------------------------------------------------------------------------------------------------------------


def _bins(what: str, bins: Any) -> int:
    if isinstance(bins, bool) or not isinstance(bins, int):
        raise TypeError(f"{what}(): bins must be an int, not {type(bins).__name__}")
    if bins < 1:
        raise RuntimeError(f"{what}(): bins must be positive, got {bins}")
    return bins


def _limits(what: str, x: Any, low: float, high: float) -> None:
    if not (isfinite(low) and isfinite(high)) or low > high:
        raise RuntimeError(f"{what}(): the range [{low}, {high}] must be finite and in order")


def _own_range(what: str, x: Any, margin: float) -> tuple[Any, Any]:
    """(least, largest) element, moved apart by the margin where they are equal; (0, 1) of no elements."""
    if not x.numel():
        return x.new_zeros(()), x.new_ones(())
    low, high = amin(x, 0), amax(x, 0)
    if x.raw.__class__ is np.ndarray and not np.isfinite(np.asarray([low.item(), high.item()])).all():
        raise RuntimeError(f"{what}(): the elements must be finite where no range is given")
    gap = as_dtype(eq(low, high), dtypes.of(x.raw)) * margin
    return low - gap, high + gap


def _counted(place: Any, inside: Any, bins: int, weight: Any = None) -> Any:
    """How many elements (how much weight) are at each place; those that are not inside count for nothing."""
    at = as_dtype(choose(inside, place, bins), dtypes.int64)
    each = inside.new_ones(*at.shape, dtype=dtypes.int64) if weight is None else weight
    return each.new_zeros(bins + 1).scatter_add(0, at, each)[:bins]


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements lie in each of equally wide bins from min to max (both equal: from the data's)."""
    x, bins = flatten(require_floating(input, "histc()").detach()), _bins("histc", bins)
    low: Any = float(min)
    high: Any = float(max)
    _limits("histc", x, low, high)
    if low == high:
        low, high = _own_range("histc", x, 1.0) if not low or x.numel() else (low - 1, high + 1)
    place = floor(mul(sub(x, low), bins) / (high - low)).clamp(max=bins - 1)
    return as_dtype(_counted(place, logical_and(ge(x, low), le(x, high)), bins), dtypes.of(x.raw))


def _edges(what: str, x: Any, bins: Any, limits: Any) -> Any:
    """The borders of the bins along one dimension."""
    if isinstance(bins, Handle):
        if limits is not None:
            raise TypeError(f"{what}(): a range goes with a number of bins, not with their edges")
        if bins.ndim != 1 or bins.shape[0] < 1 or dtypes.of(bins.raw) is not dtypes.of(x.raw):
            raise TypeError(f"{what}(): edges must be a vector of {dtypes.of(x.raw)}")
        return bins.detach().clone()
    count = _bins(what, bins)
    if limits is None:
        low, high = _own_range(what, x, 0.5)
    else:
        low, high = (constant(float(v), dtypes.of(x.raw), x) for v in limits)
        _limits(what, x, *map(float, limits))
        gap = 0.5 * (float(limits[0]) == float(limits[1]))
        low, high = low - gap, high + gap
    k = cumsum(x.new_ones(count + 1), 0) - 1
    step = (high - low) / count
    return choose(lt(k, (count + 1) // 2), add(low, mul(k, step)), sub(high, mul(sub(count, k), step)))


def _places(x: Any, edges: Any) -> tuple[Any, Any]:
    """(the bin of each element, whether it is in one); the last edge belongs to the last bin."""
    last = edges.shape[0] - 2
    place = apply(searchsorted_p, edges, x, right=True) - 1
    place = choose(eq(x, edges[-1]), last, place)
    return place, logical_and(ge(place, 0), le(place, last))


def _density(hist: Any, edges: Sequence[Any]) -> Any:
    volume = hist.new_ones(())
    for i, line in enumerate(edges):
        widths = line[1:] - line[:-1]
        volume = volume * widths.reshape(*(-1 if a == i else 1 for a in range(len(edges))))
    return hist / (sum(hist) * volume)


def histogram(input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False) -> Any:
    """(hist, bin_edges): how many elements (how much weight) in each bin; bins is their number, or their edges.

    density: divided by the total and the widths, so that the integral is 1.
    """
    x = flatten(require_floating(input, "histogram()").detach())
    edges = _edges("histogram", x, bins, range)
    d = dtypes.of(x.raw)
    hist = as_dtype(_counted(*_places(x, edges), edges.shape[0] - 1, _weight("histogram", input, weight)), d)
    return _Histogram(_density(hist, [edges]) if density else hist, edges)


def _weight(what: str, input: Any, weight: Any, inner: int = 0) -> Any:
    """The weights as a vector, or None; `inner` last dimensions of the input are no elements."""
    if weight is None:
        return None
    shape = tuple(input.shape[: input.ndim - inner])
    if tuple(weight.shape) != shape or weight.raw.dtype != input.raw.dtype:
        have = f"{dtypes.of(weight.raw)}{list(weight.shape)}"
        raise ShapeError(f"{what}(): weight must be {dtypes.of(input.raw)} of shape {list(shape)}, got {have}")
    return flatten(weight.detach())


def histogramdd(input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False) -> Any:
    """(hist, bin_edges) of points (..., d): bins is a number, one a dimension, or the edges of each.

    range: low and high of each dimension, one after the other.
    """
    x = require_floating(input, "histogramdd()").detach()
    if x.ndim < 2:
        raise ShapeError(f"histogramdd(): the input must have at least 2 dimensions, got shape {tuple(x.shape)}")
    d, n = dtypes.of(x.raw), x.shape[-1]
    points = x.reshape(prod(x.shape[:-1]), n)
    every = list(bins) if isinstance(bins, list | tuple) else [bins] * n
    if len(every) != n or (range is not None and len(range) != 2 * n):
        raise RuntimeError(f"histogramdd(): expected bins and range for {n} dimensions, got {len(every)}")
    limits = [None] * n if range is None else [range[2 * i : 2 * i + 2] for i in np.arange(n)]
    edges = [_edges("histogramdd", points[:, i], b, lim) for i, (b, lim) in enumerate(zip(every, limits, strict=True))]
    shape = [e.shape[0] - 1 for e in edges]
    flat, inside = _places(points[:, 0], edges[0])
    for i, size in enumerate(shape[1:], 1):
        place, within = _places(points[:, i], edges[i])
        flat, inside = flat * size + place, logical_and(inside, within)
    hist = as_dtype(_counted(flat, inside, prod(shape), _weight("histogramdd", input, weight, 1)), d).reshape(*shape)
    return _HistogramDD(_density(hist, edges) if density else hist, tuple(edges))
