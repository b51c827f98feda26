"""What rules and functions of linear algebra share: products, triangles, adjoints (raw or Tensors), argument checks.

Derivatives follow M. Giles, "An extended collection of matrix derivative results" (2008), S. F. Walter and L. Lehmann
(2012) for QR, J. Townsend (2016) for singular values. Gradients travel conjugated (autograd/engine.py): where a
function is complex differentiable its rule is the real formula. The others are written for gradients as the user sees
them, and `adjoint_rule` turns what comes in and goes out.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.autograd.primitive import PRIMITIVES
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.arrays import zeros_like as zeros_raw
from expkit.tensor.ops.arguments import require_tensor
from expkit.tensor.ops.complex import conj_p, real_dtype
from expkit.tensor.ops.convert import convert_p
from expkit.tensor.ops.join import cat_p
from expkit.tensor.ops.kinds import broadcast_shapes, reshape_p, spread
from expkit.tensor.ops.matmul import matmul_p, swap
from expkit.tensor.ops.movement import diagonal_p, slice_p
from expkit.tensor.ops.triangle import trimmed_p

# ---- matrices in rules: raw arrays, Values or Tensors ----------------------------------------------------------------


def mm(*factors: Any) -> Any:
    """The product of matrices, from the left."""
    out = factors[0]
    for factor in factors[1:]:
        out = matmul_p(out, factor)
    return out


def _dtype(x: Any) -> np.dtype:
    return (x.raw if isinstance(x, Handle) else x).dtype


def is_complex(x: Any) -> bool:
    """Whether a raw value or a Tensor is complex."""
    return _dtype(x).kind == "c"


def conj(x: Any) -> Any:
    return conj_p(x) if is_complex(x) else x


def adjoint(x: Any) -> Any:
    """The conjugate transpose."""
    return conj(swap(x))


def real(x: Any) -> Any:
    """The real part."""
    return convert_p(x, dtype=real_dtype(_dtype(x))) if is_complex(x) else x


def like(x: Any, other: Any) -> Any:
    """x in the dtype of `other`: real factors of complex matrices."""
    dtype = _dtype(other)
    return x if _dtype(x) == dtype else convert_p(x, dtype=dtype)


def lower(x: Any, strict: bool = False) -> Any:
    return trimmed_p(x, diagonal=-int(strict), lower=True)


def upper(x: Any, strict: bool = False) -> Any:
    return trimmed_p(x, diagonal=int(strict), lower=False)


def half(x: Any) -> Any:
    """The lower triangle with half of the diagonal."""
    return (lower(x) + lower(x, strict=True)) * 0.5


def row(v: Any) -> Any:
    """(..., n) as (..., 1, n)."""
    return reshape_p(v, shape=(*v.shape[:-1], 1, v.shape[-1]))


def column(v: Any) -> Any:
    """(..., n) as (..., n, 1)."""
    return reshape_p(v, shape=(*v.shape, 1))


def scalar(v: Any) -> Any:
    """(...) as (..., 1, 1)."""
    return column(column(v))


def diagonal(x: Any) -> Any:
    n = len(x.shape)
    return diagonal_p(x, offset=0, axes=(n - 2, n - 1))


def eye_like(like: Any) -> Any:
    """Ones on the diagonal, zeros elsewhere, in the shape of `like`."""
    ones = zeros_raw(like, tuple(like.shape)) + 1
    return lower(upper(ones))


def inverse_off_diagonal(differences: Any) -> Any:
    """1 / x off the diagonal, 0 on it."""
    eye = eye_like(differences)
    return (1 - eye) / (differences + eye)


def block(x: Any, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """The rows and columns of matrices from a number up to another."""
    lead = tuple((0, n, 1) for n in x.shape[:-2])
    return slice_p(x, spans=(*lead, (*rows, 1), (*columns, 1)))


def join(parts: list[Any], axis: int) -> Any:
    """Matrices side by side (axis -1) or on top of each other (-2)."""
    return cat_p(*parts, axis=len(parts[0].shape) + axis)


# ---- rules -----------------------------------------------------------------------------------------------------------


def along(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The jvp of a primitive of one argument: rule(tangent, out, primal)."""

    def jvp(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        if tangents[0] is None:
            return [None] * len(out) if isinstance(out, tuple) else None
        return rule(tangents[0], out, primals[0], **kw)

    return jvp


def adjoint_rule(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule for gradients as the user sees them, not conjugated; None for an output that was not used."""

    def turned(g: Any) -> Any:
        return None if g is None else conj(g)

    @wraps(rule)
    def joint(g: Any, *rest: Any, **kw: Any) -> Any:
        g = tuple(map(turned, g)) if isinstance(g, tuple | list) else turned(g)
        return turned(rule(g, *rest, **kw))

    return joint


def jointly(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The same for the one argument of a primitive with several outputs."""
    turned = adjoint_rule(rule)

    @wraps(rule)
    def joint(*args: Any, **kw: Any) -> tuple[Any]:
        return (turned(*args, **kw),)

    return joint


def own_batch(name: str) -> Callable[..., Any]:
    """The batch rule of a primitive of one argument whose leading axes are a batch already."""

    def batch(_size: int, values: list[Any], _mapped: list[bool], kw: dict[str, Any]) -> Any:
        return PRIMITIVES[name](values[0], **kw)

    return batch


def aligned(values: list[Any], mapped: list[bool]) -> list[Any]:
    """Operands of equal rank with the batch axis in front; the axes after it, but for the last two, broadcast."""
    rank = max(len(v.shape) - m for v, m in zip(values, mapped, strict=True))
    out = []
    for v, m in zip(values, mapped, strict=True):
        shape = tuple(v.shape[1:] if m else v.shape)
        ones = (1,) * (rank - len(shape))
        out.append(reshape_p(v, shape=(v.shape[0] if m else 1, *ones, *shape)))
    return out


# ---- arguments of functions ------------------------------------------------------------------------------------------


def floats(what: str, *xs: Any) -> Any:
    """The first argument, if all are tensors of one floating-point or complex dtype of 32 bits or more."""
    first = dtypes.of(require_tensor(xs[0], what).raw)
    if not (first.is_floating_point or first.is_complex) or first.itemsize == 2:
        raise TypeError(f"{what}: expected a floating point or complex tensor of 32 bits or more, got {first}")
    for x in xs[1:]:
        d = dtypes.of(require_tensor(x, what).raw)
        if d is not first:
            raise TypeError(f"{what}: expected tensors of one dtype, but found {first} and {d}")
    return xs[0]


def matrix(what: str, x: Any) -> Any:
    """x, if its last two dimensions can be matrices to factorise."""
    if require_tensor(x, what).ndim < 2:
        raise ShapeError(f"{what}: The input tensor A must have at least 2 dimensions, got shape {tuple(x.shape)}")
    return floats(what, x)


def square(what: str, x: Any) -> Any:
    """x, if it holds square matrices."""
    n, m = matrix(what, x).shape[-2:]
    if n != m:
        raise ShapeError(f"{what}: A must be batches of square matrices, but they are {n} by {m} matrices")
    return x


def same_batch(*xs: Any) -> list[Any]:
    """Matrices with their leading dimensions broadcast."""
    lead = broadcast_shapes(*(tuple(x.shape[:-2]) for x in xs))
    return [spread(x, (*lead, *x.shape[-2:])) for x in xs]
