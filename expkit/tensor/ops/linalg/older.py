"""The functions of linear algebra outside torch.linalg, with the arguments that they have there."""

from collections import namedtuple
from typing import Any

from expkit.tensor.ops.complex import real_dtype
from expkit.tensor.ops.filled import zeros
from expkit.tensor.ops.linalg import determinants, factors, lu_factors, products, rank, spectra, systems
from expkit.tensor.ops.linalg.matrices import adjoint
from expkit.tensor.ops.linalg.reports import lu_factor_ex
from expkit.tensor.ops.matmul import matmul
from expkit.tensor.ops.random import randn
from expkit.tensor.ops.reduce import mean

SVDResult = namedtuple("SVDResult", "U S V")

det, slogdet, logdet = determinants.det, determinants.slogdet, determinants.logdet
pinverse, matrix_exp, matrix_power = rank.pinverse, products.matrix_exp, products.matrix_power
cholesky_solve, cholesky_inverse = systems.cholesky_solve, systems.cholesky_inverse
triangular_solve, geqrf, ormqr = systems.triangular_solve, factors.geqrf, factors.ormqr
orgqr, lu_unpack = factors.householder_product, lu_factors.lu_unpack


def inverse(input: Any) -> Any:
    """The inverse of each matrix. LinAlgError for a singular one."""
    return systems.inv(input)


def cholesky(input: Any, upper: bool = False) -> Any:
    """The triangular L of A = L Lᴴ (upper: of A = Lᴴ L)."""
    return factors.cholesky(input, upper=upper)


def qr(input: Any, some: bool = True) -> Any:
    """A = Q R; with a square Q where not some."""
    return factors.qr(input, "reduced" if some else "complete")


def svd(input: Any, some: bool = True, compute_uv: bool = True) -> SVDResult:
    """A = U diag(S) Vᴴ; with square U and V where not some. U and V are zero where they are not to be computed."""
    if not compute_uv:
        (m, n), lead = input.shape[-2:], tuple(input.shape[:-2])
        u, v = (zeros((*lead, k, k), dtype=input.dtype, device=input.device) for k in (m, n))
        return SVDResult(u, spectra.svdvals(input), v)
    u, s, vh = spectra.svd(input, full_matrices=not some)
    return SVDResult(u, s, adjoint(vh))


def lu(input: Any, pivot: bool = True, get_infos: bool = False) -> tuple[Any, ...]:
    """(LU, pivots) as of linalg.lu_factor; and the numbers of the first zero pivots where get_infos."""
    packed, pivots, info = lu_factor_ex(input, pivot=pivot)
    return (packed, pivots, info) if get_infos else (packed, pivots)


def lu_solve(input: Any, LU_data: Any, LU_pivots: Any) -> Any:
    """X of A X = input, where linalg.lu_factor of A gave LU_data and LU_pivots."""
    return lu_factors.lu_solve(LU_data, LU_pivots, input)


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Powers of a vector's elements: (n,) -> (n, N), the exponents N - 1, ..., 1, 0 (0, 1, ... where increasing)."""
    if x.ndim != 1:
        raise ValueError(f"vander: x must be a one-dimensional tensor, its shape is {tuple(x.shape)}")
    columns = x.shape[0] if N is None else N
    if columns < 2:  # linalg.vander refuses these
        return (x.detach().unsqueeze(-1) ** 0)[:, :columns]
    return products.vander(x, columns, increasing=increasing)


def _low_rank(A: Any, q: int, rounds: int) -> SVDResult:
    """The SVD in the span of A times random vectors: N. Halko et al., "Finding Structure with Randomness" (2009)."""
    start = randn(A.shape[-1], q, dtype=real_dtype(A.dtype.dtype), device=A.device).to(A.dtype)
    basis = factors.qr(matmul(A, start)).Q
    for _ in range(rounds):
        basis = factors.qr(matmul(adjoint(A), basis)).Q
        basis = factors.qr(matmul(A, basis)).Q
    u, s, vh = spectra.svd(matmul(adjoint(basis), A), full_matrices=False)
    return SVDResult(matmul(basis, u), s, adjoint(vh))


def svd_lowrank(A: Any, q: int | None = 6, niter: int | None = 2, M: Any = None) -> SVDResult:
    """The q largest singular values of A - M with their vectors, nearly: A - M ≈ U diag(S) Vᴴ."""
    q, rounds = 6 if q is None else q, 2 if niter is None else niter
    x = A if M is None else A - M
    if q < 0 or rounds < 0:
        raise ValueError(f"svd_lowrank: q={q} and niter={rounds} must not be negative")
    if x.shape[-2] >= x.shape[-1]:
        return _low_rank(x, q, rounds)
    u, s, v = _low_rank(adjoint(x), q, rounds)
    return SVDResult(v, s, u)


def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> SVDResult:
    """The q principal directions V of the rows of A, nearly, with U and S: of A less its mean row, where center."""
    least = min(A.shape[-2:])
    q = min(6, least) if q is None else q
    if not 0 <= q <= least or niter < 0:
        raise ValueError(f"pca_lowrank: q={q} must be from 0 to {least} and niter={niter} not negative")
    return svd_lowrank(A - mean(A, -2, keepdim=True) if center else A, q, niter)
