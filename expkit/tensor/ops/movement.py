"""Shape and layout: permute, slice, flip, pad, cat, diagonal and what is made of them. Views share memory."""

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.handle import ARRAYS, Aval, Handle
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply1
from expkit.errors import ShapeError
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import copy as by_kernel
from expkit.tensor.ops.arguments import dim_of, dims_of, given, infer_shape, numel, sizes, whole
from expkit.tensor.ops.kinds import linear, materialize, reshape_p, shifted, spread, zeros_raw

# ---- primitives ------------------------------------------------------------------------------------------------------


def _argsort(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


permute_p = linear(
    "permute",
    lambda x, *, axes: x.transpose(axes),
    lambda x, *, axes: Aval(tuple(x.shape[a] for a in axes), x.dtype, x.device),
    lambda g, _x, *, axes: permute_p(g, axes=_argsort(axes)),
    batch_kw=lambda size, kw: {"axes": (0, *shifted(kw["axes"]))},
    aliases=True,
)


def _slices(spans: tuple[tuple[int, int, int], ...]) -> tuple[slice, ...]:
    return tuple(slice(a, b, s) for a, b, s in spans)


def _slice_shape(x: Aval, *, spans: Any) -> Aval:
    return Aval(tuple(len(range(a, b, s)) for a, b, s in spans), x.dtype, x.device)


def _unslice(g: Any, shape: tuple[int, ...], spans: Any) -> Any:
    """g in its place in zeros."""
    if all(step == 1 for _, _, step in spans):
        return pad_p(g, widths=tuple((a, n - b) for n, (a, b, _) in zip(shape, spans, strict=True)), value=0)
    return slice_p.put(zeros_raw(g, shape), g, spans=spans)


slice_p = linear(  # spans: (start, stop, step) of each axis, start <= stop, step >= 1
    "slice",
    lambda x, *, spans: x[_slices(spans)],
    _slice_shape,
    lambda g, _x, *, spans: _unslice(g, tuple(_x.shape), spans),
    batch_kw=lambda size, kw: {"spans": ((0, size, 1), *kw["spans"])},
    aliases=True,
)


def _pad(x: Any, *, widths: tuple[tuple[int, int], ...], value: float) -> Any:
    wide = xp_of(x).full(tuple(n + lo + hi for n, (lo, hi) in zip(x.shape, widths, strict=True)), value, x.dtype)
    wide[tuple(slice(lo, lo + n) for n, (lo, _) in zip(x.shape, widths, strict=True))] = x
    return wide


def _unpad(g: Any, widths: Any) -> Any:
    return slice_p(g, spans=tuple((lo, n - hi, 1) for n, (lo, hi) in zip(g.shape, widths, strict=True)))


def _pad_batch(_size: int, values: list[Any], _mapped: list[bool], kw: dict[str, Any]) -> Any:
    return pad_p(values[0], widths=((0, 0), *kw["widths"]), value=kw["value"])


pad_p = Primitive(  # widths >= 0
    "pad",
    by_kernel.pad(_pad),
    lambda x, *, widths, value: Aval(
        tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)), x.dtype, x.device
    ),
    lambda g, _out, _x, *, widths, value: _unpad(g, widths),
    jvp=lambda tangents, _out, _primals, kw: (
        None if tangents[0] is None else pad_p(tangents[0], widths=kw["widths"], value=0)
    ),
    batch=_pad_batch,
)

flip_p = linear(
    "flip",
    by_kernel.flip(lambda x, *, axes: xp_of(x).flip(x, axes).copy()),
    lambda x, *, axes: x,
    lambda g, _x, *, axes: flip_p(g, axes=axes),
    batch_kw=lambda size, kw: {"axes": shifted(kw["axes"])},
)

diagonal_p = linear(
    "diagonal",
    lambda x, *, offset, axes: _writable(xp_of(x).diagonal(x, offset, *axes)),
    lambda x, *, offset, axes: Aval(_diagonal_shape(x.shape, offset, axes), x.dtype, x.device),
    lambda g, _x, **kw: diagonal_p.put(zeros_raw(g, tuple(_x.shape)), g, **kw),
    batch_kw=lambda size, kw: {"offset": kw["offset"], "axes": shifted(kw["axes"])},
    aliases=True,
)


def _writable(view: Any) -> Any:
    if view.__class__ is np.ndarray and view.base is not None and view.base.flags.writeable:
        view.flags.writeable = True  # NumPy's diagonal is read-only for historical reasons
    return view


def _diagonal_shape(shape: tuple[int, ...], offset: int, axes: tuple[int, int]) -> tuple[int, ...]:
    rows, columns = shape[axes[0]], shape[axes[1]]
    length = builtins.max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    return (*(n for i, n in enumerate(shape) if i not in axes), length)


copy_p = linear(
    "copy", by_kernel.clone(lambda x: x.copy("K")), lambda x: x, lambda g, _x: g, batch_kw=lambda size, kw: {}
)
alias_p = linear("alias", lambda x: x[...], lambda x: x, lambda g, _x: g, batch_kw=lambda size, kw: {}, aliases=True)
contiguous_p = linear(
    "contiguous",
    by_kernel.contiguously(lambda x: xp_of(x).ascontiguousarray(x)),
    lambda x: x,
    lambda g, _x: g,
    batch_kw=lambda size, kw: {},
)
overwrite_p = Primitive(  # the value, with base's place in the history
    "overwrite",
    lambda base, value: value.copy(),
    lambda base, value: base,
    (lambda g, _out, _base, _value: zeros_raw(g), lambda g, _out, _base, _value: g),
    jvp=lambda tangents, _out, primals, kw: zeros_raw(primals[1]) if tangents[1] is None else tangents[1],
    batch=lambda size, values, mapped, kw: materialize(size, values[1], mapped[1]),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def reshape(input: Any, *sizes_: Any, shape: Any = None) -> Any:
    """The same elements in another shape; a view where that is possible, else a copy. One size may be -1."""
    target = infer_shape(sizes(sizes_ if shape is None else (shape,)), numel(input.shape), "reshape")
    return apply1(reshape_p, input, shape=target)


def permute(input: Any, *order_: Any, dims: Any = None) -> Any:
    """A view with the dimensions in the order `dims`."""
    dims = given(order_, dims, "permute()")
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], list | tuple) else dims
    axes = tuple(dim_of(d, input.ndim) for d in order)
    if len(axes) != input.ndim or len(set(axes)) != len(axes):
        raise ShapeError(f"permute: {tuple(order)} is no order of the {input.ndim} dimensions")
    return apply1(permute_p, input, axes=axes)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """A view with two dimensions swapped."""
    axes = list(range(input.ndim))
    a, b = dim_of(dim0, input.ndim), dim_of(dim1, input.ndim)
    if not axes:
        return apply1(alias_p, input)
    axes[a], axes[b] = b, a
    return apply1(permute_p, input, axes=tuple(axes))


def t(input: Any) -> Any:
    """The transpose of a matrix (a vector or scalar stays as it is)."""
    if input.ndim > 2:
        raise ShapeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return transpose(input, 0, 1) if input.ndim == 2 else apply1(alias_p, input)


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Moves dimensions to other places; the rest keep their order."""
    src = [dim_of(d, input.ndim) for d in (source if isinstance(source, list | tuple) else (source,))]
    dst = [dim_of(d, input.ndim) for d in (destination if isinstance(destination, list | tuple) else (destination,))]
    if len(src) != len(dst) or len(set(src)) != len(src) or len(set(dst)) != len(dst):
        raise ShapeError(f"movedim: {source} and {destination} must name equally many distinct dimensions")
    rest = iter([d for d in range(input.ndim) if d not in src])
    place = dict(zip(dst, src, strict=True))
    return permute(input, tuple(place[i] if i in place else next(rest) for i in range(input.ndim)))


def expand(input: Any, *sizes_: Any, size: Any = None, implicit: bool = False) -> Any:
    """A view with axes of size one repeated; -1 keeps a size, new axes come in front."""
    target = sizes(given(sizes_, size, "expand()"))
    have = tuple(input.shape)
    if len(target) < len(have):
        raise ShapeError(f"expand: {list(target)} has fewer dimensions than the tensor's {list(have)}")
    lead = len(target) - len(have)
    full = tuple(have[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(target))
    for i, n in enumerate(full):
        if n < 0 or (i >= lead and have[i - lead] not in (1, n)):
            raise ShapeError(
                f"The expanded size of the tensor ({n}) must match the existing size "
                f"at dimension {i}: {list(have)} to {list(target)}"
            )
    return spread(input, full) if full != have else apply1(alias_p, input)


def broadcast_to(input: Any, size: Any) -> Any:
    """expand(), as a function."""
    return expand(input, *sizes((size,)))


def expand_as(input: Any, other: Any) -> Any:
    """expand() to the other tensor's shape."""
    if not isinstance(other, Handle):
        raise TypeError(f"expand_as(): expected a Tensor, got {type(other).__name__}")
    return expand(input, *other.shape)


def squeeze(input: Any, dim: Any = None) -> Any:
    """Drops dimensions of size one: all, or those named."""
    dims = () if isinstance(dim, list | tuple) and not dim else dims_of(dim, input.ndim)
    shape = tuple(n for i, n in enumerate(input.shape) if n != 1 or i not in dims)
    return apply1(reshape_p, input, shape=shape)


def unsqueeze(input: Any, dim: int) -> Any:
    """Inserts a dimension of size one at `dim`."""
    at = dim_of(dim, input.ndim + 1)
    shape = tuple(input.shape)
    return apply1(reshape_p, input, shape=(*shape[:at], 1, *shape[at:]))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Joins the dimensions from start_dim to end_dim into one."""
    a, b = dim_of(start_dim, input.ndim), dim_of(end_dim, input.ndim)
    if input.ndim == 0:
        return reshape(input, 1)
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    shape = tuple(input.shape)
    return apply1(reshape_p, input, shape=(*shape[:a], numel(shape[a : b + 1]), *shape[b + 1 :]))


def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """Splits one dimension into several; one of `sizes` may be -1."""
    at = dim_of(dim, input.ndim)
    shape = tuple(input.shape)
    inner = infer_shape(tuple(sizes), shape[at], "unflatten")
    return apply1(reshape_p, input, shape=(*shape[:at], *inner, *shape[at + 1 :]))


def narrow(input: Any, dim: int, start: int, length: int) -> Any:
    """The view of `length` elements from `start` along dim."""
    at = dim_of(dim, input.ndim)
    if input.ndim == 0:
        raise ShapeError("narrow() cannot be applied to a 0-dim tensor.")
    n, start, length = input.shape[at], whole(start, "narrow(): start"), whole(length, "narrow(): length")
    if length < 0:
        raise RuntimeError(f"narrow(): length must be non-negative, got {length}")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    first = start + n if start < 0 else start
    if first + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n})")
    spans = tuple((first, first + length, 1) if i == at else (0, k, 1) for i, k in enumerate(input.shape))
    return apply1(slice_p, input, spans=spans)


def select(input: Any, dim: int, index: int) -> Any:
    """The view at one index of a dimension, which is dropped."""
    at = dim_of(dim, input.ndim)
    if input.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    n, index = input.shape[at], whole(index, "select(): index")
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {at}"
        )
    return squeeze(narrow(input, at, index % n, 1), at)


def flip(input: Any, *order: Any, dims: Any = None) -> Any:
    """A copy with the order along `dims` reversed."""
    turned = sizes(given(order, dims, "flip()"))
    return apply1(flip_p, input, axes=dims_of(turned, input.ndim) if turned else ())


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The view of a diagonal of the plane of two dimensions, as the last dimension."""
    axes = (dim_of(dim1, input.ndim), dim_of(dim2, input.ndim))
    if axes[0] == axes[1]:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return apply1(diagonal_p, input, offset=whole(offset, "diagonal(): offset"), axes=axes)


def contiguous(input: Any) -> Any:
    """The tensor itself if it lies in memory in its own order, else a copy that does."""
    flags = getattr(input.raw, "flags", None)
    return input if flags is None or flags.c_contiguous else apply1(contiguous_p, input)


def clone(input: Any) -> Any:
    """A differentiable copy."""
    return apply1(copy_p, input)


def detach(input: Any) -> Any:
    """The same memory, cut off from the history."""
    out = ARRAYS.tensor.alias(input)
    return out
