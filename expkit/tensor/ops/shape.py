"""Shapes: what is made of the movements, under PyTorch's many names."""

from typing import Any

from expkit.autograd.tape import apply1
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.ops import kinds
from expkit.tensor.ops.arguments import given, require_tensor, sizes
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.kinds import spread
from expkit.tensor.ops.movement import alias_p, clone, expand, narrow, reshape, transpose, unsqueeze
from expkit.tensor.parts import Size


def view_as(input: Any, other: Any) -> Any:
    """view() of the other tensor's shape."""
    return input.view(*require_tensor(other, "view_as()").shape)


def reshape_as(input: Any, other: Any) -> Any:
    """reshape() to the other tensor's shape."""
    return reshape(input, tuple(require_tensor(other, "reshape_as()").shape))


def sum_to_size(input: Any, *sizes_: Any, size: Any = None) -> Any:
    """The tensor summed to a shape that could be broadcast to its own."""
    target = sizes(given(sizes_, size, "sum_to_size()"))
    if len(target) > input.ndim or kinds.broadcast_shapes(target, tuple(input.shape)) != tuple(input.shape):
        raise ShapeError(f"size {list(target)} is not expandable to size {list(input.shape)}")
    if target and target == tuple(input.shape):
        return apply1(alias_p, input)
    if not (input.is_floating_point() or input.is_complex()):
        input = as_dtype(input, dtypes.int64)  # as sum() of whole numbers and bools
    return kinds.unbroadcast(input, target) if target != tuple(input.shape) else apply1(alias_p, input)


def ravel(input: Any) -> Any:
    """All elements as a vector: a view where that is possible, else a copy."""
    return reshape(input, -1)


def adjoint(input: Any) -> Any:
    """The last two dimensions swapped, and complex numbers conjugated."""
    require_tensor(input, "adjoint()")
    if input.ndim == 1:
        raise ShapeError("adjoint() requires matrices or batches of matrices; the tensor is a vector")
    swapped = transpose(input, -2, -1) if input.ndim else apply1(alias_p, input)
    return swapped.conj() if input.is_complex() else swapped


def narrow_copy(input: Any, dim: int, start: Any, length: int) -> Any:
    """narrow(), in memory of its own."""
    return clone(narrow(input, dim, start, length))


def _at_least(rank: int, pad: Any) -> Any:
    def fn(*tensors: Any) -> Any:
        xs = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
        out = tuple(pad(require_tensor(x, fn.__name__)) if x.ndim < rank else x for x in xs)
        return out[0] if len(tensors) == 1 and xs is tensors else out

    fn.__name__ = fn.__qualname__ = f"atleast_{rank}d"
    fn.__doc__ = f"The tensors (one, or a tuple), with dimensions of size one added where there are fewer than {rank}."
    return fn


atleast_1d = _at_least(1, lambda x: reshape(x, 1))
atleast_2d = _at_least(2, lambda x: reshape(x, 1, 1) if x.ndim == 0 else unsqueeze(x, 0))
atleast_3d = _at_least(
    3, lambda x: unsqueeze(unsqueeze(reshape(x, 1) if x.ndim == 0 else x, 0) if x.ndim < 2 else x, -1)
)


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that tensors of these shapes (tuples or single sizes) have together."""
    return Size(kinds.broadcast_shapes(*(sizes((s,)) for s in shapes)))


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """Views of the tensors, expanded to their common shape."""
    xs = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    shape = kinds.broadcast_shapes(*(tuple(require_tensor(x, "broadcast_tensors()").shape) for x in xs))
    return tuple(spread(x, shape) if tuple(x.shape) != shape else expand(x, *shape) for x in xs)
