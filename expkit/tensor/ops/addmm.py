"""beta * input + alpha * product: the forms that BLAS has in one call."""

from typing import Any

from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.ops.contract import outer
from expkit.tensor.ops.convert import as_dtype, in_float32, number
from expkit.tensor.ops.elementwise import add, logical_or, mul
from expkit.tensor.ops.kinds import broadcast_shapes
from expkit.tensor.ops.matmul import bmm, mm, mv, of_rank, same_dtype
from expkit.tensor.ops.reduce import sum as sum_


def _factor(value: Any, like: Any) -> Any:
    """A factor as a number of the kind of `like`: whole for whole numbers, as PyTorch takes it."""
    value = number(value)
    d = dtypes.of(like.raw)
    return int(value) if not (d.is_floating_point or d.is_complex or isinstance(value, complex)) else value


def _added(what: str, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """beta * input + alpha * product; with beta = 0 the input counts for nothing, NaN included."""
    if broadcast_shapes(tuple(input.shape), tuple(product.shape)) != tuple(product.shape):
        raise ShapeError(f"{what}: the input of {tuple(input.shape)} does not broadcast to {tuple(product.shape)}")
    beta, alpha = _factor(beta, product), _factor(alpha, product)
    product = product if alpha == 1 else mul(product, alpha)
    return product if beta == 0 else add(product, input if beta == 1 else mul(input, beta))


@in_float32
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2).   input broadcasts to (n, m), mat1: (n, k), mat2: (k, m)"""
    input, mat1, mat2 = same_dtype("addmm", input, mat1, mat2)
    return _added("addmm", input, mm(mat1, mat2), beta, alpha)


@in_float32
def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat @ vec).   input broadcasts to (n,), mat: (n, k), vec: (k,)"""
    input, mat, vec = same_dtype("addmv", input, mat, vec)
    return _added("addmv", input, mv(mat, vec), beta, alpha)


@in_float32
def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (batch1 @ batch2), for each matrix of a batch."""
    input, batch1, batch2 = same_dtype("baddbmm", input, batch1, batch2)
    return _added("baddbmm", input, bmm(batch1, batch2), beta, alpha)


@in_float32
def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * the sum of all products of a batch."""
    input, batch1, batch2 = same_dtype("addbmm", input, batch1, batch2)
    product = sum_(bmm(batch1, batch2), 0, dtype=batch1.dtype)
    return _added("addbmm", input, product, beta, alpha)


def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * outer(vec1, vec2).   input broadcasts to (n, m), vec1: (n,), vec2: (m,)"""
    of_rank("addr", 1, vec1, vec2)
    d = dtypes.result_type(input, vec1, vec2)
    if d is dtypes.bool_:  # factors are true or false as well
        product = mul(outer(vec1, vec2), bool(alpha))
        return logical_or(product, input) if beta else product
    x, a, b = (as_dtype(t, d) for t in (input, vec1, vec2))
    alpha = _factor(alpha, a)
    return _added("addr", x, outer(a if alpha == 1 else mul(a, alpha), b), beta, 1)
