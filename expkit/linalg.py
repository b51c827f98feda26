"""Linear algebra by torch.linalg's names, over the last two dimensions; the leading ones are a batch."""

from types import FunctionType
from typing import Any

from expkit.errors import LinAlgError
from expkit.tensor.guard import refusing
from expkit.tensor.ops import movement
from expkit.tensor.ops.linalg.determinants import det, slogdet
from expkit.tensor.ops.linalg.factors import cholesky, householder_product, qr
from expkit.tensor.ops.linalg.lu_factors import lu, lu_factor, lu_solve
from expkit.tensor.ops.linalg.norms import matrix_norm, norm, vector_norm
from expkit.tensor.ops.linalg.products import linalg_cross as cross
from expkit.tensor.ops.linalg.products import matrix_exp, matrix_power, multi_dot, vander, vecdot
from expkit.tensor.ops.linalg.rank import cond, lstsq, matrix_rank, pinv
from expkit.tensor.ops.linalg.reports import cholesky_ex, inv_ex, lu_factor_ex, solve_ex
from expkit.tensor.ops.linalg.spectra import eig, eigh, eigvals, eigvalsh, svd, svdvals
from expkit.tensor.ops.linalg.systems import inv, solve, solve_triangular, tensorinv, tensorsolve
from expkit.tensor.ops.matmul import matmul
from expkit.tensor.precision import casting


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of matrices, as a view."""
    return movement.diagonal(A, offset, dim1, dim2)


__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh",
    "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul",
    "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve",
    "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip

for _name in __all__:
    if isinstance(globals()[_name], FunctionType):
        globals()[_name] = casting(f"linalg.{_name}", refusing(globals()[_name], into=True))
