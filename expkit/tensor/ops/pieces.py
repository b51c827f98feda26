"""Taking tensors apart: pieces along a dimension, which are views."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.errors import ShapeError
from expkit.tensor.ops.arguments import dim_of, require_tensor, whole
from expkit.tensor.ops.movement import alias_p, narrow, select


def _axis(x: Any, dim: Any, what: str) -> int:
    require_tensor(x, what)
    if x.ndim == 0:
        raise ShapeError(f"{what} expects at least a 1-dimensional tensor")
    return dim_of(dim, x.ndim)


def _of_lengths(x: Any, lengths: Sequence[int], at: int) -> tuple[Any, ...]:
    return tuple(narrow(x, at, a, b - a) for a, b in pairwise(accumulate(lengths, initial=0)))


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Views of pieces of the given size (the last may be smaller) or of the given sizes."""
    if isinstance(split_size_or_sections, list | tuple):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    at = _axis(tensor, dim, "split()")
    n, size = tensor.shape[at], whole(split_size_or_sections, "split_size")
    if size < 0 or (size == 0 and n):
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    return _of_lengths(tensor, [min(size, n - i) for i in range(0, n, size)] if n else [0], at)


def split_with_sizes(input: Any, split_sizes: Sequence[int], dim: int = 0) -> tuple[Any, ...]:
    """Views of pieces of the given sizes."""
    at = _axis(input, dim, "split_with_sizes()")
    n, lengths = input.shape[at], [whole(k, "split_sizes") for k in split_sizes]
    if min(lengths, default=0) < 0 or sum(lengths) != n:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to be non-negative and to sum exactly to {n} "
            f"(the size at dimension {at}), but got {lengths}"
        )
    return _of_lengths(input, lengths, at)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most `chunks` views of equal size (the last may be smaller)."""
    at = _axis(input, dim, "chunk()")
    if whole(chunks, "chunks") < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[at]
    return split(input, -(-n // chunks), at) if n else tuple(alias_p(input) for _ in range(chunks))


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """All views along a dimension, which is dropped."""
    at = _axis(input, dim, "unbind()")
    return tuple(select(input, at, i) for i in range(input.shape[at]))


def tensor_split(
    input: Any, indices_or_sections: Any = None, dim: int = 0, *, sections: Any = None, indices: Any = None
) -> tuple[Any, ...]:
    """Views of pieces between the given indices, or of as many pieces whose sizes differ by at most one."""
    at = _axis(input, dim, "tensor_split()")
    given = [g for g in (indices_or_sections, sections, indices) if g is not None]
    if len(given) != 1:
        raise TypeError("tensor_split(): give either the number of sections or the indices where to split")
    where, n = given[0], input.shape[at]
    if isinstance(where, Handle):
        if where.ndim > 1 or where.dtype.name != "int64":
            raise RuntimeError(
                "tensor_split expects the indices or the number of sections as an int64 tensor with at most one "
                f"dimension, got {where.dtype} with {where.ndim}"
            )
        where = where.tolist()
    if isinstance(where, int | np.integer) and not isinstance(where, bool):
        if where < 1:
            raise RuntimeError(f"number of sections must be larger than 0, got {where}")
        small, larger = divmod(n, int(where))
        return _of_lengths(input, [small + (i < larger) for i in range(where)], at)
    if not isinstance(where, list | tuple):
        raise TypeError(f"tensor_split(): the sections must be an int or a list of indices, got {type(where).__name__}")
    spans = [slice(a, b).indices(n)[:2] for a, b in pairwise([0, *(whole(i, "indices") for i in where), n])]
    return tuple(narrow(input, at, a, max(b - a, 0)) for a, b in spans)


def _split_along(name: str, least: int, doc: str) -> Any:
    def fn(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
        require_tensor(input, f"{name}()")
        if input.ndim < least:
            raise ShapeError(
                f"{name} requires a tensor with at least {least} dimension{'s' * (least > 1)}, but got a tensor with "
                f"{input.ndim} dimensions"
            )
        at = min(input.ndim - 1, 1) if least == 1 else least - 2 if least == 2 else 2
        sections = indices_or_sections
        if isinstance(sections, int) and (sections < 1 or input.shape[at] % sections):
            raise RuntimeError(
                f"{name} attempted to split along dimension {at}, but the size of the dimension {input.shape[at]} is "
                f"not divisible by the split_size {sections}"
            )
        return tensor_split(input, sections, at)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn


hsplit = _split_along("hsplit", 1, "Equal pieces, or those between indices, along dimension 1 (0 for vectors).")
vsplit = _split_along("vsplit", 2, "Equal pieces, or those between indices, along dimension 0.")
dsplit = _split_along("dsplit", 3, "Equal pieces, or those between indices, along dimension 2.")


# As PyTorch's: without its checks against writes to the pieces, of which there is no need here.
unsafe_chunk, unsafe_split, unsafe_split_with_sizes = chunk, split, split_with_sizes
