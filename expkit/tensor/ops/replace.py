"""Copies of a tensor with one part replaced, and the elements at flat places."""

from typing import Any

from expkit.autograd.handle import Handle
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.ops.arguments import dim_of, require_tensor, sizes, whole
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.index import in_range, index_tensor, put_add_p, put_p, take_p
from expkit.tensor.ops.movement import diagonal, diagonal_p, narrow, reshape, select, slice_p, unsqueeze


def _fitting(input: Any, src: Any, shape: Any, what: str) -> Any:
    """src in input's dtype, if it has the shape of what it replaces."""
    require_tensor(src, what)
    if tuple(src.shape) != tuple(shape):
        raise ShapeError(
            f"{what}: expected src to have the size of the part that it replaces, {list(shape)}, got {list(src.shape)}"
        )
    return as_dtype(src, dtypes.of(input.raw))


def select_scatter(input: Any, src: Any, dim: int, index: Any) -> Any:
    """A copy of input with src written where select(dim, index) looks."""
    part = select(input, dim, index)
    at, n = dim_of(dim, input.ndim), input.shape[dim_of(dim, input.ndim)]
    first = whole(index, "select_scatter(): index") % n
    spans = tuple((first, first + 1, 1) if a == at else (0, k, 1) for a, k in enumerate(input.shape))
    return apply(slice_p.put, input, unsqueeze(_fitting(input, src, part.shape, "select_scatter()"), at), spans=spans)


def slice_scatter(input: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """A copy of input with src written where input[start:end:step] along `dim` looks."""
    at = dim_of(dim, require_tensor(input, "slice_scatter()").ndim)
    if input.ndim == 0:
        raise ShapeError("slice_scatter() cannot be applied to a 0-dim tensor")
    step = whole(step, "slice_scatter(): step")
    if step <= 0:
        raise ValueError(f"slice_scatter(): step must be greater than zero, got {step}")
    first, last, _ = slice(start, end).indices(input.shape[at])
    spans = tuple((first, max(first, last), step) if a == at else (0, k, 1) for a, k in enumerate(input.shape))
    shape = tuple(len(range(*span)) for span in spans)
    return apply(slice_p.put, input, _fitting(input, src, shape, "slice_scatter()"), spans=spans)


def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A copy of input with src written where diagonal(offset, dim1, dim2) looks."""
    part = diagonal(input, offset, dim1, dim2)
    axes = (dim_of(dim1, input.ndim), dim_of(dim2, input.ndim))
    src = _fitting(input, src, part.shape, "diagonal_scatter()")
    return apply(diagonal_p.put, input, src, offset=int(offset), axes=axes)


def fill_diagonal_(input: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Writes one value onto the main diagonal of a tensor of equal sizes, or of a matrix.

    wrap: the diagonal of a tall matrix goes on after each block of columns.
    """
    if input.ndim < 2:
        raise ShapeError("fill_diagonal_: dimensions must larger than 1")
    if input.ndim > 2 and len(set(input.shape)) != 1:
        raise ShapeError("fill_diagonal_: all dimensions of input must be of equal length")
    rows, columns = input.shape[0], input.shape[1]
    for start in range(0, rows, columns + 1) if wrap and input.ndim == 2 else (0,):
        part = narrow(input, 0, start, rows - start)
        while part.ndim > 1:
            part = diagonal(part, 0, 0, part.ndim - 1)
        part.fill_(fill_value)
    return input


def _places(input: Any, index: Any, what: str) -> Any:
    """Flat places as a vector of non-negative numbers."""
    if index_tensor(index, what).dtype is not dtypes.int64:
        raise TypeError(f"{what}: expected an int64 tensor for index, got {index.dtype}")
    if not input.numel() and index.numel():
        raise IndexError(f"{what}: tried to take from an empty tensor")
    return in_range(reshape(index, -1), input.numel(), 0)


def take(input: Any, index: Any) -> Any:
    """The elements at flat places, in the shape of the index."""
    places = _places(require_tensor(input, "take()"), index, "take()")
    return reshape(apply(take_p, reshape(input, -1), places, axes=(0,)), tuple(index.shape))


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """A copy of input with the elements of source written at (or added to) flat places."""
    places = _places(require_tensor(input, "put()"), index, "put()")
    if require_tensor(source, "put()").dtype is not input.dtype:
        raise TypeError(f"put(): self and source expected to have the same dtype, got {input.dtype} and {source.dtype}")
    if source.numel() != index.numel():
        raise ShapeError(
            f"put(): expected source and index to have the same number of elements, got {source.numel()} and "
            f"{index.numel()}"
        )
    prim = put_add_p if accumulate else put_p
    return reshape(apply(prim, reshape(input, -1), reshape(source, -1), places, axes=(0,)), tuple(input.shape))


def unravel_index(indices: Any, shape: Any) -> tuple[Any, ...]:
    """The coordinates of flat places in an array of the given shape."""
    indices = index_tensor(indices, "unravel_index()").long()
    wanted = tuple(shape.tolist()) if isinstance(shape, Handle) and shape.ndim else sizes((shape,))
    if any(n < 0 for n in wanted):
        raise ValueError(f"unravel_index(): the shape must not be negative, got {wanted}")
    out, rest = [], indices
    for n in reversed(wanted):
        out.append(rest % n)
        rest = rest // n
    return tuple(reversed(out))
