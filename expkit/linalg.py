"""Linear algebra by torch.linalg's names, over the last two dimensions; the leading ones are a batch."""

from collections import namedtuple
from typing import Any

import numpy as np

from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import Tensor, cat, dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops import distance, reduce
from expkit.tensor.ops.decompose import (
    cholesky_p,
    det_p,
    eigh_p,
    eye_like,
    inv_p,
    qr_p,
    slogdet_p,
    solve_p,
    svd_p,
    svdvals_p,
    triangle_p,
)  # fmt: skip
from expkit.tensor.ops.matmul import swap
from expkit.tensor.ops.movement import movedim, squeeze, unsqueeze

LinAlgError = np.linalg.LinAlgError
SlogdetResult = namedtuple("SlogdetResult", "sign logabsdet")
QRResult = namedtuple("QRResult", "Q R")
SVDResult = namedtuple("SVDResult", "U S Vh")
EighResult = namedtuple("EighResult", "eigenvalues eigenvectors")


def inv(A: Any) -> Any:
    """The inverse of each matrix. LinAlgError for a singular one."""
    return apply(inv_p, _square("inv", A))


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """X of A X = B (left) or X A = B.   A: (*, n, n), B: (*, n, k), or (*, n) as vectors where it is no matrix."""
    _square("solve", A)
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and tuple(B.shape) == tuple(A.shape[:-1]))
    if not left:
        if vector:
            raise ValueError("linalg.solve: Vector broadcasting of the left hand side is not supported for left=False")
        return swap(_solve("solve", swap(A), swap(_matrix("solve", B))))
    if vector:
        return squeeze(_solve("solve", A, unsqueeze(B, -1)), -1)
    return _solve("solve", A, B)


def _solve(what: str, A: Any, B: Any) -> Any:
    """X of A X = B, both matrices or batches of them."""
    if B.shape[-2] != A.shape[-1]:
        raise ShapeError(f"linalg.{what}: Incompatible shapes of A {tuple(A.shape)} and B {tuple(B.shape)}")
    return apply(solve_p, A, B)


def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """X of A X = B (left) or X A = B, where only the upper (or lower) triangle of A is read."""
    _square("solve_triangular", A)
    _matrix("solve_triangular", B)
    a = triangle_p(A, lower=not upper, strict=unitriangular)
    if unitriangular:
        a = a + eye_like(a.detach())
    if left:
        return _solve("solve_triangular", a, B)
    return swap(_solve("solve_triangular", swap(a), swap(B)))


def det(A: Any) -> Any:
    """The determinant of each matrix."""
    return apply(det_p, _square("det", A))


def slogdet(A: Any) -> SlogdetResult:
    """(sign, logarithm of the absolute value) of each determinant."""
    return SlogdetResult(*apply(slogdet_p, _square("slogdet", A)))


def cholesky(A: Any, *, upper: bool = False) -> Any:
    """The lower triangular L of A = L Lᵀ, or its transpose; that triangle of A is read.

    LinAlgError where A is not positive definite.
    """
    x = _square("cholesky", A)
    return swap(apply(cholesky_p, swap(x))) if upper else apply(cholesky_p, x)


def eigh(A: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices, of which one triangle is read."""
    if UPLO not in ("L", "U"):
        raise ValueError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    x = _square("eigh", A)
    return EighResult(*apply(eigh_p, swap(x) if UPLO == "U" else x))


def qr(A: Any, mode: str = "reduced") -> QRResult:
    """A = Q R with orthonormal columns in Q and an upper triangular R. mode: "reduced", "complete" or "r"."""
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"linalg.qr: mode must be 'reduced', 'complete' or 'r', got {mode!r}")
    x = _matrix("qr", A)
    m, n = x.shape[-2:]
    if mode == "complete" and m > n:
        if x.requires_grad:
            raise NotImplementedError("linalg.qr: mode='complete' cannot be differentiated for more rows than columns")
        full = [Tensor.of(part, like=x) for part in xp_of(x.raw).linalg.qr(x.raw, mode="complete")]
        return QRResult(*full)
    if m < n:  # of the square part; the columns beyond it are Qᵀ times those of A
        q, r = apply(qr_p, x[..., :m])
        r = cat([r, swap(q) @ x[..., m:].clone()], -1)
    else:
        q, r = apply(qr_p, x)
    return QRResult(q.new_empty(0) if mode == "r" else q, r)


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> SVDResult:
    """A = U diag(S) Vh with orthonormal columns in U and rows in Vh, S descending. `driver` means nothing here."""
    x = _matrix("svd", A)
    if full_matrices and x.shape[-1] != x.shape[-2]:
        if x.requires_grad:
            raise NotImplementedError("linalg.svd: use full_matrices=False to differentiate through it")
        full = xp_of(x.raw).linalg.svd(x.raw, full_matrices=True)
        return SVDResult(*(Tensor.of(part, like=x) for part in full))
    return SVDResult(*apply(svd_p, x))


def svdvals(A: Any, *, driver: str | None = None) -> Any:
    """The singular values, descending."""
    x = _matrix("svdvals", A)
    return apply(svdvals_p, x.clone() if x.requires_grad else x)  # its own: A may be overwritten before backward


def _square(what: str, x: Any) -> Any:
    n, m = _matrix(what, x).shape[-2:]
    if n != m:
        raise ShapeError(f"linalg.{what}: A must be batches of square matrices, but they are {n} by {m} matrices")
    return x


def _floats(what: str, x: Any) -> Any:
    d = dtypes.of(x.raw)
    if not (d.is_floating_point or d.is_complex) or d.itemsize == 2:
        raise TypeError(f"linalg.{what}: expected a floating point or complex tensor of 32 bits or more, got {d}")
    return x


def _matrix(what: str, x: Any) -> Any:
    if x.ndim < 2:
        raise ShapeError(
            f"linalg.{what}: The input tensor A must have at least 2 dimensions, got shape {tuple(x.shape)}"
        )
    return _floats(what, x)


# ---- norms -----------------------------------------------------------------------------------------------------------


def vector_norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:  # fmt: skip
    """The norm of vectors along `dim`, of all elements where it is None."""
    if isinstance(ord, str):
        raise TypeError(f"linalg.vector_norm: the order must be a number, got {ord!r}")
    x = x if dtype is None else x.to(dtype)
    return distance.norm(x, ord, dim, keepdim)


def matrix_norm(
    A: Any, ord: Any = "fro", dim: tuple[int, int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """The norm of matrices: "fro", "nuc", 1, -1, 2, -2, inf, -inf."""
    x = _matrix("matrix_norm", A if dtype is None else A.to(dtype))
    rows, columns = (d % x.ndim for d in dim)
    if rows == columns:
        raise ValueError(f"linalg.matrix_norm: dims must be different. Got {dim}")
    if ord == "fro":
        return distance.norm(x, 2, (rows, columns), keepdim)
    if ord in (1, -1, float("inf"), -float("inf")):
        first, second = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = reduce.sum(x.abs(), first, True)
        pick = reduce.amax if ord > 0 else reduce.amin
        return (
            pick(sums, second, True)
            if keepdim
            else squeeze(squeeze(pick(sums, second, True), second), first - (second < first))
        )
    if ord not in ("nuc", 2, -2):
        raise ValueError(f"linalg.matrix_norm: Order {ord} not supported.")
    s = svdvals(movedim(x, (rows, columns), (-2, -1)))
    out = reduce.sum(s, -1) if ord == "nuc" else (reduce.amax if ord == 2 else reduce.amin)(s, -1)
    if not keepdim:
        return out
    for d in sorted((rows, columns)):
        out = unsqueeze(out, d)
    return out


def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """A vector's or a matrix's norm, by `dim` (one or two of them) or by the number of dimensions."""
    if ord is not None and (isinstance(ord, str) or dim is not None or A.ndim == 2):
        dims = (dim,) if isinstance(dim, int) else dim
        if dims is None and A.ndim != 2:
            raise ShapeError(f"linalg.norm: if ord={ord!r} is given without dim, the input must be 1- or 2-dimensional")
        if dims is None or len(dims) == 2:
            return matrix_norm(A, ord, tuple(dims or (-2, -1)), keepdim, dtype=dtype)
    elif ord is not None and A.ndim > 2:
        raise ShapeError("linalg.norm: if dim is not specified but ord is, the input must be 1D or 2D")
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


def matrix_power(A: Any, n: int) -> Any:
    """The n-th power of each matrix, by squaring; of its inverse for a negative n."""
    x = _square("matrix_power", A)
    if n < 0:
        x, n = inv(x), -n
    out = None
    while n:
        if n & 1:
            out = x.clone() if out is None else out @ x
        x, n = (x @ x if n > 1 else x), n >> 1
    return eye_like(x.detach()) if out is None else out


def matrix_rank(A: Any, *, tol: Any = None, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    """How many singular values are larger than max(atol, rtol * the largest)."""
    s = svdvals(A.detach())
    if tol is not None:
        atol, rtol = tol, 0.0
    if rtol is None:
        rtol = max(A.shape[-2:]) * dtypes.finfo(A.dtype).eps if atol is None else 0.0
    bound = reduce.amax(s, -1, True) * rtol if s.shape[-1] else s
    return reduce.sum(s > bound.clamp(min=0.0 if atol is None else atol), -1)


def pinv(A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    """The Moore-Penrose inverse, by the singular values above max(atol, rtol * the largest)."""
    u, s, vh = svd(A, full_matrices=False)
    if rtol is None:
        rtol = max(A.shape[-2:]) * dtypes.finfo(A.dtype).eps if atol is None else 0.0
    bound = (reduce.amax(s, -1, True) * rtol).clamp(min=0.0 if atol is None else atol)
    inverse = (s > bound).to(s.dtype) / s.masked_fill(s <= bound, 1.0)
    return swap(vh) @ (inverse.unsqueeze(-1) * swap(u))


def multi_dot(tensors: Any) -> Any:
    """The product of several matrices, in the order that costs least."""
    xs = list(tensors)
    if len(xs) < 2:
        raise ValueError(f"multi_dot(): expected at least 2 tensors but got {len(xs)}")
    first, last = xs[0].ndim == 1, xs[-1].ndim == 1
    xs[0] = unsqueeze(xs[0], 0) if first else xs[0]
    xs[-1] = unsqueeze(xs[-1], 1) if last else xs[-1]
    sizes = [xs[0].shape[0], *(x.shape[1] for x in xs)]
    out = _chain(xs, sizes, _best_splits(sizes), 0, len(xs) - 1)
    out = squeeze(out, -1) if last else out
    return squeeze(out, 0) if first else out


def _best_splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to split each stretch of a chain of matrices (Cormen et al., Introduction to Algorithms, 14.2)."""
    n = len(sizes) - 1
    cost: dict[tuple[int, int], int] = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            costs = {k: cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)}
            split[i, j] = min(costs, key=costs.__getitem__)
            cost[i, j] = costs[split[i, j]]
    return split


def _chain(xs: list[Any], sizes: list[int], split: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return xs[i]
    k = split[i, j]
    return _chain(xs, sizes, split, i, k) @ _chain(xs, sizes, split, k + 1, j)
