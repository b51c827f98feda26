"""Norms of vectors and matrices."""

import math
from typing import Any

from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.ops import distance, reduce
from expkit.tensor.ops.arguments import dim_of, require_tensor
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.linalg.matrices import floats
from expkit.tensor.ops.linalg.spectra import svdvals
from expkit.tensor.ops.movement import movedim, unsqueeze

_INF = math.inf


def _cast(what: str, x: Any, dtype: Any) -> Any:
    """x in the dtype that the norm is computed in, which must hold it."""
    have = dtypes.of(require_tensor(x, what).raw)
    if not (have.is_floating_point or have.is_complex):
        raise TypeError(f"{what}: Expected a floating point or complex tensor as input. Got {have}")
    if dtype is None:
        return x
    d = dtypes.get(dtype)
    if not (d.is_floating_point or d.is_complex) or d.is_complex != have.is_complex:
        raise TypeError(f"{what}: dtype should be {'complex' if have.is_complex else 'floating-point'}, got {d}")
    if dtypes.promote_types(have, d) is not d:
        raise TypeError(f"{what}: the dtype of the input ({have}) cannot be converted to {d} without narrowing")
    return as_dtype(x, d)


def vector_norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:  # fmt: skip
    """The norm of vectors along `dim`, of all elements where it is None."""
    if isinstance(ord, bool) or not isinstance(ord, int | float):
        raise TypeError(f"linalg.vector_norm: the order must be a number, got {ord!r}")
    x = _cast("linalg.vector_norm", x, dtype)
    if ord < 0 or ord == _INF:
        dims = range(x.ndim) if dim is None or dim in ((), []) else [dim] if isinstance(dim, int) else dim
        if x.ndim and 0 in [x.shape[d] for d in dims]:
            raise ShapeError(
                f"linalg.vector_norm: the norm of order {ord} of nothing is not defined; the shape is {tuple(x.shape)}"
            )
    return distance.norm(x, ord, dim, keepdim)


def _dims(dim: Any, ndim: int) -> tuple[int, int]:
    if not isinstance(dim, tuple | list) or len(dim) != 2:
        raise ValueError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    rows, columns = (dim_of(d, ndim) for d in dim)
    if rows == columns:
        raise ValueError(f"linalg.matrix_norm: dims must be different. Got {tuple(dim)}")
    return rows, columns


def _largest(x: Any, ord: float, dim: int) -> Any:
    """The largest (smallest, for a negative order) element; of none, 0 where there is a largest."""
    if x.shape[dim] == 0 and ord > 0:
        return reduce.sum(x, dim)
    return (reduce.amax if ord > 0 else reduce.amin)(x, dim)


def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:  # fmt: skip
    """The norm of matrices: "fro", "nuc", 1, -1, 2, -2, inf, -inf."""
    x = _cast("linalg.matrix_norm", A, dtype)
    if x.ndim < 2:
        raise ShapeError(f"linalg.matrix_norm: A must have at least 2 dimensions, got shape {tuple(x.shape)}")
    rows, columns = _dims(dim, x.ndim)
    if ord == "fro":
        return distance.norm(x, 2, (rows, columns), keepdim)
    if isinstance(ord, bool) or ord not in ("nuc", 1, -1, 2, -2, _INF, -_INF):
        raise ValueError(f"linalg.matrix_norm: Order {ord} not supported.")
    x = movedim(x, (rows, columns), (-2, -1))
    if ord in (1, -1, _INF, -_INF):
        out = _largest(distance.norm(x, 1, -2 if abs(ord) == 1 else -1), ord, -1)
    else:
        floats("linalg.matrix_norm", x)
        s = svdvals(x)
        out = reduce.sum(s, -1) if ord == "nuc" else _largest(s, ord, -1)
    if keepdim:
        for d in sorted((rows, columns)):
            out = unsqueeze(out, d)
    return out


def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """A vector's or a matrix's norm, by `dim` (one or two of them) or by the number of dimensions."""
    dims = (dim,) if isinstance(dim, int) else None if dim is None else tuple(dim)
    if dims is not None and len(dims) not in (1, 2):
        raise ShapeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}")
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dims is None and require_tensor(A, "linalg.norm").ndim not in (1, 2):
        raise ShapeError(f"linalg.norm: if ord={ord!r} is given without dim, the input must be 1- or 2-dimensional")
    if isinstance(ord, str) and dims is None and A.ndim != 2:
        raise ShapeError(f"linalg.norm: if ord={ord!r} is given without dim, the input must be 2-dimensional")
    if len(dims or range(A.ndim)) == 2:
        return matrix_norm(A, ord, dims or (-2, -1), keepdim, dtype=dtype)
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)
