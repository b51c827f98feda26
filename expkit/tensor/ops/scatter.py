"""Writing, adding and reducing into copies of a tensor at indices along a dimension, and at masks."""

from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.arguments import dim_of, require_tensor
from expkit.tensor.ops.convert import as_dtype, constant
from expkit.tensor.ops.index import (
    batched_index,
    bounded,
    gather_p,
    grid,
    in_bounds,
    in_range,
    index_tensor,
    put_add_p,
    put_p,
    scatter_add_p,
    scatter_p,
    where,
)
from expkit.tensor.ops.kinds import zeros_raw
from expkit.tensor.ops.memory_format import in_own_order
from expkit.tensor.ops.movement import expand, movedim, overwrite_p, pad_p, reshape, slice_p
from expkit.tensor.ops.pointwise import eq_p, where_p

# ---- products and extrema of what meets in one place -----------------------------------------------------------------


def _at(ufunc: str, target: Any, places: Any, value: Any) -> None:
    """target[places] = ufunc(target[places], value), repeated places counted."""
    fn = getattr(xp_of(target), ufunc)
    if target.__class__ is np.ndarray:
        fn.at(target, places, value)
        return
    # elsewhere: sorted by place, a scan by doubling steps within each place; its last element has met all others
    xp = xp_of(target)
    flat = xp.ravel_multi_index(xp.broadcast_arrays(*places), target.shape).ravel()
    order = xp.argsort(flat)
    flat, value, line = flat[order], value.ravel()[order], target.reshape(-1)
    step = 1
    while step < flat.size:
        met = xp.where(flat[step:] == flat[:-step], fn(value[step:], value[:-step]), value[step:])
        value, step = xp.concatenate([value[:step], met]), 2 * step
    line[flat] = fn(line[flat], value[xp.searchsorted(flat, flat, side="right") - 1])


def _met(ufunc: str) -> Callable[..., Any]:
    def impl(base: Any, index: Any, value: Any, *, axis: int) -> Any:
        new = xp_of(base).ascontiguousarray(base).copy()
        _at(ufunc, new, grid(xp_of(new), index, axis), value)
        return new

    return impl


def _reducing(name: str, ufunc: str, weights: Callable[..., tuple[Any, Any]]) -> Primitive:
    """base with value reduced into it; `weights`: the derivatives of the result by each element that goes in."""

    def joint(g: Any, out: Any, base: Any, index: Any, value: Any, *, axis: int) -> tuple[Any, ...]:
        of_base, of_value = weights(out, base, index, value, axis)
        return g * of_base, None, gather_p(g, index, axis=axis) * of_value

    def jvp(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        base, index, value = primals
        of_base, of_value = weights(out, base, index, value, kw["axis"])
        start = zeros_raw(base) if tangents[0] is None else tangents[0] * of_base
        return start if tangents[2] is None else scatter_add_p(start, index, tangents[2] * of_value, **kw)

    prim = Primitive(
        name, _met(ufunc), lambda base, index, value, *, axis: base, joint=joint, jvp=jvp,
        batch=lambda *args: batched_index(*args, prim),
    )  # fmt: skip
    return prim


def _shares(out: Any, base: Any, index: Any, value: Any, axis: int) -> tuple[Any, Any]:
    """Of an extremum: those that reach it share its gradient."""
    one = zeros_raw(base) + 1
    mine = where_p(eq_p(base, out), one, zeros_raw(base))
    theirs = where_p(eq_p(value, gather_p(out, index, axis=axis)), zeros_raw(value) + 1, zeros_raw(value))
    count = scatter_add_p(mine, index, theirs, axis=axis)
    count = where_p(eq_p(count, zeros_raw(count)), one, count)  # NaN equals nothing
    return mine / count, theirs / gather_p(count, index, axis=axis)


def _others(_out: Any, base: Any, index: Any, value: Any, axis: int) -> tuple[Any, Any]:
    """Of a product: the product of all others in the place, which is no quotient where one of them is zero."""
    zero = eq_p(base, zeros_raw(base)), eq_p(value, zeros_raw(value))
    one = zeros_raw(base) + 1, zeros_raw(value) + 1
    safe = where_p(zero[0], one[0], base), where_p(zero[1], one[1], value)
    product = scatter_prod_p(safe[0], index, safe[1], axis=axis)
    none = zeros_raw(base), zeros_raw(value)
    count = scatter_add_p(
        where_p(zero[0], one[0], none[0]), index, where_p(zero[1], one[1], none[1]), axis=axis
    )  # how many zeros meet
    # the sum of those zeros is zero, but it has derivatives, which second derivatives are made of
    zeros = scatter_add_p(where_p(zero[0], base, none[0]), index, where_p(zero[1], value, none[1]), axis=axis)

    def rest(x: Any, zero: Any, safe: Any, one: Any, none: Any, product: Any, count: Any, zeros: Any) -> Any:
        single = eq_p(count, one)
        of_zero = where_p(single, product, where_p(eq_p(count, one + 1), (zeros - x) * product, none))
        quotient = product / safe
        return where_p(zero, of_zero, where_p(eq_p(count, none), quotient, where_p(single, zeros * quotient, none)))

    met = (product, count, zeros)
    return (
        rest(base, zero[0], safe[0], one[0], none[0], *met),
        rest(value, zero[1], safe[1], one[1], none[1], *(gather_p(m, index, axis=axis) for m in met)),
    )


scatter_prod_p = _reducing("scatter_prod", "multiply", _others)
scatter_amax_p = _reducing("scatter_amax", "maximum", _shares)
scatter_amin_p = _reducing("scatter_amin", "minimum", _shares)

# ---- along a dimension -----------------------------------------------------------------------------------------------


def _number(value: Any, like: Any) -> Any:
    return constant(value, dtypes.of(like.raw), like)


def _same_dtype(input: Any, src: Any, what: str) -> None:
    if dtypes.of(src.raw) is not dtypes.of(input.raw):
        raise TypeError(
            f"{what}: expected self.dtype to be equal to src.dtype, got {dtypes.of(input.raw)} and {dtypes.of(src.raw)}"
        )


def _fits(inner: Any, outer: Any, but: int = -1) -> bool:
    return all(i <= n for a, (i, n) in enumerate(zip(inner.shape, outer.shape, strict=True)) if a != but)


def _scattered(combine: Callable[..., Any], what: str, input: Any, dim: int, index: Any, src: Any) -> Any:
    """combine(input, index, src, axis) with operands of agreeing sizes: input and src may be larger than the index."""
    index = index_tensor(index, what)
    require_tensor(input, what)
    at = dim_of(dim, input.ndim)
    rank = max(input.ndim, 1)
    if max(index.ndim, 1) != rank or (isinstance(src, Handle) and max(src.ndim, 1) != rank):
        if not index.numel():
            return input.clone()
        raise ShapeError(f"{what}: index and src must have the {input.ndim} dimensions of the input")
    if input.ndim == 0 or index.ndim == 0 or (isinstance(src, Handle) and src.ndim == 0):
        parts = [reshape(x, 1) if isinstance(x, Handle) and x.ndim == 0 else x for x in (input, index, src)]
        return reshape(_scattered(combine, what, parts[0], 0, *parts[1:]), tuple(input.shape))
    if index.numel() and not _fits(index, input, at):
        raise ShapeError(f"{what}: the index {tuple(index.shape)} exceeds the input {tuple(input.shape)}")
    index = bounded(index, input.shape[at], at, what)
    if not isinstance(src, Handle):
        src = expand(_number(src, input), *index.shape)
    _same_dtype(input, src, what)
    if not _fits(index, src):
        raise ShapeError(f"{what}: the index {tuple(index.shape)} exceeds src {tuple(src.shape)}")
    if tuple(src.shape) != tuple(index.shape):
        src = apply1(slice_p, src, spans=tuple((0, n, 1) for n in index.shape))
    if all(index.shape[a] == n for a, n in enumerate(input.shape) if a != at):
        return combine(input, index, src, axis=at)
    inner = tuple((0, n if a == at else index.shape[a], 1) for a, n in enumerate(input.shape))
    part = combine(apply1(slice_p, input, spans=inner), index, src, axis=at)
    return apply(slice_p.put, input, part, spans=inner)


_OLD_REDUCE = {"add": "sum", "multiply": "prod"}


@in_own_order
def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """A copy of input with src (a tensor or number) written at the indices along `dim`.

    reduce: "add" or "multiply" combines it with what is there.
    """
    src = value if src is None else src
    if src is None:
        raise TypeError("scatter(): what is to be written is missing: give src or value")
    if reduce is None:
        return _scattered(scatter_p, "scatter()", input, dim, index, src)
    if reduce not in _OLD_REDUCE:
        raise RuntimeError(f"scatter(): reduce argument must be either add or multiply, got {reduce!r}")
    return _scattered(_combiner(_OLD_REDUCE[reduce], True), "scatter()", input, dim, index, src)


@in_own_order
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """A copy of input with src added at the indices along `dim`; repeated indices add up."""
    require_tensor(src, "scatter_add()")
    return _scattered(scatter_add_p, "scatter_add()", input, dim, index, src)


@in_own_order
def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """A copy of input with src combined into the places that the indices along `dim` name.

    reduce: "sum", "prod", "mean", "amax" or "amin"; include_self: whether input's own elements count there.
    """
    require_tensor(src, "scatter_reduce()")
    if reduce not in _REDUCE:
        raise RuntimeError(f"scatter_reduce(): reduce must be one of {', '.join(_REDUCE)}, got {reduce!r}")
    return _scattered(_combiner(reduce, include_self), "scatter_reduce()", input, dim, index, src)


_REDUCE = {
    "sum": scatter_add_p, "prod": scatter_prod_p, "mean": scatter_add_p, "amax": scatter_amax_p, "amin": scatter_amin_p
}  # fmt: skip


def _neutral(reduce: str, d: dtypes.dtype) -> Any:
    """What changes nothing: where a place begins without its own element."""
    if reduce in ("sum", "mean", "prod"):
        return int(reduce == "prod")
    low = reduce == "amax"
    if d is dtypes.bool_:
        return not low
    if d.is_floating_point:
        return -np.inf if low else np.inf
    return dtypes.iinfo(d).min if low else dtypes.iinfo(d).max


def _combiner(reduce: str, include_self: bool) -> Callable[..., Any]:
    def combine(input: Any, index: Any, src: Any, *, axis: int) -> Any:
        base = input
        if not include_self:
            start = expand(_number(_neutral(reduce, dtypes.of(input.raw)), input), *index.shape)
            base = apply(scatter_p, input, index, start, axis=axis)
        out = apply(_REDUCE[reduce], base, index, src, axis=axis)
        if reduce != "mean":
            return out
        count = zeros_raw(base.detach()) + 1
        if not include_self:
            count = apply(scatter_p, count, index, zeros_raw(src.detach()), axis=axis)
        count = apply(scatter_add_p, count, index, zeros_raw(src.detach()) + 1, axis=axis)
        whole = not (out.is_floating_point() or out.is_complex())
        return out.div(where(count == 0, _number(1, count), count), rounding_mode="floor" if whole else None)

    return combine


# ---- whole slices ----------------------------------------------------------------------------------------------------


def _slices(input: Any, dim: int, index: Any, source: Any, what: str) -> tuple[int, Any, Any]:
    """(axis, index as a vector, source with the indexed axis in front), all checked against each other."""
    require_tensor(source, what)
    at = dim_of(dim, require_tensor(input, what).ndim)
    index = index_tensor(index, what)
    if index.ndim > 1:
        raise IndexError(f"{what}: the index must be a vector, got {index.ndim} dimensions")
    _same_dtype(input, source, what)
    index = reshape(index, -1)
    expected = (*input.shape[:at], *index.shape, *input.shape[at + 1 :]) if input.ndim else tuple(index.shape)
    if tuple(source.shape) != expected and not (source.ndim == 0 and expected == (1,)):
        raise ShapeError(f"{what}: the source must have shape {expected} for this index, not {tuple(source.shape)}")
    size = input.shape[at] if input.ndim else 1
    return at, in_bounds(index, size, at, what), movedim(reshape(source, expected), at, 0)


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1, _apply: Any = apply) -> Any:
    """A copy of input with alpha * source added at a 1-d index along `dim`."""
    at, index, value = _slices(input, dim, index, source, "index_add()")
    value = value if alpha == 1 else value * _number(alpha, value)
    if input.ndim == 0:
        return reshape(apply(put_add_p, reshape(input, 1), value, index, axes=(0,)), ())
    return _apply(put_add_p, input, value, index, axes=(at,))


def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """A copy of input with source written at a 1-d index along `dim`."""
    at, index, value = _slices(input, dim, index, source, "index_copy()")
    x = input if input.ndim else reshape(input, 1)
    return reshape(apply(put_p, x, value, index, axes=(at,)), tuple(input.shape))


def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """A copy of input with source combined into it at a 1-d index along `dim`: "prod", "mean", "amax" or "amin"."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): reduce must be one of prod, mean, amax, amin, got {reduce!r}")
    at, index, value = _slices(input, dim, index, source, "index_reduce()")
    x = input if input.ndim else reshape(input, 1)
    src = movedim(value, 0, at)
    full = expand(reshape(index, -1, *(1,) * (x.ndim - 1 - at)), *src.shape)
    return reshape(_combiner(reduce, include_self)(x, full, src, axis=at), tuple(input.shape))


def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """A copy of input with one value (a number or 0-d tensor) at a 1-d index along `dim`."""
    at = dim_of(dim, require_tensor(input, "index_fill()").ndim)
    index = index_tensor(index, "index_fill()")
    if index.ndim > 1:
        raise IndexError(f"index_fill(): the index must be a vector, got {index.ndim} dimensions")
    v = _filling(input, value, "index_fill()")
    n = input.shape[at] if input.ndim else 1
    index = in_range(reshape(index, -1), n, at)
    marks = put_p(zeros_raw(index, (n,)), zeros_raw(index) + 1, index, axes=(0,)) > 0
    return where(reshape(marks, (n, *(1,) * (input.ndim - 1 - at)) if input.ndim else ()), v, input)


# ---- masks -----------------------------------------------------------------------------------------------------------


def _filling(input: Any, value: Any, what: str) -> Any:
    """The value as a 0-d tensor of input's dtype."""
    if isinstance(value, Handle):
        if value.ndim:
            raise ShapeError(f"{what}: the value must be a number or 0-d tensor, not of shape {tuple(value.shape)}")
        if value.is_complex() and not input.is_complex():
            raise RuntimeError(f"{what}: a complex value does not fit into {input.dtype}")
        return as_dtype(value, dtypes.of(input.raw))
    if isinstance(value, complex) and not input.is_complex():
        raise RuntimeError(f"{what}: a complex value does not fit into {input.dtype}")
    if not isinstance(value, bool | int | float | complex):
        raise TypeError(f"{what}: the value must be a number or 0-d tensor, not {type(value).__name__}")
    return _number(value, input)


def fill(input: Any, value: Any) -> Any:
    """A tensor like input with one value (a number or 0-d tensor) everywhere."""
    require_tensor(input, "fill()")
    return apply(overwrite_p, input, expand(_filling(input, value, "fill()"), *input.shape))


@in_own_order
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """value (a number or 0-d tensor) where the mask holds, input elsewhere."""
    if not isinstance(mask, Handle) or dtypes.of(mask.raw) is not dtypes.bool_:
        raise TypeError("masked_fill(): the mask must be a bool tensor")
    return where(mask, _filling(input, value, "masked_fill()"), input)


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """A copy of input with the first elements of source, one after the other, where the mask holds."""
    if not isinstance(mask, Handle) or dtypes.of(mask.raw) is not dtypes.bool_:
        raise TypeError("masked_scatter(): the mask must be a bool tensor")
    _same_dtype(input, require_tensor(source, "masked_scatter()"), "masked_scatter()")
    shape = np.broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    mask, x = expand(mask, *shape), expand(input, *shape)
    place = (reshape(mask, -1).long().cumsum(0) - 1).clamp(0)
    if mask.raw.__class__ is np.ndarray and int(np.count_nonzero(mask.raw)) > source.numel():
        raise RuntimeError(
            f"masked_scatter(): the mask asks for {np.count_nonzero(mask.raw)} elements, source has {source.numel()}"
        )
    padded = apply1(pad_p, reshape(source, -1), widths=((0, 1),), value=0)  # there is one even in an empty source
    chosen = apply(gather_p, padded, place.clamp(max=source.numel()), axis=0)
    return where(mask, reshape(chosen, shape), x)
