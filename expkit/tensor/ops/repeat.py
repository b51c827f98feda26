"""Repeating and rotating: results that hold each element several times, or all of them in another order."""

from typing import Any

from expkit.autograd.handle import Handle, Value
from expkit.autograd.tape import apply1
from expkit.autograd.vmap import by_element
from expkit.errors import ShapeError
from expkit.tensor.ops.arguments import dim_of, dims_of, given, require_tensor, sizes, whole
from expkit.tensor.ops.index import index_tensor
from expkit.tensor.ops.join import cat
from expkit.tensor.ops.kinds import spread
from expkit.tensor.ops.memory_format import in_own_order
from expkit.tensor.ops.movement import (
    clone,
    contiguous,
    expand,
    flatten,
    flip,
    flip_p,
    narrow,
    reshape,
    transpose,
    unsqueeze,
)
from expkit.tensor.ops.subscript import index_select


@in_own_order
def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """A copy rotated along `dims` (flattened where none is given)."""
    require_tensor(input, "roll()")
    shifts = shifts if isinstance(shifts, list | tuple) else (shifts,)
    if dims is None or (isinstance(dims, list | tuple) and not dims):
        if len(shifts) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims: 0")
        return reshape(roll(flatten(input), shifts, 0), tuple(input.shape))
    dims = dims if isinstance(dims, list | tuple) else (dims,)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims: {len(dims)}")
    if input.ndim == 0:
        raise IndexError(f"roll: dims {list(dims)} are given, but the tensor has no dimensions")
    out = input
    for shift, dim in zip(shifts, dims, strict=True):
        n = input.shape[dim_of(dim, input.ndim)]
        k = whole(shift, "shifts") % n if n else 0
        if k:
            out = cat([narrow(out, dim, n - k, k), narrow(out, dim, 0, n - k)], dim)
    return clone(out) if out is input else out


def repeat(input: Any, *times_: Any, repeats: Any = None) -> Any:
    """Copies of the tensor side by side, `repeats` times along each dimension."""
    times = sizes(given(times_, repeats, "repeat()"))
    if len(times) < input.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(n < 0 for n in times):
        raise ShapeError(f"repeat: the number of copies must not be negative, got {list(times)}")
    shape = (1,) * (len(times) - input.ndim) + tuple(input.shape)
    inner = tuple(n for size in shape for n in (1, size))
    full = tuple(n for r, size in zip(times, shape, strict=True) for n in (r, size))
    return _copied(spread(reshape(input, inner), full), tuple(r * n for r, n in zip(times, shape, strict=True)))


def _copied(x: Any, shape: tuple[int, ...]) -> Any:
    """reshape, never as a view."""
    out = reshape(x, shape)
    return out if out.chain is None else clone(contiguous(out))


def tile(input: Any, *times_: Any, dims: Any = None) -> Any:
    """As repeat, with missing counts taken as one."""
    times = sizes(given(times_, dims, "tile()"))
    return repeat(input, *((1,) * (input.ndim - len(times)) + times))


def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Each element `repeats` times in a row along dim (flattened where none is given).

    repeats: a number, or a vector with a number for each element. repeat_interleave(repeats) gives the indices of that.
    """
    require_tensor(input, "repeat_interleave()")
    if repeats is None:
        if input.ndim != 1:
            raise ShapeError("repeat_interleave: the repeats must be a vector")
        return _places(input, input.shape[0], output_size)
    if dim is None:
        input, dim = flatten(input), 0
    if input.ndim == 0:
        raise IndexError(f"repeat_interleave: dim {dim} is given, but the tensor has no dimensions")
    at = dim_of(dim, input.ndim)
    if isinstance(repeats, Handle):
        return index_select(input, at, _places(repeats, input.shape[at], output_size))
    count = whole(repeats, "repeats")
    if count < 0:
        raise RuntimeError("Repeats must be non-negative")
    shape = tuple(input.shape)
    _expect(output_size, shape[at] * count)
    wide = (*shape[: at + 1], count, *shape[at + 1 :])
    return _copied(expand(unsqueeze(input, at + 1), *wide), (*shape[:at], shape[at] * count, *shape[at + 1 :]))


def _expect(output_size: int | None, size: int) -> None:
    if output_size is not None and output_size != size:
        raise RuntimeError(f"allocated size does not match required size: output_size={output_size}, needed {size}")


@by_element
def _places(repeats: Any, n: int, output_size: int | None) -> Any:
    """0 repeated repeats[0] times, 1 repeats[1] times, ...; a single number stands for all."""
    index_tensor(repeats, "repeat_interleave()")
    if repeats.ndim > 1 or (repeats.ndim == 1 and repeats.shape[0] not in (1, n)):
        raise RuntimeError(
            f"repeat_interleave: repeats must be 0-d or a vector of {n} numbers, got shape {tuple(repeats.shape)}"
        )
    counts = expand(repeats.long(), n)
    if output_size is None or not isinstance(repeats.raw, Value):
        if n and int(counts.min()) < 0:
            raise RuntimeError("repeats can not be negative")
        total = int(counts.sum())
        _expect(output_size, total)
    else:  # under a transform the values are not there to be looked at
        total = whole(output_size, "repeat_interleave(): output_size")
    ends = counts.cumsum(0)
    # position p belongs to the first element whose end lies behind p: count the ends up to each position
    marks = ends.new_zeros(total + 1).index_add(0, ends, ends.new_ones(n))
    out = narrow(marks.cumsum(0), 0, 0, total)
    return out.to(repeats.dtype)


def fliplr(input: Any) -> Any:
    """A copy with the order of the columns (dimension 1) reversed."""
    require_tensor(input, "fliplr()")
    if input.ndim < 2:
        raise ShapeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """A copy with the order of the rows (dimension 0) reversed."""
    require_tensor(input, "flipud()")
    if input.ndim < 1:
        raise ShapeError("Input must be >= 1-d.")
    return flip(input, 0)


def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """A copy turned by k quarter turns in the plane of two dimensions, from the first towards the second."""
    require_tensor(input, "rot90()")
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = dim_of(dims[0], input.ndim), dim_of(dims[1], input.ndim)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}")
    turns = whole(k, "k") % 4
    if turns == 0:
        return clone(input)
    if turns == 2:
        return apply1(flip_p, input, axes=dims_of((a, b), input.ndim))
    return flip(transpose(input, a, b), a if turns == 1 else b)
