"""Indexing by tensors: gather, scatter, advanced indices, masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle, wrap
from expkit.autograd.inplace import touch
from expkit.autograd.mode import MODE
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.determinism import alert
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import index as by_kernel
from expkit.tensor.generated.index import look, many, within
from expkit.tensor.ops.arguments import dim_of, require_tensor
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.elementwise import choose
from expkit.tensor.ops.kinds import broadcast_shapes, materialize, zeros_raw
from expkit.tensor.ops.memory_format import in_own_order
from expkit.tensor.ops.movement import expand, movedim, narrow, reshape, slice_p

# ---- primitives ------------------------------------------------------------------------------------------------------


def grid(xp: Any, index: Any, axis: int) -> tuple[Any, ...]:
    """An index for every axis: `index` on one, its own position on the others."""
    ndim = index.ndim
    return tuple(
        index if a == axis else xp.arange(n).reshape((n,) + (1,) * (ndim - 1 - a)) for a, n in enumerate(index.shape)
    )


def _gather(x: Any, index: Any, *, axis: int) -> Any:
    return x[grid(xp_of(x), index, axis)] if index.size else xp_of(x).empty(index.shape, x.dtype)


def _scatter_add(base: Any, index: Any, value: Any, *, axis: int) -> Any:
    new = base.copy()
    add_at(new, grid(xp_of(new), index, axis), value)
    return new


def _scatter(base: Any, index: Any, value: Any, *, axis: int) -> Any:
    new = base.copy()
    new[grid(xp_of(new), index, axis)] = value
    return new


def add_at(target: Any, index: Any, value: Any) -> None:
    """target[index] += value, repeated places counted; cupyx has it under another name than NumPy."""
    xp = xp_of(target)
    if target.__class__ is not np.ndarray:
        alert("adding several values into one place")
    (xp.add.at if hasattr(getattr(xp, "add", None), "at") else xp.scatter_add)(target, index, value)


def batched_index(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any], prim: Primitive) -> Any:
    return prim(*(materialize(size, v, m) for v, m in zip(values, mapped, strict=True)), axis=kw["axis"] + 1)


gather_p = Primitive(
    "gather",
    by_kernel.gather(_gather),
    lambda x, index, *, axis: Aval(index.shape, x.dtype, x.device),
    (lambda g, _out, _x, index, *, axis: scatter_add_p(zeros_raw(g, tuple(_x.shape)), index, g, axis=axis), None),
    jvp=lambda tangents, _out, primals, kw: None if tangents[0] is None else gather_p(tangents[0], primals[1], **kw),
    batch=lambda *args: batched_index(*args, gather_p),
)
scatter_add_p = Primitive(
    "scatter_add",
    by_kernel.scatter("add", _scatter_add),
    lambda base, index, value, *, axis: base,
    (
        lambda g, _out, _base, _index, _value, *, axis: g,
        None,
        lambda g, _out, _base, index, _value, *, axis: gather_p(g, index, axis=axis),
    ),
    jvp=lambda tangents, _out, primals, kw: scatter_add_p(
        _or_zeros(tangents[0], primals[0]), primals[1], _or_zeros(tangents[2], primals[2]), **kw
    ),
    batch=lambda *args: batched_index(*args, scatter_add_p),
)
scatter_p = Primitive(
    "scatter",
    by_kernel.scatter("put", _scatter),
    lambda base, index, value, *, axis: base,
    (
        lambda g, _out, _base, index, _value, *, axis: scatter_p(g, index, zeros_raw(g, tuple(index.shape)), axis=axis),
        None,
        lambda g, _out, _base, index, _value, *, axis: gather_p(g, index, axis=axis),
    ),
    jvp=lambda tangents, _out, primals, kw: scatter_p(
        _or_zeros(tangents[0], primals[0]), primals[1], _or_zeros(tangents[2], primals[2]), **kw
    ),
    batch=lambda *args: batched_index(*args, scatter_p),
)


def _or_zeros(t: Any, primal: Any) -> Any:
    return zeros_raw(primal) if t is None else t


# x[i0, :, i1] with index arrays of one shape on `axes`, slices elsewhere. Canonical: the indexed axes come first in the
# result, as NumPy does when a slice separates them; the function above moves them where they belong.


def _front(x: Any, axes: tuple[int, ...]) -> Any:
    """x with the indexed axes moved to the front, so that the key is plain (i0, i1, ...)."""
    return x.transpose(axes + tuple(a for a in range(x.ndim) if a not in axes))


def _take(x: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
    return _front(x, axes)[indices]


def _take_shape(x: Aval, *indices: Aval, axes: tuple[int, ...]) -> Aval:
    return Aval((*indices[0].shape, *(n for a, n in enumerate(x.shape) if a not in axes)), x.dtype, x.device)


def _placed(g: Any, *indices: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    new = xp_of(g).zeros(shape, g.dtype)
    add_at(_front(new, axes), indices, g)
    return new


def _placed_joint(g: Any, _out: Any, _g: Any, *indices: Any, axes: tuple[int, ...], **_kw: Any) -> tuple[Any, ...]:
    return (take_p(g, *indices, axes=axes), *(None for _ in indices))


def _placed_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    g, indices = materialize(size, values[0], mapped[0]), values[1:]
    axes, shape = tuple(a + 1 for a in kw["axes"]), (size, *kw["shape"])
    if not any(mapped[1:]):  # the batch is the first of the other axes
        return placed_p(movedim(g, 0, len(indices[0].shape)), *indices, axes=axes, shape=shape)
    rows, full = _batch_rows(size, indices, mapped[1:])
    return placed_p(g, rows, *full, axes=(0, *axes), shape=shape)


def _put_add(base: Any, value: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
    new = base.copy()
    add_at(_front(new, axes), indices, value)
    return new


def _put(base: Any, value: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
    new = base.copy()
    _front(new, axes)[indices] = value
    return new


def _take_joint(g: Any, _out: Any, _x: Any, *indices: Any, axes: tuple[int, ...]) -> tuple[Any, ...]:
    return (placed_p(g, *indices, axes=axes, shape=tuple(_x.shape)), *(None for _ in indices))


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
        return movedim(out, k, 0)
    rows, full = _batch_rows(size, indices, mapped[1:])
    return take_p(x, rows, *full, axes=(0, *(a + 1 for a in axes)))


def _batch_rows(size: int, indices: list[Any], mapped: list[bool]) -> tuple[Any, list[Any]]:
    """Index arrays with the batch in front, and the one that counts the batch."""
    full = [materialize(size, i, m) for i, m in zip(indices, mapped, strict=True)]
    shape = tuple(full[0].shape)
    xp = xp_of(getattr(full[0], "raw", full[0]))
    rows = wrap(xp.broadcast_to(xp.arange(size).reshape((size,) + (1,) * (len(shape) - 1)), shape))
    return rows, full


def _put_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any], prim: Primitive) -> Any:
    base, value = (materialize(size, v, m) for v, m in zip(values[:2], mapped[:2], strict=True))
    rows, full = _batch_rows(size, values[2:], mapped[2:])
    return prim(base, value, rows, *full, axes=(0, *(a + 1 for a in kw["axes"])))


def _put_push(prim: Any) -> Any:
    def jvp(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        return prim()(_or_zeros(tangents[0], primals[0]), _or_zeros(tangents[1], primals[1]), *primals[2:], **kw)

    return jvp


take_p = Primitive(
    "take", by_kernel.take(_take), _take_shape, joint=_take_joint, batch=_take_batch,
    jvp=lambda tangents, _out, primals, kw: None if tangents[0] is None else take_p(tangents[0], *primals[1:], **kw),
)  # fmt: skip


def put_directly(how: str, x: Any, value: Any, indices: Sequence[Any], axes: tuple[int, ...]) -> bool:
    """Puts (adds) the value at the indices in x itself, where that is a matter of memory alone; says if it did."""
    raws = [i.raw for i in indices]
    if MODE.special or any(raw.__class__ is not np.ndarray for raw in (x.raw, value.raw, *raws)):
        return False
    if MODE.grad and (x.requires_grad or value.requires_grad or (x.chain is not None and not x.chain.tracked)):
        return False
    if not x.raw.flags.writeable or not x.raw.size:
        return False
    by_kernel.put_into(how, x.raw, value.raw, raws, axes)
    touch(x)
    return True


placed_p = Primitive(  # zeros of `shape` with g added at the indices: the transpose of take
    "placed", by_kernel.placed(_placed), lambda g, *indices, axes, shape: Aval(shape, g.dtype, g.device),
    joint=_placed_joint, batch=_placed_batch,
    jvp=lambda tangents, _out, primals, kw: None if tangents[0] is None else placed_p(tangents[0], *primals[1:], **kw),
)  # fmt: skip
put_add_p = Primitive(
    "put_add", by_kernel.put("add", _put_add), lambda base, value, *indices, axes: base, joint=_put_add_joint,
    jvp=_put_push(lambda: put_add_p),
    batch=lambda *args: _put_batch(*args, put_add_p),
)  # fmt: skip
put_p = Primitive(
    "put", by_kernel.put("put", _put), lambda base, value, *indices, axes: base, joint=_put_joint,
    jvp=_put_push(lambda: put_p),
    batch=lambda *args: _put_batch(*args, put_p),
)  # fmt: skip
nonzero_p = Primitive(
    "nonzero", by_kernel.nonzero(lambda x: xp_of(x).stack(xp_of(x).nonzero(x), 1)), lambda x: x, dynamic=True
)


# ---- functions -------------------------------------------------------------------------------------------------------


def index_tensor(index: Any, what: str) -> Any:
    """The index, if it is a Tensor of integers. TypeError otherwise."""
    if not isinstance(index, Handle):
        raise TypeError(f"{what}: the index must be a Tensor of integers, got {type(index).__name__}")
    if dtypes.category(dtypes.of(index.raw)) != 1:
        raise TypeError(f"{what}: expected dtype int64 for index, got {dtypes.of(index.raw)}")
    return index


def in_bounds(index: Any, n: int, dim: int, what: str) -> Any:
    """The index, if it lies in [0, n). Not looked at on a GPU or under an interpreter."""
    raw = index.raw
    if raw.__class__ is np.ndarray and raw.size:
        look(raw, 0, n, dim, f"{what}: ")
    return index


def bounded(index: Any, n: int, dim: int, what: str) -> Any:
    """As in_bounds; many indices are looked at where they are used."""
    return index if many(index.raw) else in_bounds(index, n, dim, what)


def in_range(index: Any, n: int, axis: int) -> Any:
    """The index, if it lies in [-n, n), with what is negative counted from the end. Not looked at on a GPU."""
    raw = index.raw
    if raw.__class__ is not np.ndarray or raw.size == 0:  # on a GPU or under an interpreter values are not looked at
        return index + (index < 0).long() * n if raw.__class__ is not np.ndarray else index
    if many(raw):
        return index  # it is looked at where it is used, and may be negative there
    if within(raw, n):
        return index
    look(raw, -n, n, axis)
    return wrap(np.where(raw < 0, raw + n, raw))


@in_own_order
def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    """out[i][j] = input[index[i][j]][j] (for dim 0): picks along `dim`; index has input's rank."""
    index = index_tensor(index, "gather()")
    at = dim_of(dim, require_tensor(input, "gather()").ndim)
    if not index.numel() and index.ndim != input.ndim:
        return reshape(narrow(reshape(input, -1), 0, 0, 0), tuple(index.shape))
    if max(index.ndim, 1) != max(input.ndim, 1):
        raise ShapeError(
            f"Index tensor must have the same number of dimensions as input tensor ({index.ndim} and {input.ndim})"
        )
    if input.ndim == 0 or index.ndim == 0:
        out = gather(reshape(input, -1), 0, reshape(index, -1))
        return reshape(out, tuple(index.shape))
    if any(i > n for a, (i, n) in enumerate(zip(index.shape, input.shape, strict=True)) if a != at):
        raise ShapeError(
            f"gather: size of index {tuple(index.shape)} exceeds input {tuple(input.shape)} apart from dimension {at}"
        )
    return apply(gather_p, _cut(input, index, at), bounded(index, input.shape[at], at, "gather()"), axis=at)


def _cut(x: Any, index: Any, at: int) -> Any:
    """x narrowed to the index's sizes on all axes but one."""
    spans = tuple((0, n if a == at else index.shape[a], 1) for a, n in enumerate(x.shape))
    return x if all(b == n for (_, b, _), n in zip(spans, x.shape, strict=True)) else apply1(slice_p, x, spans=spans)


@in_own_order
def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """gather, with the other dimensions broadcast against each other."""
    indices = index_tensor(indices, "take_along_dim()")
    if dim is None:
        return gather(reshape(input, -1), 0, in_range(reshape(indices, -1), input.numel(), 0))
    at = dim_of(dim, require_tensor(input, "take_along_dim()").ndim)
    if input.ndim != indices.ndim:
        raise ShapeError(
            f"take_along_dim(): input and indices should have the same number of dimensions, but got {input.ndim} and "
            f"{indices.ndim}"
        )
    indices = in_range(indices, input.shape[at], at)
    shape = list(
        broadcast_shapes(
            tuple(n for a, n in enumerate(input.shape) if a != at),
            tuple(n for a, n in enumerate(indices.shape) if a != at),
        )
    )
    index = expand(indices, *shape[:at], indices.shape[at], *shape[at:])
    return gather(expand(input, *shape[:at], input.shape[at], *shape[at:]), at, index)


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """The indices of nonzero elements: (n, ndim), or a tuple of vectors."""
    require_tensor(input, "nonzero()")
    x = reshape(input, 1) if input.ndim == 0 else input
    found = apply1(nonzero_p, x)
    if input.ndim == 0:
        found = found[:, :0] if not as_tuple else found
    return tuple(found[:, i] for i in range(x.ndim)) if as_tuple else found


def argwhere(input: Any) -> Any:
    """The indices of nonzero elements: (n, ndim)."""
    return nonzero(input)


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, other elsewhere; all are broadcast. where(condition): its nonzero indices."""
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if input is None or other is None:
        raise TypeError("where(): takes a condition alone, or with both input and other")
    have = dtypes.of(require_tensor(condition, "where()").raw)
    if have is dtypes.uint8:  # PyTorch's old masks
        condition = as_dtype(condition, dtypes.bool_)
    elif have is not dtypes.bool_:
        raise TypeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {have}")
    return choose(condition, input, other)
