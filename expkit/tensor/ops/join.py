"""Joining, splitting, padding and repeating."""

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import copy as by_kernel
from expkit.tensor.ops.convert import promote
from expkit.tensor.ops.kinds import materialize, spread, zeros_raw
from expkit.tensor.ops.movement import (
    clone,
    dim_of,
    expand,
    flatten,
    narrow,
    reshape,
    select,
    sizes,
    slice_p,
    unsqueeze,
)  # fmt: skip

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


cat_p = Primitive(
    "cat",
    by_kernel.cat(lambda *xs, axis: xp_of(xs[0]).concatenate(xs, axis)),
    _cat_shape,
    joint=_cat_joint,
    jvp=_cat_push,
    batch=lambda size, values, mapped, kw: cat_p(
        *(materialize(size, v, m) for v, m in zip(values, mapped, strict=True)), axis=kw["axis"] + 1
    ),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Views of pieces of the given size (the last may be smaller) or of the given sizes."""
    at = dim_of(dim, tensor.ndim)
    n = tensor.shape[at]
    if isinstance(split_size_or_sections, list | tuple):
        lengths = list(split_size_or_sections)
        if builtins.sum(lengths) != n:
            raise RuntimeError(
                f"split expects split_sizes to sum exactly to {n} (the size at dimension {at}), but got {lengths}"
            )
    else:
        size = int(split_size_or_sections)
        if size < 0 or (size == 0 and n):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        lengths = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    starts = np.cumsum([0, *lengths]).tolist()
    return tuple(narrow(tensor, at, a, k) for a, k in zip(starts, lengths, strict=False))


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most `chunks` views of equal size (the last may be smaller)."""
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[dim_of(dim, input.ndim)]
    return split(input, builtins.max(-(-n // chunks), 1) if n else 1, dim) if n else (input,) * chunks


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """All views along a dimension, which is dropped."""
    return tuple(select(input, dim, i) for i in range(input.shape[dim_of(dim, input.ndim)]))


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Joins tensors along an existing dimension; all other sizes must agree."""
    if not tensors:
        raise RuntimeError("cat(): expected a non-empty list of Tensors")
    xs = list(tensors)
    if builtins.any(x.ndim > 1 for x in xs):  # PyTorch's legacy: an empty vector joins anything
        xs = [x for x in xs if tuple(x.shape) != (0,)]
    xs = promote(*xs)
    at = dim_of(dim, xs[0].ndim)
    if xs[0].ndim == 0:
        raise ShapeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    for i, x in enumerate(xs):
        if x.ndim != xs[0].ndim or any(
            a != b for k, (a, b) in enumerate(zip(x.shape, xs[0].shape, strict=True)) if k != at
        ):
            raise ShapeError(
                f"cat: sizes of tensors must match except in dimension {at}; "
                f"got {tuple(xs[0].shape)} and {tuple(x.shape)} (tensor {i})"
            )
    return apply(cat_p, *xs, axis=at)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Joins tensors of one shape along a new dimension."""
    if not tensors:
        raise RuntimeError("stack expects a non-empty list of Tensors")
    for i, x in enumerate(tensors):
        if tuple(x.shape) != tuple(tensors[0].shape):
            raise ShapeError(
                f"stack expects each tensor to be equal size, "
                f"but got {list(tensors[0].shape)} at entry 0 and {list(x.shape)} at entry {i}"
            )
    return cat([unsqueeze(x, dim) for x in tensors], dim_of(dim, tensors[0].ndim + 1))


def hstack(tensors: Sequence[Any]) -> Any:
    """Joins along dimension 1 (0 for vectors)."""
    xs = [reshape(x, 1) if x.ndim == 0 else x for x in tensors]
    return cat(xs, 0 if xs[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Any:
    """Joins along dimension 0, vectors as rows."""
    return cat([reshape(x, 1, -1) if x.ndim < 2 else x for x in tensors], 0)


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """A copy rotated along `dims` (flattened where none is given)."""
    if dims is None:
        return reshape(roll(flatten(input), shifts, 0), tuple(input.shape))
    shifts = shifts if isinstance(shifts, list | tuple) else (shifts,)
    dims = dims if isinstance(dims, list | tuple) else (dims,)
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    out = input
    for shift, dim in zip(shifts, dims, strict=True):
        n = input.shape[dim_of(dim, input.ndim)]
        k = shift % n if n else 0
        if k:
            out = cat([narrow(out, dim, n - k, k), narrow(out, dim, 0, n - k)], dim)
    return clone(out) if out is input else out


def repeat(input: Any, *repeats: Any) -> Any:
    """Copies of the tensor side by side, `repeats` times along each dimension."""
    times = sizes(repeats)
    if len(times) < input.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    shape = (1,) * (len(times) - input.ndim) + tuple(input.shape)
    inner = tuple(n for size in shape for n in (1, size))
    full = tuple(n for r, size in zip(times, shape, strict=True) for n in (r, size))
    return _copied(spread(reshape(input, inner), full), tuple(r * n for r, n in zip(times, shape, strict=True)))


def _copied(x: Any, shape: tuple[int, ...]) -> Any:
    """reshape, never as a view."""
    out = reshape(x, shape)
    return out if out.chain is None else clone(out)


def tile(input: Any, dims: Any) -> Any:
    """As repeat, with missing counts taken as one."""
    times = sizes((dims,))
    return repeat(input, *((1,) * (input.ndim - len(times)) + times))


def repeat_interleave(input: Any, repeats: int, dim: int | None = None) -> Any:
    """Each element `repeats` times in a row along dim (flattened where none is given)."""
    if dim is None:
        input, dim = flatten(input), 0
    at = dim_of(dim, input.ndim)
    shape = tuple(input.shape)
    wide = (*shape[: at + 1], repeats, *shape[at + 1 :])
    return _copied(expand(unsqueeze(input, at + 1), *wide), (*shape[:at], shape[at] * repeats, *shape[at + 1 :]))
