"""Inverses and solutions of linear systems."""

import math
from collections import namedtuple
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.linalg.matrices import (
    adjoint,
    aligned,
    along,
    eye_like,
    floats,
    matrix,
    mm,
    own_batch,
    same_batch,
    square,
)
from expkit.tensor.ops.matmul import matmul, swap
from expkit.tensor.ops.movement import movedim, reshape, squeeze, unsqueeze
from expkit.tensor.ops.triangle import tril, triu

TriangularSolveResult = namedtuple("TriangularSolveResult", "solution cloned_coefficient")

# ---- primitives ------------------------------------------------------------------------------------------------------


def cofactors(x: Any) -> Any:
    """det(x) inv(x)ᵀ of arrays, also of singular matrices: from the singular values."""
    xp = xp_of(x)
    u, s, vh = xp.linalg.svd(x)
    others = xp.where(xp.eye(x.shape[-1], dtype=bool), 1, s[..., None, :]).prod(-1)
    sign = xp.asarray(xp.linalg.det(u) * xp.linalg.det(vh))
    return (u.conj() * (others * sign[..., None])[..., None, :]) @ vh.conj()


def _inv(x: Any, *, loose: bool) -> Any:
    xp = xp_of(x)
    try:
        return xp.linalg.inv(x)
    except np.linalg.LinAlgError:
        if not loose:
            raise
    with np.errstate(divide="ignore", invalid="ignore"):
        return cofactors(x).swapaxes(-1, -2) / xp.asarray(xp.linalg.det(x))[..., None, None]


inv_p = Primitive(  # loose: infinite for singular matrices
    "inv",
    _inv,
    lambda x, *, loose: x,
    lambda g, out, _x, *, loose: -mm(swap(out), g, swap(out)),
    jvp=along(lambda t, out, _x, *, loose: -mm(out, t, out)),
    batch=own_batch("inv"),
)


def _solve(a: Any, b: Any) -> Any:
    xp = xp_of(a)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if a.shape[:-2] != b.shape[:-2]:
        a, b = xp.broadcast_to(a, (*lead, *a.shape[-2:])), xp.broadcast_to(b, (*lead, *b.shape[-2:]))
    return xp.linalg.solve(a, b) if math.prod(lead) and b.size else xp.zeros(b.shape, b.dtype)


def _solve_joint(g: Any, out: Any, a: Any, _b: Any) -> tuple[Any, Any]:
    right = solve_p(swap(a), g)
    return -mm(right, swap(out)), right


def _solve_push(tangents: list[Any], out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    ta, tb = tangents
    right = None if ta is None else -mm(ta, out)
    right = tb if right is None else right if tb is None else tb + right
    return solve_p(primals[0], right)


solve_p = Primitive(  # X of A X = B; the leading axes are broadcast
    "solve",
    _solve,
    lambda a, b: Aval((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype, b.device),
    joint=_solve_joint,
    jvp=_solve_push,
    batch=lambda size, values, mapped, kw: solve_p(*aligned(values, mapped)),
)

triangle_p = Primitive(  # the triangle of a factor that is read; its derivatives are those of the whole factor
    "factor_triangle",
    lambda x, *, upper: (xp_of(x).triu if upper else xp_of(x).tril)(x),
    lambda x, *, upper: x,
    lambda g, _out, _x, *, upper: g,
    jvp=along(lambda t, _out, _x, *, upper: t),
    batch=own_batch("factor_triangle"),
)

# ---- inverses and solutions ------------------------------------------------------------------------------------------


def inv(A: Any) -> Any:
    """The inverse of each matrix. LinAlgError for a singular one."""
    return apply(inv_p, square("linalg.inv", A), loose=False)


def is_vector(A: Any, B: Any) -> bool:
    """Whether the right-hand side is one vector for each matrix."""
    return B.ndim == 1 or (B.ndim == A.ndim - 1 and tuple(B.shape) == tuple(A.shape[:-1]))


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """X of A X = B (left) or X A = B.   A: (*, n, n), B: (*, n, k), or (*, n) as vectors where it is no matrix."""
    floats("linalg.solve", square("linalg.solve", A), B)
    if is_vector(A, B):
        if not left:
            raise ValueError("linalg.solve: Vector broadcasting of the left hand side is not supported for left=False")
        return squeeze(_matched("linalg.solve", A, unsqueeze(B, -1)), -1)
    matrix("linalg.solve", B)
    return _matched("linalg.solve", A, B) if left else swap(_matched("linalg.solve", swap(A), swap(B)))


def _matched(what: str, A: Any, B: Any) -> Any:
    """X of A X = B, both matrices or batches of them."""
    if B.shape[-2] != A.shape[-1]:
        raise ShapeError(f"{what}: Incompatible shapes of A {tuple(A.shape)} and B {tuple(B.shape)}")
    return apply(solve_p, A, B)


def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """X of A X = B (left) or X A = B, where only the upper (or lower) triangle of A is read."""
    square("linalg.solve_triangular", A)
    floats("linalg.solve_triangular", A, matrix("linalg.solve_triangular", B))
    a = (triu if upper else tril)(A, (1 if upper else -1) if unitriangular else 0)
    if unitriangular:
        a = a + eye_like(a.detach())
    if left:
        return _matched("linalg.solve_triangular", a, B)
    return swap(_matched("linalg.solve_triangular", swap(a), swap(B)))


def triangular_solve(
    b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> TriangularSolveResult:
    """(X, A) with A X = b, or Aᵀ X = b, for a triangular A."""
    matrix("triangular_solve", b)
    a, right = same_batch(square("triangular_solve", A), b)
    x = solve_triangular(swap(a) if transpose else a, right, upper=upper != transpose, unitriangular=unitriangular)
    return TriangularSolveResult(x, a.clone())


def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Any:
    """X of A X = B, given the triangular factor L of A = L Lᴴ (upper: A = Lᴴ L)."""
    floats("cholesky_solve", square("cholesky_solve", L), matrix("cholesky_solve", B))
    factor = apply(triangle_p, L, upper=bool(upper))
    first, second = (adjoint(factor), factor) if upper else (factor, adjoint(factor))
    return _matched("cholesky_solve", second, _matched("cholesky_solve", first, B))


def cholesky_inverse(L: Any, upper: bool = False) -> Any:
    """The inverse of A = L Lᴴ (upper: A = Lᴴ L), given its triangular factor."""
    factor = apply(triangle_p, square("cholesky_inverse", L), upper=bool(upper))
    inverse = apply(inv_p, factor, loose=False)
    return matmul(inverse, adjoint(inverse)) if upper else matmul(adjoint(inverse), inverse)


# ---- of tensors ------------------------------------------------------------------------------------------------------


def tensorinv(A: Any, ind: int = 2) -> Any:
    """The inverse of A as a map from its last dimensions to its first `ind`: tensordot(tensorinv(A), A, ind) = 1."""
    if not isinstance(ind, int) or ind <= 0:
        raise ValueError(f"linalg.tensorinv: ind must be a strictly positive integer, got {ind!r}")
    floats("linalg.tensorinv", A)
    first, last = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if math.prod(first) != math.prod(last):
        raise ShapeError(f"linalg.tensorinv: the products of the sizes {first} and {last} must be equal")
    return reshape(inv(reshape(A, (math.prod(first), math.prod(last)))), (*last, *first))


def tensorsolve(A: Any, B: Any, dims: Any = None) -> Any:
    """X of tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
    floats("linalg.tensorsolve", A, B)
    if dims is not None:
        A = movedim(A, tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    last = tuple(A.shape[B.ndim :])
    if math.prod(last) != B.numel() or math.prod(A.shape[: B.ndim]) != B.numel():
        raise ShapeError(f"linalg.tensorsolve: A of shape {tuple(A.shape)} is no square map to B of {tuple(B.shape)}")
    return reshape(solve(reshape(A, (B.numel(), B.numel())), reshape(B, (B.numel(),))), last)
