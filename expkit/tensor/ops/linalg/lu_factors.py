"""LU factorisation with partial pivoting: A = P L U."""

from collections import namedtuple
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.linalg.matrices import (
    adjoint,
    along,
    block,
    eye_like,
    floats,
    join,
    lower,
    matrix,
    mm,
    own_batch,
    square,
    upper,
)
from expkit.tensor.ops.linalg.systems import solve_p, solve_triangular
from expkit.tensor.ops.matmul import matmul, swap

LUResult = namedtuple("LUResult", "P L U")
LUFactorResult = namedtuple("LUFactorResult", "LU pivots")
INT = np.dtype(np.int32)

# ---- the primitive ---------------------------------------------------------------------------------------------------


def _magnitude(x: Any) -> Any:
    """What pivots are chosen by: as in LAPACK, |re| + |im| for complex numbers."""
    return abs(x.real) + abs(x.imag) if x.dtype.kind == "c" else abs(x)


def _factor(x: Any, *, pivot: bool) -> tuple[Any, Any]:
    """(L without its ones and U in one matrix, the row that each step swaps with its own, from 1)."""
    xp = xp_of(x)
    m, n = x.shape[-2:]
    k = min(m, n)
    lead = x.shape[:-2]
    a = xp.array(x).reshape((int(np.prod(lead, dtype=int)), m, n))
    which = xp.arange(a.shape[0])
    pivots = xp.zeros((a.shape[0], k), INT)
    for i in range(k):
        if pivot:
            best = _magnitude(a[:, i:, i]).argmax(-1) + i
            chosen, own = a[which, best], a[:, i].copy()
            a[which, best] = own
            a[:, i] = chosen
            pivots[:, i] = best + 1
        else:
            pivots[:, i] = i + 1
        top = a[:, i, i, None]
        a[:, i + 1 :, i] /= xp.where(top == 0, 1, top).astype(a.dtype)
        a[:, i + 1 :, i + 1 :] -= a[:, i + 1 :, i, None] * a[:, i, None, i + 1 :]
    return a.reshape(x.shape), pivots.reshape((*lead, k))


def _permuted(pivots: Any, m: int) -> Any:
    """The order of rows that a list of swaps makes of 0, 1, ..., m - 1 (arrays)."""
    xp = xp_of(pivots)
    flat = pivots.reshape((-1, pivots.shape[-1])) if pivots.size else pivots.reshape((0, pivots.shape[-1]))
    count = int(np.prod(pivots.shape[:-1], dtype=int))
    order = xp.zeros((count, m), np.int64) + xp.arange(m)
    which = xp.arange(count)
    for i in range(flat.shape[-1] if count else 0):
        other = flat[:, i].astype(np.int64) - 1
        own = order[:, i].copy()
        order[:, i] = order[which, other]
        order[which, other] = own
    return order.reshape((*pivots.shape[:-1], m))


order_p = Primitive(  # the rows of P^T A, by number, from the pivots
    "row_order",
    lambda pivots, *, rows: _permuted(pivots, rows),
    lambda pivots, *, rows: Aval((*pivots.shape[:-1], rows), np.dtype(np.int64), pivots.device),
    batch=own_batch("row_order"),
)


def _parts(out: Any) -> tuple[Any, Any, Any, Any]:
    """(L and U of the square part, L below it or None, U beside it or None)."""
    m, n = out.shape[-2:]
    k = min(m, n)
    inner = block(out, (0, k), (0, k))
    low = lower(inner, strict=True) + eye_like(inner)
    below = block(out, (k, m), (0, n)) if m > n else None
    beside = block(out, (0, m), (k, n)) if n > m else None
    return low, upper(inner), below, beside


def _right_solve(x: Any, a: Any) -> Any:
    """x a⁻¹."""
    return swap(solve_p(swap(a), swap(x)))


def _lu_joint(g: Any, out: Any, _x: Any, *, pivot: bool) -> tuple[Any]:
    """Written for rows in their new order: with M = L⁻¹ dA U⁻¹, dL = L tril(M, -1) and dU = triu(M) U."""
    g, (packed, pivots) = g[0], out
    m, n = packed.shape[-2:]
    k = min(m, n)
    low, up, below, beside = _parts(packed)
    inner = block(g, (0, k), (0, k))
    strict, rest = mm(swap(low), lower(inner, strict=True)), mm(upper(inner), swap(up))
    if beside is not None:
        strict = strict - mm(block(g, (0, k), (k, n)), swap(beside))
    if below is not None:
        rest = rest - mm(swap(below), block(g, (k, m), (0, k)))
    total = lower(strict, strict=True) + upper(rest)
    total = _right_solve(solve_p(swap(low), total), swap(up))
    if beside is not None:
        total = join([total, solve_p(swap(low), block(g, (0, k), (k, n)))], -1)
    if below is not None:
        total = join([total, _right_solve(block(g, (k, m), (0, k)), swap(up))], -2)
    return (_reordered(total, pivots, back=True),)


def _lu_push(t: Any, out: Any, _x: Any, *, pivot: bool) -> Any:
    packed, pivots = out
    m, n = packed.shape[-2:]
    k = min(m, n)
    low, up, below, beside = _parts(packed)
    t = _reordered(t, pivots, back=False)
    inner = _right_solve(solve_p(low, block(t, (0, k), (0, k))), up)
    strict, rest = lower(inner, strict=True), upper(inner)
    total = mm(low, strict) + mm(rest, up)
    if beside is not None:
        total = join([total, solve_p(low, block(t, (0, k), (k, n))) - mm(strict, beside)], -1)
    if below is not None:
        total = join([total, _right_solve(block(t, (k, m), (0, k)), up) - mm(below, rest)], -2)
    return [total, None]


def _reordered(x: Any, pivots: Any, back: bool) -> Any:
    """The rows in their new order, or back in their old one: a product with a matrix of zeros and ones."""
    p = permutation_p(pivots, rows=x.shape[-2], dtype=dtypes.of(getattr(x, "raw", x)).dtype)
    return mm(p if back else swap(p), x)


def _permutation(pivots: Any, *, rows: int, dtype: Any) -> Any:
    xp = xp_of(pivots)
    order = _permuted(pivots, rows)
    return (xp.arange(rows)[:, None] == order[..., None, :]).astype(dtype)


permutation_p = Primitive(  # P, from the pivots
    "permutation",
    _permutation,
    lambda pivots, *, rows, dtype: Aval((*pivots.shape[:-1], rows, rows), dtype, pivots.device),
    batch=own_batch("permutation"),
)

lu_p = Primitive(  # (L and U in one matrix, pivots)
    "lu",
    _factor,
    lambda x, *, pivot: (x, Aval((*x.shape[:-2], min(x.shape[-2:])), INT, x.device)),
    joint=_lu_joint,
    jvp=along(_lu_push),
    batch=own_batch("lu"),
    nout=2,
)

# ---- functions -------------------------------------------------------------------------------------------------------


def lu_factor(A: Any, *, pivot: bool = True) -> LUFactorResult:
    """(L without its diagonal of ones and U in one matrix, pivots): step i swapped row i with row pivots[i] - 1."""
    return LUFactorResult(*apply(lu_p, matrix("linalg.lu_factor", A), pivot=bool(pivot)))


def lu(A: Any, *, pivot: bool = True) -> LUResult:
    """A = P L U with a permutation P, L lower triangular with ones on its diagonal, U upper triangular.

    P is empty where pivot=False.
    """
    packed, pivots = apply(lu_p, matrix("linalg.lu", A), pivot=bool(pivot))
    p, low, up = lu_unpack(packed, pivots)
    return LUResult(p if pivot else A.new_empty(0), low, up)


def lu_unpack(
    LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True
) -> LUResult:  # fmt: skip
    """(P, L, U) of what lu_factor returns; what is not asked for is empty."""
    m, n = matrix("lu_unpack", LU_data).shape[-2:]
    k = min(m, n)
    if dtypes.of(LU_pivots.raw) is not dtypes.int32:
        raise TypeError(f"lu_unpack: LU_pivots is expected to be of dtype int32, got {LU_pivots.dtype}")
    none = LU_data.new_empty(0)
    p = apply(permutation_p, LU_pivots, rows=m, dtype=LU_data.dtype.dtype) if unpack_pivots else none
    if not unpack_data:
        return LUResult(p, none, none)
    left = block(LU_data, (0, m), (0, k))
    low = lower(left, strict=True) + eye_like(left.detach())
    return LUResult(p, low, upper(block(LU_data, (0, k), (0, n))))


def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """X of A X = B (left) or X A = B, or of the system of Aᴴ, where lu_factor of A gave LU and pivots."""
    what = "linalg.lu_solve"
    floats(what, square(what, LU), matrix(what, B))
    if pivots.shape != LU.shape[:-1]:
        raise ShapeError(f"{what}: pivots of shape {tuple(pivots.shape)}, expected {tuple(LU.shape[:-1])}")
    if not left:  # X A = B is Aᴴ Xᴴ = Bᴴ
        return _adjoint(lu_solve(LU, pivots, _adjoint(B), adjoint=not adjoint))
    if B.shape[-2] != LU.shape[-1]:
        raise ShapeError(f"{what}: Incompatible shapes of A {tuple(LU.shape)} and B {tuple(B.shape)}")
    p = apply(permutation_p, pivots, rows=LU.shape[-1], dtype=LU.dtype.dtype)
    if adjoint:
        y = solve_triangular(_adjoint(LU), B, upper=False)
        return matmul(p, solve_triangular(_adjoint(LU), y, upper=True, unitriangular=True))
    y = solve_triangular(LU, matmul(swap(p), B), upper=False, unitriangular=True)
    return solve_triangular(LU, y, upper=True)


_adjoint = adjoint
