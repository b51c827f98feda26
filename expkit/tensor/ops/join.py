"""Joining tensors along dimensions that are there, or new ones."""

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle, wrap
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import copy as by_kernel
from expkit.tensor.ops.arguments import dim_of, require_tensor
from expkit.tensor.ops.convert import promote
from expkit.tensor.ops.kinds import materialize, zeros_raw
from expkit.tensor.ops.movement import pad_p, reshape, slice_p, unsqueeze
from expkit.tensor.ops.shape import atleast_1d, atleast_2d, atleast_3d

# ---- primitives ------------------------------------------------------------------------------------------------------


def _cat_shape(*xs: Aval, axis: int) -> Aval:
    shape = list(xs[0].shape)
    shape[axis] = builtins.sum(x.shape[axis] for x in xs)
    return Aval(tuple(shape), xs[0].dtype, xs[0].device)


def _cat_joint(g: Any, _out: Any, *_xs: Any, axis: int) -> list[Any]:
    parts, start = [], 0
    for x in _xs:
        n = x.shape[axis]
        parts.append(
            slice_p(g, spans=tuple((start, start + n, 1) if i == axis else (0, k, 1) for i, k in enumerate(g.shape)))
        )
        start += n
    return parts


def _cat_push(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    return cat_p(*(zeros_raw(p) if t is None else t for t, p in zip(tangents, primals, strict=True)), **kw)


def _joined(*xs: Any, axis: int) -> Any:
    """In the order of the shape, whatever the parts are in, unless all are in channels_last."""
    xp = xp_of(xs[0])
    found = xp.concatenate(xs, axis)
    return found if builtins.all(map(by_kernel.is_image_batch, xs)) else xp.ascontiguousarray(found)


cat_p = Primitive(
    "cat",
    by_kernel.cat(_joined),
    _cat_shape,
    joint=_cat_joint,
    jvp=_cat_push,
    batch=lambda size, values, mapped, kw: cat_p(
        *(materialize(size, v, m) for v, m in zip(values, mapped, strict=True)), axis=kw["axis"] + 1
    ),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Joins tensors along an existing dimension; all other sizes must agree."""
    xs = _listed(tensors, "cat()")
    first = xs[0]
    if not builtins.all(x.raw.dtype is first.raw.dtype for x in xs):
        xs = promote(*xs)
    if builtins.any(x.ndim != 1 for x in xs):  # PyTorch's legacy: an empty vector joins anything
        xs = [x for x in xs if tuple(x.shape) != (0,)]
        first = xs[0]
    elif not builtins.any(x.shape[0] for x in xs):
        dim = 0
    at = dim_of(dim, first.ndim)
    for i, x in enumerate(xs):
        if x.ndim == 0:
            raise ShapeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
        if x.ndim != first.ndim or builtins.any(
            a != b for k, (a, b) in enumerate(zip(x.shape, first.shape, strict=True)) if k != at
        ):
            raise ShapeError(
                f"cat: sizes of tensors must match except in dimension {at}; "
                f"got {tuple(first.shape)} and {tuple(x.shape)} (tensor {i})"
            )
    return apply(cat_p, *xs, axis=at)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Joins tensors of one shape along a new dimension."""
    xs = _listed(tensors, "stack()")
    for i, x in enumerate(xs):
        if tuple(x.shape) != tuple(xs[0].shape):
            raise ShapeError(
                f"stack expects each tensor to be equal size, "
                f"but got {list(xs[0].shape)} at entry 0 and {list(x.shape)} at entry {i}"
            )
    return cat([unsqueeze(x, dim) for x in xs], dim_of(dim, xs[0].ndim + 1))


def _listed(tensors: Sequence[Any], what: str) -> list[Any]:
    if isinstance(tensors, Handle) or not isinstance(tensors, list | tuple):
        raise TypeError(f"{what}: expected a list of Tensors, got {type(tensors).__name__}")
    if not tensors:
        raise RuntimeError(f"{what} expects a non-empty list of Tensors")
    return [require_tensor(x, what) for x in tensors]


def hstack(tensors: Sequence[Any]) -> Any:
    """Joins along dimension 1 (0 for vectors)."""
    xs = [atleast_1d(x) for x in _listed(tensors, "hstack()")]
    return cat(xs, 0 if xs[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Any:
    """Joins along dimension 0, vectors as rows."""
    return cat([atleast_2d(x) for x in _listed(tensors, "vstack()")], 0)


def dstack(tensors: Sequence[Any]) -> Any:
    """Joins along dimension 2, after making vectors and matrices three-dimensional."""
    return cat([atleast_3d(x) for x in _listed(tensors, "dstack()")], 2)


def column_stack(tensors: Sequence[Any]) -> Any:
    """Joins along dimension 1, vectors (and numbers) as columns."""
    return cat([x if x.ndim > 1 else reshape(x, -1, 1) for x in _listed(tensors, "column_stack()")], 1)


def block_diag(*tensors: Any) -> Any:
    """The matrix with the given matrices (vectors as rows, numbers as single elements) along its diagonal."""
    xs = [require_tensor(x, "block_diag()") for x in tensors]
    for i, x in enumerate(xs):
        if x.ndim > 2:
            raise ShapeError(f"block_diag: tensors must have 2 or fewer dimensions; tensor {i} has {x.ndim} dimensions")
    if not xs:
        return wrap(np.empty((1, 0), dtypes.get_default_dtype().dtype))
    blocks = [atleast_2d(x) for x in promote(*xs)]
    columns, rows, start = builtins.sum(x.shape[1] for x in blocks), [], 0
    for x in blocks:
        rows.append(apply1(pad_p, x, widths=((0, 0), (start, columns - start - x.shape[1])), value=0))
        start += x.shape[1]
    return cat(rows, 0)
