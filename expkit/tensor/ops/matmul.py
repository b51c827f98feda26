"""Matrix products and what is made of them."""

import math
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle
from expkit.autograd.mode import MODE
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply2
from expkit.errors import ShapeError
from expkit.tensor import blas, dtypes
from expkit.tensor.generated.matmul import product
from expkit.tensor.ops.arguments import require_tensor
from expkit.tensor.ops.elementwise import add
from expkit.tensor.ops.kinds import broadcast_shapes, push_bilinear, reshape_p, spread, sum_p
from expkit.tensor.ops.movement import permute_p, squeeze, unsqueeze
from expkit.tensor.ops.special import is_float
from expkit.tensor.precision import lowered

# ---- primitives ------------------------------------------------------------------------------------------------------


def swap(x: Any) -> Any:
    """The last two axes swapped (raw or Tensor)."""
    n = len(x.shape)
    return permute_p(x, axes=(*range(n - 2), n - 1, n - 2))


def rows(x: Any) -> Any:
    """All axes but the last folded into one."""
    return x if len(x.shape) == 2 else reshape_p(x, shape=(_rows(x.shape), x.shape[-1]))


def _matmul_shape(x: Aval, y: Aval) -> Aval:
    return Aval((*broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]), x.dtype, x.device)


def _for_left(g: Any, _out: Any, _x: Any, y: Any) -> Any:
    n = len(y.shape)
    if len(_x.shape) == 2 and n > 2:  # one left operand for all batches: their sum is one product of wide matrices
        wide = permute_p(g, axes=(n - 2, *range(n - 2), n - 1))
        return matmul_p(reshape_p(wide, shape=(wide.shape[0], _rows(wide.shape[1:]) * wide.shape[-1])), rows(swap(y)))
    return matmul_p(g, swap(y))


def _for_right(g: Any, _out: Any, x: Any, _y: Any) -> Any:
    if len(_y.shape) == 2 and len(x.shape) > 2:  # one right operand for all batches: one product of tall matrices
        return matmul_p(swap(rows(x)), rows(g))
    return matmul_p(swap(x), g)


def _matmul_batch(_size: int, values: list[Any], mapped: list[bool], _kw: dict[str, Any]) -> Any:
    rank = max(len(v.shape) - m for v, m in zip(values, mapped, strict=True))
    aligned = []
    for v, m in zip(values, mapped, strict=True):
        short = rank - (len(v.shape) - m)
        aligned.append(reshape_p(v, shape=(v.shape[0],) + (1,) * short + tuple(v.shape[1:])) if m and short else v)
    return matmul_p(*aligned)


def _plain(x: Any, y: Any, bias: Any = None) -> Any:
    """x @ y + bias; one right operand for all batches makes one product of tall matrices."""
    if x.itemsize == 2 and is_float(x) and x.__class__ is np.ndarray:  # summed in float32, rounded once
        return _product(*(a if a is None else a.astype(np.float32) for a in (x, y, bias))).astype(x.dtype)
    fold = x.ndim > 2 and y.ndim == 2
    out = blas.matmul(x.reshape(_rows(x.shape), x.shape[-1]) if fold else x, y)
    if bias is not None:
        out += bias
    return out.reshape(*x.shape[:-1], y.shape[-1]) if fold else out


_product = product(_plain)


def _rows(shape: Any) -> int:
    return math.prod(shape[:-1])


matmul_p = Primitive(  # operands of two axes or more; the leading ones are broadcast
    "matmul",
    _product,
    _matmul_shape,
    (_for_left, _for_right),
    batch=_matmul_batch,
)
matmul_p.jvp = push_bilinear(matmul_p)


def _linear(x: Any, w: Any, b: Any = None) -> Any:
    if x.ndim == 1:
        return _product(x.reshape(1, -1), w.T, b).reshape(-1)
    return _product(x, w.T, b)


def _linear_push(tangents: list[Any], out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    x, w = primals[:2]
    parts = []
    if tangents[0] is not None:
        parts.append(linear_p(tangents[0], w))
    if tangents[1] is not None:
        parts.append(linear_p(x, tangents[1]))
    if len(tangents) > 2 and tangents[2] is not None:
        parts.append(spread(tangents[2], tuple(out.shape)))
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _linear_batch(size: int, values: list[Any], mapped: list[bool], _kw: dict[str, Any]) -> Any:
    x, w, *b = values
    if not mapped[1]:
        if mapped[0] and not (b and mapped[2]):
            return linear_p(*values)
        out = linear_p(x, w)
        out = out if mapped[0] else reshape_p(out, shape=(1, *out.shape))
    else:
        n = _rows(x.shape[1:] if mapped[0] else x.shape)
        flat = matmul_p(reshape_p(x, shape=(x.shape[0] if mapped[0] else 1, n, x.shape[-1])), swap(w))
        lead = tuple(x.shape[1:-1] if mapped[0] else x.shape[:-1])
        out = reshape_p(flat, shape=(size, *lead, flat.shape[-1]))
    if b:
        shape = (size,) + (1,) * (len(out.shape) - 2) + (b[0].shape[-1],) if mapped[2] else tuple(b[0].shape)
        out = out + reshape_p(b[0], shape=shape)
    return out


linear_p = Primitive(  # x Wᵀ + b
    "linear",
    _linear,
    lambda x, w, b=None: Aval((*x.shape[:-1], w.shape[0]), x.dtype, x.device),
    (
        lambda g, _out, _x, w, _b=None: reshape_p(matmul_p(rows(g), w), shape=tuple(_x.shape)),
        lambda g, _out, x, _w, _b=None: matmul_p(swap(rows(g)), rows(x)),
        lambda g, _out, _x, _w, _b=None: sum_p(g, axes=tuple(range(len(g.shape) - 1))),
    ),
    jvp=_linear_push,
    batch=_linear_batch,
)

# ---- functions -------------------------------------------------------------------------------------------------------


def matmul(input: Any, other: Any) -> Any:
    """The matrix product: vectors count as a row on the left and a column on the right; leading axes are broadcast."""
    if MODE.autocast is not None:
        input, other = lowered(input, other)
    x, y = same_dtype("matmul", input, other)
    m, n = x.raw.shape, y.raw.shape
    if len(m) > 1 < len(n) and m[-1] == n[-2]:
        return apply2(matmul_p, x, y)
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError("both arguments to matmul need to be at least 1D")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied ({_times(x)} and {_times(y)})")
    left, right = x.ndim == 1, y.ndim == 1
    out = apply2(matmul_p, unsqueeze(x, 0) if left else x, unsqueeze(y, 1) if right else y)
    if right:
        out = squeeze(out, -1)
    return squeeze(out, out.ndim - 1 if right else -2) if left else out


def same_dtype(what: str, *xs: Any) -> tuple[Any, ...]:
    """The operands, if they are Tensors of one dtype: products do not promote."""
    first = None
    for x in xs:
        dtype = x.raw.dtype if isinstance(x, Handle) else require_tensor(x, what).raw.dtype
        first = dtype if first is None else first
        if dtype is not first and dtype != first:
            raise TypeError(
                f"{what}: expected tensors of one dtype, got {dtypes.of(xs[0].raw)} and {dtypes.of(x.raw)}. "
                "Convert one of them with .to(dtype)."
            )
    return xs


def _times(x: Any) -> str:
    return "x".join(map(str, x.shape))


def of_rank(what: str, n: int, *xs: Any) -> tuple[Any, ...]:
    """The operands, if they are Tensors of n dimensions."""
    for x in xs:
        if require_tensor(x, what).ndim != n:
            shapes = " and ".join(str(tuple(y.shape)) for y in xs if isinstance(y, Handle))
            raise ShapeError(f"{what}: expected {n}-dimensional tensors, got shapes {shapes}")
    return xs


def mm(input: Any, mat2: Any) -> Any:
    """The product of two matrices."""
    return matmul(*of_rank("mm", 2, input, mat2))


def bmm(input: Any, mat2: Any) -> Any:
    """The products of two batches of matrices."""
    of_rank("bmm", 3, input, mat2)
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm: the batches have {input.shape[0]} and {mat2.shape[0]} matrices")
    return matmul(input, mat2)


def mv(input: Any, vec: Any) -> Any:
    """The product of a matrix and a vector."""
    of_rank("mv", 2, input)
    of_rank("mv", 1, vec)
    return matmul(input, vec)


def dot(input: Any, tensor: Any) -> Any:
    """The sum of products of two vectors."""
    of_rank("dot", 1, input, tensor)
    if input.shape != tensor.shape:
        raise ShapeError(f"dot: inconsistent tensor size, expected [{input.shape[0]}] and got [{tensor.shape[0]}]")
    return matmul(input, tensor)


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """x Wᵀ + b.   input: (..., in), weight: (out, in) or (in,), bias: (out,) -> (..., out)"""
    if MODE.autocast is not None:
        input, weight, bias = lowered(input, weight, bias)
    operands = same_dtype("linear", input, weight) if bias is None else same_dtype("linear", input, weight, bias)
    x, w = input.raw.shape, weight.raw.shape
    if len(w) == 2 and x[-1:] == w[1:] and (bias is None or bias.raw.shape == w[:1]):
        return apply(linear_p, *operands)
    if input.ndim == 0 or weight.ndim not in (1, 2) or input.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"linear: the input's last dimension is {input.shape[-1] if input.ndim else 'missing'} "
            f"(input {tuple(input.shape)}), the weight {tuple(weight.shape)} expects {weight.shape[-1]}"
        )
    if weight.ndim == 1:
        out = matmul(input, weight)
        return out if bias is None else add(out, bias)
    raise ShapeError(f"linear: the bias has shape {tuple(bias.shape)}, expected ({weight.shape[0]},)")
