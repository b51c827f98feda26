"""Factorisations that say in an integer, instead of an error, which matrices have none."""

import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import LinAlgError
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.filled import zeros
from expkit.tensor.ops.index import where
from expkit.tensor.ops.linalg.factors import cholesky
from expkit.tensor.ops.linalg.lu_factors import lu_factor
from expkit.tensor.ops.linalg.matrices import eye_like, floats, own_batch, square
from expkit.tensor.ops.linalg.systems import inv, is_vector, solve
from expkit.tensor.ops.movement import diagonal, unsqueeze

InvExResult = namedtuple("InvExResult", "inverse info")
SolveExResult = namedtuple("SolveExResult", "result info")
CholeskyExResult = namedtuple("CholeskyExResult", "L info")
LUFactorExResult = namedtuple("LUFactorExResult", "LU pivots info")
INT = np.dtype(np.int32)


def _minors(x: Any) -> Any:
    """The order of the first leading minor of each matrix that is not positive definite; 0 where all are."""
    xp = xp_of(x)
    flat = x.reshape((-1, *x.shape[-2:]))
    return xp.asarray([_first_minor(part) for part in flat], INT).reshape(x.shape[:-2])


def _first_minor(x: Any) -> int:
    for k in range(1, x.shape[-1] + 1):
        try:
            xp_of(x).linalg.cholesky(x[:k, :k])
        except np.linalg.LinAlgError:
            return k
    return 0


minors_p = Primitive(
    "minors", _minors, lambda x: Aval(x.shape[:-2], INT, x.device), batch=own_batch("minors")
)  # fmt: skip


def _first_zero(packed: Any) -> Any:
    """The number (from 1) of the first zero pivot of each LU factorisation, 0 where there is none."""
    zero = diagonal(packed.detach(), 0, -2, -1) == 0
    first = zero.any(-1) * (zero.to("int32").argmax(-1) + 1) if zero.shape[-1] else zero.sum(-1)
    return first.to("int32")


def _zero_pivots(A: Any) -> Any:
    return _first_zero(lu_factor(A).LU)


def _reported(factor: Callable[..., Any], faults: Callable[..., Any], A: Any, check_errors: bool) -> tuple[Any, Any]:
    """(factor(A), zeros), or NaN and a positive number for those matrices that `faults` finds to have none."""
    try:
        return factor(A), zeros(tuple(A.shape[:-2]), dtype="int32", device=A.device)
    except LinAlgError:
        if check_errors:
            raise
    info = faults(A.detach())
    bad = unsqueeze(unsqueeze(info != 0, -1), -1)
    return factor(where(bad, eye_like(A.detach()), A)).masked_fill(bad, math.nan), info


def inv_ex(A: Any, *, check_errors: bool = False) -> InvExResult:
    """(inverse, info): info is 0, or the number of the first zero pivot of a singular matrix; its inverse is NaN."""
    return InvExResult(*_reported(inv, _zero_pivots, square("linalg.inv_ex", A), check_errors))


def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> CholeskyExResult:
    """(L, info): info is 0, or the order of the first leading minor that is not positive definite; L is NaN then."""
    square("linalg.cholesky_ex", A)
    return CholeskyExResult(
        *_reported(lambda x: cholesky(x, upper=upper), lambda x: apply(minors_p, x), A, check_errors)
    )


def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> SolveExResult:
    """(X of A X = B, info): info is 0, or the number of the first zero pivot of a singular matrix; its X is NaN."""
    floats("linalg.solve_ex", square("linalg.solve_ex", A), B)
    try:
        return SolveExResult(solve(A, B, left=left), zeros(tuple(A.shape[:-2]), dtype="int32", device=A.device))
    except LinAlgError:
        if check_errors:
            raise
    info = _zero_pivots(A.detach())
    bad = unsqueeze(unsqueeze(info != 0, -1), -1)
    x = solve(where(bad, eye_like(A.detach()), A), B, left=left)
    return SolveExResult(x.masked_fill(bad.squeeze(-1) if is_vector(A, B) else bad, math.nan), info)


def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> LUFactorExResult:
    """lu_factor's (LU, pivots) and the number of the first zero pivot, 0 where there is none."""
    packed, pivots = lu_factor(A, pivot=pivot)
    info = _first_zero(packed)
    if check_errors and bool(info.any()):
        raise LinAlgError(f"linalg.lu_factor_ex: pivot {int(info.max())} of a matrix is zero")
    return LUFactorExResult(packed, pivots, info)
