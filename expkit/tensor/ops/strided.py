"""Views by strides: view(), overlapping windows, as_strided, and memory read as another dtype."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from expkit.autograd.handle import ARRAYS, Aval, Value
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.arguments import dim_of, require_tensor, sizes, whole
from expkit.tensor.ops.index import placed_p, put_p, take_p
from expkit.tensor.ops.kinds import linear, materialize, reshape_p, zeros_raw
from expkit.tensor.ops.movement import alias_p, permute_p, reshape

# ---- windows ---------------------------------------------------------------------------------------------------------


def _windows(x: Any, *, axis: int, size: int, step: int) -> Any:
    count = (x.shape[axis] - size) // step + 1
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :], size)
    strides = (*x.strides[:axis], x.strides[axis] * step, *x.strides[axis + 1 :], x.strides[axis])
    out = xp_of(x).lib.stride_tricks.as_strided(x, shape, strides)
    if out.__class__ is np.ndarray and size > step and count > 1:
        out.flags.writeable = False  # an element is in several windows
    return out


def _windows_shape(x: Aval, *, axis: int, size: int, step: int) -> Aval:
    count = (x.shape[axis] - size) // step + 1
    return Aval((*x.shape[:axis], count, *x.shape[axis + 1 :], size), x.dtype, x.device)


def _unwindowed(g: Any, _x: Any, *, axis: int, size: int, step: int) -> Any:
    """Each element's gradients in all its windows, summed."""
    ndim, count = len(g.shape), g.shape[axis]
    front = permute_p(g, axes=(axis, ndim - 1, *(a for a in range(ndim - 1) if a != axis)))
    xp = xp_of(getattr(g, "raw", g))
    places = xp.arange(count)[:, None] * step + xp.arange(size)
    return placed_p(front, places, axes=(axis,), shape=tuple(_x.shape))


def _windows_batch(_size: int, kw: dict[str, Any]) -> dict[str, Any]:
    return {**kw, "axis": kw["axis"] + 1}


windows_p = linear("windows", _windows, _windows_shape, _unwindowed, batch_kw=_windows_batch, aliases=True)


def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """The view of all windows of `size` elements along a dimension, `step` apart; what is in a window comes last."""
    at = dim_of(dimension, input.ndim)
    size, step = whole(size, "unfold(): size"), whole(step, "unfold(): step")
    n = input.shape[at] if input.ndim else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {at} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if input.ndim == 0:
        return reshape(input, 1) if size else reshape(input, 1)[:0]
    return apply1(windows_p, input, axis=at, size=size, step=step)


# ---- any strides -----------------------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """Where the elements of an array lie in its storage: sizes, steps and offset, all in elements."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def reach(self) -> int:
        """How much storage it needs."""
        if 0 in self.size:
            return 0
        return self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True)) + 1

    def places(self, xp: Any) -> Any:
        """The place of each element in the storage."""
        ndim = len(self.size)
        out = xp.full(self.size, self.offset, np.int64)
        for axis, (n, step) in enumerate(zip(self.size, self.stride, strict=True)):
            out += (xp.arange(n) * step).reshape((n,) + (1,) * (ndim - 1 - axis))
        return out


def dense_layout(shape: Sequence[int]) -> Layout:
    """That of an array in the order of its shape."""
    shape = tuple(shape)
    return Layout(shape, tuple(math.prod(shape[a + 1 :]) for a in range(len(shape))), 0)


def layout_of(x: Any) -> Layout:
    """Where a raw array lies in the memory that it, or the array it looks into, owns."""
    owner = _owner(x)
    offset = 0 if owner is x else (_address(x) - _address(owner)) // x.itemsize
    return Layout(x.shape, tuple(s // x.itemsize for s in x.strides), offset)


def _owner(x: Any) -> Any:
    """The array whose memory x looks into."""
    return x if x.base is None or not hasattr(x.base, "strides") else x.base


def _address(x: Any) -> int:
    return x.ctypes.data if x.__class__ is np.ndarray else x.data.ptr


def _strided(x: Any, *, of: Layout, at: Layout) -> Any:
    """The elements at `at` of the storage in which x lies as `of` says."""
    strides, owner = tuple(s * x.itemsize for s in at.stride), _owner(x)
    memory = owner.transpose(sorted(range(owner.ndim), key=lambda a: -owner.strides[a]))
    if x.__class__ is not np.ndarray:
        return xp_of(x).lib.stride_tricks.as_strided(memory.reshape(-1)[at.offset :], at.size, strides)
    shift = (at.offset - of.offset) * x.itemsize
    out: Any = np.ndarray(at.size, x.dtype, memory, _address(x) - _address(owner) + shift, strides)
    if not x.flags.writeable or any(n > 1 and s == 0 for n, s in zip(at.size, strides, strict=True)):
        out.flags.writeable = False
    return out


def _stored(x: Any, of: Layout, length: int, lead: int = 0) -> Any:
    """A storage (..., length) with x at its places and zeros elsewhere; `lead` batch axes come first."""
    if of == dense_layout(of.size) and of.reach == length:
        return reshape_p(x, shape=(*x.shape[:lead], length))
    xp = xp_of(getattr(x, "raw", x))
    storage = zeros_raw(x, (*x.shape[:lead], length))
    front = permute_p(x, axes=(*range(lead, len(x.shape)), *range(lead)))
    return put_p(storage, front, of.places(xp), axes=(lead,))


def _read(storage: Any, at: Layout, lead: int = 0) -> Any:
    """The elements of a storage at the places of a layout."""
    n = len(at.size)
    out = take_p(storage, at.places(xp_of(getattr(storage, "raw", storage))), axes=(lead,))
    return permute_p(out, axes=(*range(n, n + lead), *range(n))) if lead else out


def _restrided(x: Any, of: Layout, at: Layout, lead: int = 0) -> Any:
    """As `_strided`, by index: for values that do not lie as `of` says."""
    return _read(_stored(x, of, max(of.reach, at.reach), lead), at, lead)


def _unstrided(g: Any, _x: Any, *, of: Layout, at: Layout) -> Any:
    """Gradients summed by place in the storage; elements of x that share a place share its gradient."""
    xp = xp_of(getattr(g, "raw", g))
    storage = placed_p(g, at.places(xp), axes=(0,), shape=(max(of.reach, at.reach),))
    out = _read(storage, of)
    shared = math.prod(n for n, step in zip(of.size, of.stride, strict=True) if step == 0)
    return out * (1 / shared) if shared > 1 else out


strided_p = Primitive(
    "as_strided",
    _strided,
    lambda x, *, of, at: Aval(at.size, x.dtype, x.device),
    lambda g, _out, _x, *, of, at: _unstrided(g, _x, of=of, at=at),
    jvp=lambda tangents, _out, _primals, kw: None if tangents[0] is None else _restrided(tangents[0], **kw),
    batch=lambda _size, values, _mapped, kw: _restrided(values[0], **kw, lead=1),
    aliases=True,
)


def _replaced(base: Any, value: Any, of: Layout, at: Layout, lead: int = 0) -> Any:
    xp = xp_of(getattr(base, "raw", base))
    storage = _stored(base, of, max(of.reach, at.reach), lead)
    front = permute_p(value, axes=(*range(lead, len(value.shape)), *range(lead)))
    return _read(put_p(storage, front, at.places(xp), axes=(lead,)), of, lead)


def _put_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    base, value = (materialize(size, v, m) for v, m in zip(values, mapped, strict=True))
    return _replaced(base, value, **kw, lead=1)


def _put_push(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    return put_strided_p(*(zeros_raw(p) if t is None else t for t, p in zip(tangents, primals, strict=True)), **kw)


put_strided_p = Primitive(
    "put_as_strided",
    _replaced,
    lambda base, _value, *, of, at: base,
    (
        lambda g, _out, _base, _value, *, of, at: _replaced(g, zeros_raw(g, at.size), of, at),
        lambda g, _out, _base, _value, *, of, at: _restrided(g, of, at),
    ),
    jvp=_put_push,
    batch=_put_batch,
)
strided_p.put = put_strided_p


def storage_offset(input: Any) -> int:
    """Where the tensor begins in the memory that it looks into, in elements."""
    raw = input.raw
    return layout_of(raw).offset if raw.__class__ in ARRAYS.raw_types else 0


def _layouts(x: Any, size: Any, stride: Any, storage_offset: Any, what: str) -> dict[str, Layout]:
    require_tensor(x, what)
    of = layout_of(x.raw) if x.raw.__class__ in ARRAYS.raw_types else dense_layout(x.shape)
    offset = of.offset if storage_offset is None else whole(storage_offset, f"{what}: storage_offset")
    at = Layout(sizes((size,)), sizes((stride,)), offset)
    if len(at.size) != len(at.stride):
        raise ShapeError(f"{what}: mismatch in length of strides and shape: {len(at.stride)} and {len(at.size)}")
    if min((*at.size, *at.stride, offset), default=0) < 0:
        raise ShapeError(
            f"{what}: sizes, strides and storage offset must not be negative, got {at.size}, {at.stride}, {offset}"
        )
    owner = x.raw if getattr(x.raw, "base", None) is None else x.raw.base
    room = getattr(owner, "nbytes", x.raw.dtype.itemsize * of.reach) // x.raw.dtype.itemsize
    if at.reach > room:
        raise ShapeError(
            f"{what}: sizes {list(at.size)}, strides {list(at.stride)} and storage offset {offset} need a storage of "
            f"{at.reach} elements, but this one has {room}"
        )
    return {"of": of, "at": at}


def as_strided(input: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    """The view of the tensor's storage with these sizes, strides and offset (the tensor's own, if not given).

    Under a transform there are no strides: the tensor counts as contiguous then, and the result is a copy.
    """
    kw: dict[str, Any] = _layouts(input, size, stride, storage_offset, "as_strided()")
    return _restrided(input, **kw) if isinstance(input.raw, Value) else apply1(strided_p, input, **kw)


def as_strided_scatter(input: Any, src: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    """A copy of the tensor with src written where as_strided() would look."""
    kw = _layouts(input, size, stride, storage_offset, "as_strided_scatter()")
    if tuple(require_tensor(src, "as_strided_scatter()").shape) != kw["at"].size:
        raise ShapeError(
            f"as_strided_scatter(): src must have the size of the slice, {list(kw['at'].size)}, not {list(src.shape)}"
        )
    return apply(put_strided_p, input, src, **kw)


# ---- the same memory in another shape or dtype -----------------------------------------------------------------------


def _reread(shape: tuple[int, ...], old: Any, new: Any) -> tuple[int, ...]:
    return (*shape[:-1], shape[-1] * np.dtype(old).itemsize // np.dtype(new).itemsize) if shape else shape


bitcast_p = linear(
    "bitcast",
    lambda x, *, dtype: x.view(dtype),
    lambda x, *, dtype: Aval(_reread(x.shape, x.dtype, dtype), dtype, x.device),
    None,
    batch_kw=lambda size, kw: kw,
    aliases=True,
)


def _bitcast(x: Any, d: dtypes.dtype) -> Any:
    old, new = x.dtype.itemsize, d.itemsize
    if old != new:
        if not x.ndim:
            raise RuntimeError(f"self.dim() cannot be 0 to view {x.dtype} as {d} (different element sizes)")
        strides = getattr(x.raw, "strides", None)
        if isinstance(strides, tuple) and x.shape[-1] != 1 and strides[-1] != old:
            raise RuntimeError(f"self.stride(-1) must be 1 to view {x.dtype} as {d} (different element sizes)")
        if (x.shape[-1] * old) % new:
            raise RuntimeError(
                f"self.size(-1) must be divisible by {new // old} to view {x.dtype} as {d} (different element sizes), "
                f"but got {x.shape[-1]}"
            )
    return apply1(alias_p, x) if x.dtype is d else apply1(bitcast_p, x, dtype=d.dtype)


def view(input: Any, *shape: Any, dtype: Any = None) -> Any:
    """As reshape, but never copies: ShapeError where the strides do not allow it. view(dtype): the bits as a dtype."""
    if dtype is None and len(shape) == 1 and isinstance(shape[0], dtypes.dtype | np.dtype):
        dtype, shape = shape[0], ()
    if dtype is not None:
        return _bitcast(input, dtypes.get(dtype))
    out = reshape(input, *shape)
    if out.raw.__class__ in ARRAYS.raw_types and out.raw.size and not ARRAYS.shares(input.raw, out.raw):
        raise ShapeError("view size is not compatible with input tensor's size and stride. Use .reshape(...) instead.")
    return out
