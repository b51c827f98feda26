"""x[key], x[key] = value, and what shares their way of reading a key."""

import math
from functools import wraps
from typing import Any

import numpy as np

from expkit.autograd.handle import ARRAYS, Handle, wrap
from expkit.autograd.mode import MODE
from expkit.autograd.tape import apply, apply1
from expkit.tensor import dtypes
from expkit.tensor.generated.index import look
from expkit.tensor.inplace import assign, copy_, inplace
from expkit.tensor.ops.arguments import dim_of, require_tensor
from expkit.tensor.ops.convert import as_dtype, constant, to_device_p
from expkit.tensor.ops.index import (
    in_bounds,
    in_range,
    index_tensor,
    nonzero,
    put_add_p,
    put_directly,
    put_p,
    take_p,
)
from expkit.tensor.ops.kinds import broadcast_shapes, reshape_p
from expkit.tensor.ops.memory_format import in_own_order
from expkit.tensor.ops.movement import alias_p, expand, movedim, reshape, slice_p, squeeze
from expkit.tensor.ops.scatter import index_add, masked_fill


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
    if isinstance(i, Handle) and i.raw.ndim == 0 and i.raw.dtype.kind == "i" and hasattr(i.raw, "item"):
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
        return as_dtype(i, dtypes.bool_) if i.raw.dtype == np.uint8 else i  # PyTorch's old masks
    raise TypeError(f"an index must be int, slice, None, Ellipsis, list or integer/bool Tensor, not {type(i).__name__}")


def _is_mask(i: Any) -> bool:
    return isinstance(i, Handle) and i.raw.dtype == bool


def _basic(x: Any, items: list[Any], *, merge: bool = False) -> tuple[Any, list[Any]]:
    """Applies ints, slices and None; returns the tensor and, for each of its axes, an index tensor or None.

    merge: the axes of a mask become one, for which one index is enough. (That can make a copy of x.)
    """
    spans: list[tuple[int, int, int]] = []
    shape: list[int] = []
    rest: list[Any] = []
    axis = 0
    for i in items:
        if i is None:
            shape.append(1)
            rest.append(None)
            continue
        if _is_mask(i):
            n = i.ndim
            if tuple(i.shape) != tuple(x.shape[axis : axis + n]):
                raise IndexError(
                    f"The shape of the mask {list(i.shape)} at index {axis} "
                    f"does not match the shape of the indexed tensor {list(x.shape)}"
                )
            spans += [(0, k, 1) for k in x.shape[axis : axis + n]]
            flat = merge and n > 1
            shape += [math.prod(i.shape)] if flat or n == 0 else i.shape
            rest += _mask_to_indices(reshape(i, -1) if flat else i)
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
    if (
        axes == tuple(range(axes[0], axes[0] + len(axes))) and axes[0] > 0
    ):  # side by side: the index axes take their place
        return movedim(out, tuple(range(k)), tuple(range(axes[0], axes[0] + k)))
    return out


def _checked(x: Any, places: dict[int, Any]) -> tuple[tuple[int, ...], list[Any]]:
    """Axes and their index tensors: broadcast to one shape, in range, non-negative."""
    shape = broadcast_shapes(*(tuple(i.shape) for i in places.values()))
    indices = []
    for axis, i in places.items():
        index = i if i.raw.dtype == np.int64 else as_dtype(i, dtypes.int64)
        if index.raw.__class__ is np.ndarray and x.raw.__class__ is not np.ndarray and index.raw.size:
            look(index.raw, -x.shape[axis], x.shape[axis], axis)  # here, where it does not wait for a GPU
        index = in_range(_beside(x, index), x.shape[axis], axis)
        indices.append(expand(index, *shape) if tuple(index.shape) != shape else index)
    return tuple(places), indices


def _beside(x: Any, value: Any) -> Any:
    """The value on x's device: indices, masks and single numbers in host memory serve tensors on a GPU."""
    if value.raw.__class__ is not np.ndarray or x.raw.__class__ is np.ndarray or x.device == value.device:
        return value
    return to_device_p(value, device=x.device)


def getitem(x: Any, key: Any) -> Any:
    """x[key]: ints, slices, None and Ellipsis give views; lists, index and mask tensors give copies."""
    if isinstance(key, Handle) and key.raw.dtype == np.int64 and key.ndim and x.ndim:  # rows, the most common key
        if key.raw.__class__ is not x.raw.__class__:
            return _advanced(x, {0: key})
        return apply(take_p, x, in_range(key, x.shape[0], 0), axes=(0,))
    base, rest = _basic(x, _expand_key(x, key), merge=True)
    places = {a: i for a, i in enumerate(rest) if i is not None}
    if places:
        return _advanced(base, places)
    return apply1(alias_p, x) if base is x else base


def setitem(x: Any, key: Any, value: Any) -> None:
    """x[key] = value, in place: broadcast to the place and converted to x's dtype."""
    items = _expand_key(x, key)
    if not isinstance(value, Handle):
        number = isinstance(value, bool | int | float | complex)
        value = constant(value, dtypes.of(x.raw), x) if number else ARRAYS.tensor.of(value, like=x)
    elif value.ndim == 0:
        value = _beside(x, value)
    mask = items[0] if items else None
    if mask is not None and value.ndim == 0 and _is_mask(mask) and tuple(mask.shape) == tuple(x.shape):
        copy_(x, masked_fill(x, _beside(x, mask), value))
        return
    base, rest = _basic(x, items)
    places = {a: i for a, i in enumerate(rest) if i is not None}
    if not places:
        copy_(base, _fit(value, tuple(base.shape)))
        return
    axes, indices = _checked(base, places)
    target = _advanced_shape(base, axes, indices[0])
    value = expand(as_dtype(_fit(value, target), dtypes.of(x.raw)), *target)
    if axes == tuple(range(axes[0], axes[0] + len(axes))) and axes[0] > 0:
        value = movedim(value, tuple(range(axes[0], axes[0] + indices[0].ndim)), tuple(range(indices[0].ndim)))
    if not put_directly("put", base, value, indices, axes):
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


@in_own_order
def index_select(input: Any, dim: int, index: Any) -> Any:
    """The entries at a 1-d index along `dim`."""
    at = dim_of(dim, input.ndim)
    index = index_tensor(index, "index_select()")
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if input.ndim == 0:
        return squeeze(index_select(reshape(input, 1), 0, index), 0)
    index = in_bounds(index if index.ndim else reshape(index, 1), input.shape[at], at, "index_select()")
    out = apply(take_p, input, as_dtype(index, dtypes.int64), axes=(at,))
    return movedim(out, 0, at) if at else out


def masked_select(input: Any, mask: Any) -> Any:
    """The elements where the mask holds, as a vector."""
    if dtypes.of(require_tensor(mask, "masked_select()").raw) is not dtypes.bool_:
        raise TypeError(f"masked_select(): expected a bool tensor as mask, got {mask.dtype}")
    shape = broadcast_shapes(tuple(require_tensor(input, "masked_select()").shape), tuple(mask.shape))
    return getitem(expand(input, *shape), expand(mask, *shape))


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False, *, _apply: Any = apply) -> Any:
    """A copy of input with values written (or added) at the index tensors."""
    if not isinstance(indices, list | tuple) or not indices:
        raise TypeError("index_put(): indices must be a tuple of at least one Tensor")
    if dtypes.of(require_tensor(values, "index_put()").raw) is not dtypes.of(require_tensor(input, "index_put()").raw):
        raise TypeError(f"index_put(): values must have the dtype of the tensor, {input.dtype}, not {values.dtype}")
    base, rest = _basic(input, _expand_key(input, tuple(indices)))
    places = {a: i for a, i in enumerate(rest) if i is not None}
    axes, index = _checked(base, places)
    value = expand(values, *_advanced_shape(base, axes, index[0]))
    return _apply(put_add_p if accumulate else put_p, base, value, *index, axes=axes)


def _apply_into(prim: Any, x: Any, value: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
    """As apply, for put and put_add; x itself where it could be done in its own memory."""
    how = "add" if prim is put_add_p else "put"
    return x if put_directly(how, x, value, indices, axes) else apply(prim, x, value, *indices, axes=axes)


def _in_place(fn: Any) -> Any:
    """`fn_`, which touches only what is indexed where nothing is recorded."""
    recorded = inplace(fn)

    def method(self: Any, *args: Any, **kw: Any) -> Any:
        needed = MODE.grad and any(isinstance(a, Handle) and a.requires_grad for a in (self, *args, *kw.values()))
        if MODE.special or needed:
            return recorded(self, *args, **kw)
        out = fn(self, *args, _apply=_apply_into, **kw)
        return self if out is self else assign(self, out)

    return wraps(recorded)(method)


index_add_, index_put_ = _in_place(index_add), _in_place(index_put)
