"""Indexing: gather, scatter, advanced indices, __getitem__ and __setitem__."""

from typing import Any

import numpy as np

from expkit.autograd.handle import ARRAYS, Aval, Handle, wrap
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.elementwise import where
from expkit.tensor.ops.kinds import broadcast_shapes, materialize, reshape_p, zeros_raw
from expkit.tensor.ops.movement import (
    alias_p, diagonal_p, dim_of, expand, movedim, reshape, slice_p, squeeze,
)  # fmt: skip

# ---- primitives ------------------------------------------------------------------------------------------------------


def _grid(xp: Any, index: Any, axis: int) -> tuple[Any, ...]:
    """An index for every axis: `index` on one, its own position on the others."""
    grid = xp.ogrid[tuple(slice(n) for n in index.shape)] if index.ndim > 1 else (index,)
    return tuple(index if a == axis else grid[a] for a in range(index.ndim))


def _gather(x: Any, index: Any, *, axis: int) -> Any:
    return x[_grid(xp_of(x), index, axis)] if index.size else xp_of(x).empty(index.shape, x.dtype)


def _scatter_add(base: Any, index: Any, value: Any, *, axis: int) -> Any:
    new = base.copy()
    add_at(new, _grid(xp_of(new), index, axis), value)
    return new


def _scatter(base: Any, index: Any, value: Any, *, axis: int) -> Any:
    new = base.copy()
    new[_grid(xp_of(new), index, axis)] = value
    return new


def add_at(target: Any, index: Any, value: Any) -> None:
    """target[index] += value, repeated places counted; cupyx has it under another name than NumPy."""
    xp = xp_of(target)
    (xp.add.at if hasattr(getattr(xp, "add", None), "at") else xp.scatter_add)(target, index, value)


def _batched_index(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any], prim: Primitive) -> Any:
    return prim(*(materialize(size, v, m) for v, m in zip(values, mapped, strict=True)), axis=kw["axis"] + 1)


gather_p = Primitive(
    "gather",
    _gather,
    lambda x, index, *, axis: Aval(index.shape, x.dtype, x.device),
    (lambda g, _out, _x, index, *, axis: scatter_add_p(zeros_raw(g, tuple(_x.shape)), index, g, axis=axis), None),
    jvp=lambda tangents, _out, primals, kw: None if tangents[0] is None else gather_p(tangents[0], primals[1], **kw),
    batch=lambda *args: _batched_index(*args, gather_p),
)
scatter_add_p = Primitive(
    "scatter_add",
    _scatter_add,
    lambda base, index, value, *, axis: base,
    (lambda g, _out, _base, _index, _value, *, axis: g, None, lambda g, _out, _base, index, _value, *, axis: gather_p(g, index, axis=axis)),
    jvp=lambda tangents, _out, primals, kw: scatter_add_p(_or_zeros(tangents[0], primals[0]), primals[1], _or_zeros(tangents[2], primals[2]), **kw),
    batch=lambda *args: _batched_index(*args, scatter_add_p),
)
scatter_p = Primitive(
    "scatter",
    _scatter,
    lambda base, index, value, *, axis: base,
    (
        lambda g, _out, _base, index, _value, *, axis: scatter_p(g, index, zeros_raw(g, tuple(index.shape)), axis=axis),
        None,
        lambda g, _out, _base, index, _value, *, axis: gather_p(g, index, axis=axis),
    ),
    jvp=lambda tangents, _out, primals, kw: scatter_p(_or_zeros(tangents[0], primals[0]), primals[1], _or_zeros(tangents[2], primals[2]), **kw),
    batch=lambda *args: _batched_index(*args, scatter_p),
)


def _or_zeros(t: Any, primal: Any) -> Any:
    return zeros_raw(primal) if t is None else t


# x[i0, :, i1] with index arrays of one shape on `axes`, slices elsewhere. Canonical: the indexed axes come first in the
# result, as NumPy does when a slice separates them; the function above moves them where they belong.


def _take_key(x: Any, axes: tuple[int, ...], indices: tuple[Any, ...]) -> tuple[Any, ...]:
    place = dict(zip(axes, indices, strict=True))
    return tuple(place.get(a, slice(None)) for a in range(x.ndim))


def _front(x: Any, axes: tuple[int, ...]) -> Any:
    """x with the indexed axes moved to the front, so that the key is plain (i0, i1, ...)."""
    return x.transpose(axes + tuple(a for a in range(x.ndim) if a not in axes))


def _take(x: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
    return _front(x, axes)[indices]


def _take_shape(x: Aval, *indices: Aval, axes: tuple[int, ...]) -> Aval:
    return Aval((*indices[0].shape, *(n for a, n in enumerate(x.shape) if a not in axes)), x.dtype, x.device)


def _put_add(base: Any, value: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
    new = base.copy()
    add_at(_front(new, axes), indices, value)
    return new


def _put(base: Any, value: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
    new = base.copy()
    _front(new, axes)[indices] = value
    return new


def _take_joint(g: Any, _out: Any, _x: Any, *indices: Any, axes: tuple[int, ...]) -> tuple[Any, ...]:
    return (put_add_p(zeros_raw(g, tuple(_x.shape)), g, *indices, axes=axes), *(None for _ in indices))


def _put_add_joint(g: Any, _out: Any, _base: Any, _value: Any, *indices: Any, axes: tuple[int, ...]) -> tuple[Any, ...]:
    return (g, take_p(g, *indices, axes=axes), *(None for _ in indices))


def _put_joint(g: Any, _out: Any, _base: Any, _value: Any, *indices: Any, axes: tuple[int, ...]) -> tuple[Any, ...]:
    value = take_p(g, *indices, axes=axes)
    return (put_p(g, zeros_raw(value), *indices, axes=axes), value, *(None for _ in indices))


def _take_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    x, indices, axes = materialize(size, values[0], mapped[0]), values[1:], kw["axes"]
    if not any(mapped[1:]):  # the batch axis stays a slice: it ends up behind the index axes
        out = take_p(x, *indices, axes=tuple(a + 1 for a in axes))
        k = len(indices[0].shape)
        return movedim_any(out, k, 0)
    rows, full = _batch_rows(size, x, indices, mapped[1:])
    return take_p(x, rows, *full, axes=(0, *(a + 1 for a in axes)))


def _batch_rows(size: int, like: Any, indices: list[Any], mapped: list[bool]) -> tuple[Any, list[Any]]:
    """Index arrays with the batch in front, and the one that counts the batch."""
    full = [materialize(size, i, m) for i, m in zip(indices, mapped, strict=True)]
    shape = tuple(full[0].shape)
    xp = xp_of(getattr(full[0], "raw", full[0]))
    rows = wrap(xp.broadcast_to(xp.arange(size).reshape((size,) + (1,) * (len(shape) - 1)), shape))
    return rows, full


def _put_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any], prim: Primitive) -> Any:
    base, value = (materialize(size, v, m) for v, m in zip(values[:2], mapped[:2], strict=True))
    rows, full = _batch_rows(size, base, values[2:], mapped[2:])
    return prim(base, value, rows, *full, axes=(0, *(a + 1 for a in kw["axes"])))


def _put_push(prim: Any) -> Any:
    def jvp(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        return prim()(_or_zeros(tangents[0], primals[0]), _or_zeros(tangents[1], primals[1]), *primals[2:], **kw)

    return jvp


take_p = Primitive(
    "take", _take, _take_shape, joint=_take_joint, batch=_take_batch,
    jvp=lambda tangents, _out, primals, kw: None if tangents[0] is None else take_p(tangents[0], *primals[1:], **kw),
)  # fmt: skip
put_add_p = Primitive(
    "put_add", _put_add, lambda base, value, *indices, axes: base, joint=_put_add_joint, jvp=_put_push(lambda: put_add_p),
    batch=lambda *args: _put_batch(*args, put_add_p),
)  # fmt: skip
put_p = Primitive(
    "put", _put, lambda base, value, *indices, axes: base, joint=_put_joint, jvp=_put_push(lambda: put_p),
    batch=lambda *args: _put_batch(*args, put_p),
)  # fmt: skip
nonzero_p = Primitive("nonzero", lambda x: xp_of(x).stack(xp_of(x).nonzero(x), 1), lambda x: x, dynamic=True)


def movedim_any(x: Any, source: int, destination: int) -> Any:
    return movedim(x, source, destination)


# ---- functions -------------------------------------------------------------------------------------------------------


def _index_tensor(index: Any, what: str) -> Any:
    if not isinstance(index, Handle):
        raise TypeError(f"{what}: the index must be a Tensor of integers, got {type(index).__name__}")
    if dtypes.category(dtypes.of(index.raw)) != 1:
        raise TypeError(f"{what}: expected dtype int64 for index, got {dtypes.of(index.raw)}")
    return index


def gather(input: Any, dim: int, index: Any) -> Any:
    """out[i][j] = input[index[i][j]][j] (for dim 0): picks along `dim`; index has input's rank."""
    index = _index_tensor(index, "gather()")
    if index.ndim != input.ndim:
        raise ShapeError(f"Index tensor must have the same number of dimensions as input tensor ({index.ndim} and {input.ndim})")
    if input.ndim == 0:
        return reshape(gather(reshape(input, 1), 0, reshape(index, 1)), ())
    at = dim_of(dim, input.ndim)
    if any(i > n for a, (i, n) in enumerate(zip(index.shape, input.shape, strict=True)) if a != at):
        raise ShapeError(f"gather: size of index {tuple(index.shape)} exceeds input {tuple(input.shape)} apart from dimension {at}")
    return apply(gather_p, _cut(input, index, at), index, axis=at)


def _cut(x: Any, index: Any, at: int) -> Any:
    """x narrowed to the index's sizes on all axes but one."""
    spans = tuple((0, n if a == at else index.shape[a], 1) for a, n in enumerate(x.shape))
    return x if all(b == n for (_, b, _), n in zip(spans, x.shape, strict=True)) else apply1(slice_p, x, spans=spans)


def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """gather, with the other dimensions broadcast against each other."""
    if dim is None:
        return gather(reshape(input, -1), 0, reshape(indices, -1))
    at = dim_of(dim, input.ndim)
    shape = list(broadcast_shapes(tuple(n for a, n in enumerate(input.shape) if a != at), tuple(n for a, n in enumerate(indices.shape) if a != at)))
    index = expand(indices, *shape[:at], indices.shape[at], *shape[at:])
    return gather(expand(input, *shape[:at], input.shape[at], *shape[at:]), at, index)


def _scatter_with(prim: Primitive, input: Any, dim: int, index: Any, src: Any) -> Any:
    index = _index_tensor(index, f"{prim.name}()")
    at = dim_of(dim, input.ndim)
    if not isinstance(src, Handle):
        src = expand(_number(src, input), *index.shape)
    if dtypes.of(src.raw) is not dtypes.of(input.raw):
        raise TypeError(f"{prim.name}(): expected self.dtype to be equal to src.dtype, got {dtypes.of(input.raw)} and {dtypes.of(src.raw)}")
    src = apply1(slice_p, src, spans=tuple((0, n, 1) for n in index.shape)) if tuple(src.shape) != tuple(index.shape) else src
    if all(index.shape[a] == n for a, n in enumerate(input.shape) if a != at):
        return apply(prim, input, index, src, axis=at)
    inner = tuple((0, n if a == at else index.shape[a], 1) for a, n in enumerate(input.shape))
    part = apply(prim, apply1(slice_p, input, spans=inner), index, src, axis=at)
    return apply(slice_p.put, input, part, spans=inner)


def _number(value: Any, like: Any) -> Any:
    from expkit.tensor.ops.convert import constant

    return constant(value, dtypes.of(like.raw), like)


def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None) -> Any:
    """A copy of input with src (a tensor or number) written at the indices along `dim`."""
    return _scatter_with(scatter_p, input, dim, index, value if src is None else src)


def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """A copy of input with src added at the indices along `dim`; repeated indices add up."""
    return _scatter_with(scatter_add_p, input, dim, index, src)


def index_select(input: Any, dim: int, index: Any) -> Any:
    """The entries at a 1-d index along `dim`."""
    at = dim_of(dim, input.ndim)
    return _advanced(input, {at: _index_tensor(index, "index_select()")})


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """A copy of input with alpha * source added at a 1-d index along `dim`."""
    at = dim_of(dim, input.ndim)
    value = movedim(source if alpha == 1 else source * alpha, at, 0)
    return apply(put_add_p, input, value, _index_tensor(index, "index_add()"), axes=(at,))


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """value where the mask holds, input elsewhere."""
    v = value if isinstance(value, Handle) else _number(value, input)
    return where(mask, as_dtype(v, dtypes.of(input.raw)), input)


def masked_select(input: Any, mask: Any) -> Any:
    """The elements where the mask holds, as a vector."""
    shape = broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    return getitem(expand(input, *shape), expand(mask, *shape))


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """The indices of nonzero elements: (n, ndim), or a tuple of vectors."""
    x = reshape(input, 1) if input.ndim == 0 else input
    found = apply1(nonzero_p, x)
    if input.ndim == 0:
        found = found[:, :0] if not as_tuple else found
    return tuple(found[:, i] for i in range(x.ndim)) if as_tuple else found


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle; zero above the given diagonal."""
    return where(_triangle(input, diagonal), input, _number(0, input))


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle; zero below the given diagonal."""
    return where(_triangle(input, diagonal - 1), _number(0, input), input)


def _triangle(x: Any, diagonal: int) -> Any:
    xp = xp_of(x.raw)
    return wrap(xp.tril(xp.ones(tuple(x.shape)[-2:], bool), diagonal))


def diag_embed(input: Any, offset: int = 0) -> Any:
    """Matrices with the last dimension on their diagonal."""
    n = input.shape[-1] + builtins_abs(offset)
    base = wrap(zeros_raw(input.raw, (*tuple(input.shape)[:-1], n, n)))
    return apply(diagonal_p.put, base, input, offset=offset, axes=(base.ndim - 2, base.ndim - 1))


def builtins_abs(x: int) -> int:
    return x if x >= 0 else -x


def diag(input: Any, diagonal: int = 0) -> Any:
    """The diagonal of a matrix, or the matrix with a given diagonal."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise ShapeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return apply1(diagonal_p, input, offset=diagonal, axes=(0, 1)).clone()


# ---- x[...] ----------------------------------------------------------------------------------------------------------


def _expand_key(x: Any, key: Any) -> list[Any]:
    """The key as a list with one entry an axis (and None for new ones): Ellipsis, missing axes, bool masks resolved."""
    items = list(key) if isinstance(key, tuple) else [key]
    items = [_as_index(i) for i in items]
    used = sum(0 if i is None or i is Ellipsis else i.ndim if _is_mask(i) else 1 for i in items)
    if used > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    if sum(1 for i in items if i is Ellipsis) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    where_rest = next((n for n, i in enumerate(items) if i is Ellipsis), None)
    fill = [slice(None)] * (x.ndim - used)
    items = items + fill if where_rest is None else items[:where_rest] + fill + items[where_rest + 1 :]
    return items


def _as_index(i: Any) -> Any:
    if isinstance(i, Handle) and i.raw.ndim == 0 and i.raw.dtype.kind in "iu" and hasattr(i.raw, "item"):
        return int(i.raw.item())
    if isinstance(i, list | range):
        i = np.asarray(i) if len(i) else np.zeros(0, np.int64)
    if isinstance(i, np.ndarray):
        return wrap(i if i.dtype == bool else i.astype(np.int64)) if i.ndim or i.dtype == bool else int(i)
    if isinstance(i, np.integer):
        return int(i)
    if isinstance(i, bool | np.bool_):
        return wrap(np.asarray(i, bool))
    if i is None or i is Ellipsis or isinstance(i, int | slice):
        return i
    if isinstance(i, Handle):
        if i.raw.dtype.kind not in "iub":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return i
    raise TypeError(f"an index must be int, slice, None, Ellipsis, list or integer/bool Tensor, not {type(i).__name__}")


def _is_mask(i: Any) -> bool:
    return isinstance(i, Handle) and i.raw.dtype == bool


def _basic(x: Any, items: list[Any]) -> tuple[Any, list[Any]]:
    """Applies ints, slices and None; returns the tensor and, for each of its axes, an index tensor or None."""
    spans, flips, shape, rest, axis = [], [], [], [], 0
    for i in items:
        if i is None:
            shape.append(1)
            rest.append(None)
            continue
        if _is_mask(i):
            n = i.ndim
            if tuple(i.shape) != tuple(x.shape[axis : axis + n]):
                raise IndexError(f"The shape of the mask {list(i.shape)} at index {axis} does not match the shape of the indexed tensor {list(x.shape)}")
            spans += [(0, k, 1) for k in x.shape[axis : axis + n]]
            if n == 0:
                shape.append(1)
            shape += x.shape[axis : axis + n]
            rest += list(_mask_to_indices(i))
            axis += n
            continue
        n = x.shape[axis]
        if isinstance(i, int):
            if not -n <= i < n:
                raise IndexError(f"index {i} is out of bounds for dimension {axis} with size {n}")
            spans.append((i % n, i % n + 1, 1))
        elif isinstance(i, slice):
            span = _span(i, n)
            spans.append(span)
            shape.append(len(range(*span)))
            rest.append(None)
        else:
            spans.append((0, n, 1))
            shape.append(n)
            rest.append(i)
        axis += 1
    if any(s != (0, n, 1) for s, n in zip(spans, x.shape, strict=True)):
        x = apply1(slice_p, x, spans=tuple(spans))
    if tuple(shape) != tuple(x.shape):
        x = apply1(reshape_p, x, shape=tuple(shape))
    del flips
    return x, rest


def _span(s: slice, n: int) -> tuple[int, int, int]:
    if s.step is not None and int(s.step) <= 0:
        raise ValueError("step must be greater than zero")
    start, stop, step = slice(*(None if v is None else int(v) for v in (s.start, s.stop, s.step))).indices(n)
    return start, max(start, stop), step


def _mask_to_indices(mask: Any) -> tuple[Any, ...]:
    found = nonzero(mask)
    if mask.ndim == 0:
        return (wrap(np.zeros(int(bool(mask.raw)), np.int64)),)
    return tuple(found[:, k] for k in range(mask.ndim))


def _advanced(x: Any, places: dict[int, Any]) -> Any:
    """x with index tensors on some axes; the result's index axes stand where PyTorch puts them."""
    axes, indices = _checked(x, places)
    out = apply(take_p, x, *indices, axes=axes)
    k = indices[0].ndim
    if axes == tuple(range(axes[0], axes[0] + len(axes))) and axes[0] > 0:  # side by side: the index axes take their place
        return movedim(out, tuple(range(k)), tuple(range(axes[0], axes[0] + k)))
    return out


def _checked(x: Any, places: dict[int, Any]) -> tuple[tuple[int, ...], list[Any]]:
    """Axes and their index tensors: broadcast to one shape, in range, non-negative."""
    shape = broadcast_shapes(*(tuple(i.shape) for i in places.values()))
    indices = []
    for axis, i in places.items():
        index = i if i.raw.dtype == np.int64 else as_dtype(i, dtypes.int64)
        index = _in_range(index, x.shape[axis], axis)
        indices.append(expand(index, *shape) if tuple(index.shape) != shape else index)
    return tuple(places), indices


def _in_range(index: Any, n: int, axis: int) -> Any:
    raw = index.raw
    if raw.__class__ is not np.ndarray or raw.size == 0:  # on a GPU or under an interpreter values are not looked at
        return index + (index < 0).long() * n if raw.__class__ is not np.ndarray else index
    low, high = int(raw.min()), int(raw.max())
    if low < -n or high >= n:
        raise IndexError(f"index {low if low < -n else high} is out of bounds for dimension {axis} with size {n}")
    return index if low >= 0 else wrap(np.where(raw < 0, raw + n, raw))


def getitem(x: Any, key: Any) -> Any:
    """x[key]: ints, slices, None and Ellipsis give views; lists, index and mask tensors give copies."""
    base, rest = _basic(x, _expand_key(x, key))
    places = {a: i for a, i in enumerate(rest) if i is not None}
    if places:
        return _advanced(base, places)
    return apply1(alias_p, x) if base is x else base


def setitem(x: Any, key: Any, value: Any) -> None:
    """x[key] = value, in place: broadcast to the place and converted to x's dtype."""
    from expkit.tensor.inplace import copy_

    base, rest = _basic(x, _expand_key(x, key))
    places = {a: i for a, i in enumerate(rest) if i is not None}
    if not isinstance(value, Handle):
        value = ARRAYS.tensor.of(value, like=x)  # type: ignore[attr-defined]
    if not places:
        copy_(base, _fit(value, tuple(base.shape)))
        return
    axes, indices = _checked(base, places)
    target = _advanced_shape(base, axes, indices[0])
    value = expand(as_dtype(_fit(value, target), dtypes.of(x.raw)), *target)
    if axes == tuple(range(axes[0], axes[0] + len(axes))) and axes[0] > 0:
        value = movedim(value, tuple(range(axes[0], axes[0] + indices[0].ndim)), tuple(range(indices[0].ndim)))
    copy_(base, apply(put_p, base, value, *indices, axes=axes))


def _advanced_shape(x: Any, axes: tuple[int, ...], index: Any) -> tuple[int, ...]:
    others = tuple(n for a, n in enumerate(x.shape) if a not in axes)
    if axes == tuple(range(axes[0], axes[0] + len(axes))):
        return (*others[: axes[0]], *index.shape, *others[axes[0] :])
    return (*index.shape, *others)


def _fit(value: Any, shape: tuple[int, ...]) -> Any:
    """The value with leading axes of size one dropped, as assignment allows."""
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = squeeze(value, 0)
    return value


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """A copy of input with values written (or added) at the index tensors."""
    base, rest = _basic(input, _expand_key(input, tuple(indices)))
    places = {a: i for a, i in enumerate(rest) if i is not None}
    axes, index = _checked(base, places)
    value = expand(values, *_advanced_shape(base, axes, index[0]))
    return apply(put_add_p if accumulate else put_p, base, value, *index, axes=axes)


