"""Arguments of public functions: which tensors and dtypes they refuse; dims and sizes as primitives want them.

`what` is the function that a message names. All errors are TypeErrors where nothing else is said.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.errors import ShapeError
from expkit.tensor import dtypes

# ---- tensors ---------------------------------------------------------------------------------------------------------

BOOLS, WHOLE, FLOATS, COMPLEX = "b", "iu", "fV", "c"  # kinds of dtypes, in NumPy's letters (bfloat16 is void to it)
_ADVICE = {"b": " Use .int() or .float().", "c": " Use .real or .abs()."}


def require_tensor(x: Any, what: str) -> Any:
    """x, if it is a Tensor."""
    if not isinstance(x, Handle):
        raise TypeError(f"{what}: expected a Tensor, got {type(x).__name__}")
    return x


def require_floating(x: Any, what: str) -> Any:
    """x, if it is a floating-point Tensor."""
    d = dtypes.of(require_tensor(x, what).raw)
    if not d.is_floating_point:
        raise TypeError(f"{what}: the input must be floating-point, got {d}. Use .float().")
    return x


def require_inexact(x: Any, what: str) -> Any:
    """x, if it is a floating-point or complex Tensor."""
    d = dtypes.of(require_tensor(x, what).raw)
    if not (d.is_floating_point or d.is_complex):
        raise TypeError(f"{what}: the input must be floating-point or complex, got {d}. Use .float() or dtype=.")
    return x


def refuse(x: Any, what: str, kinds: str) -> Any:
    """x, if it is a Tensor of none of the kinds of dtypes (COMPLEX + BOOLS, ...)."""
    kind = require_tensor(x, what).raw.dtype.kind
    if kind in kinds:
        raise TypeError(f"{what}: {dtypes.of(x.raw)} tensors are not supported.{_ADVICE.get(kind, '')}")
    return x


# ---- dims and sizes --------------------------------------------------------------------------------------------------


def dim_of(dim: Any, ndim: int, *, what: str = "dim") -> int:
    """A non-negative dim. IndexError when it is out of range; 0-d tensors have dims -1 and 0."""
    if dim.__class__ is not int and (not isinstance(dim, int | np.integer) or isinstance(dim, bool)):
        raise TypeError(f"{what} must be an int, not {type(dim).__name__}")
    n = ndim or 1
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return int(dim) % n


def dims_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """Sorted non-negative dims; None and () mean all."""
    if dim.__class__ is int and ndim:
        return (dim_of(dim, ndim),)
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return tuple(range(ndim))
    dims = [dim_of(d, ndim) for d in (dim if isinstance(dim, list | tuple) else (dim,))]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {dim} appears multiple times in the list of dims")
    return tuple(sorted(dims)) if ndim else ()


def whole(n: Any, what: str) -> int:
    """A whole number: an int, NumPy's, or a 0-d tensor of integers. TypeError for anything else."""
    if n.__class__ is int:
        return int(n)
    if isinstance(n, int | np.integer) and not isinstance(n, bool):
        return int(n)
    if isinstance(n, Handle) and n.ndim == 0 and n.raw.dtype.kind in "iu":
        return int(n.item())
    raise TypeError(f"{what}: expected an int, got {type(n).__name__}")


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3), [2, 3] or 2, 3 as a tuple of ints."""
    if len(args) == 1 and isinstance(args[0], list | tuple):
        args = tuple(args[0])
    for n in args:
        if n.__class__ is not int:
            return tuple([whole(k, "sizes") for k in args])
    return args


def numel(shape: Sequence[int]) -> int:
    """How many elements a tensor of that shape has."""
    n = 1
    for size in shape:
        n *= size
    return n


def given(args: tuple[Any, ...], named: Any, what: str) -> tuple[Any, ...]:
    """Sizes or dims that come one by one, as one list, or by name."""
    if named is None:
        return args
    if args:
        raise TypeError(f"{what} got multiple values for one argument")
    return (named,)


def infer_shape(shape: tuple[int, ...], count: int, what: str) -> tuple[int, ...]:
    """The shape of `count` elements with its one -1 filled in. ShapeError where there is none."""
    if shape.count(-1) > 1 or any(n < -1 for n in shape):
        raise ShapeError(f"{what}: only one dimension can be inferred, got {list(shape)}")
    known = numel([n for n in shape if n != -1])
    if -1 in shape:
        if known == 0 or count % known:
            raise ShapeError(f"shape '{list(shape)}' is invalid for input of size {count}")
        return tuple(count // known if n == -1 else n for n in shape)
    if known != count:
        raise ShapeError(f"shape '{list(shape)}' is invalid for input of size {count}")
    return shape
