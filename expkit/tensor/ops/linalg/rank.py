"""What depends on how many singular values count as zero: rank, pseudo-inverse, least squares; condition numbers."""

import math
from collections import namedtuple
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import LinAlgError, ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops import reduce
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.elementwise import abs as magnitude
from expkit.tensor.ops.elementwise import maximum
from expkit.tensor.ops.elementwise import square as squared
from expkit.tensor.ops.filled import full
from expkit.tensor.ops.kinds import materialize, reshape_p
from expkit.tensor.ops.linalg.matrices import adjoint, conj, eye_like, floats, matrix, mm, same_batch, square
from expkit.tensor.ops.linalg.norms import matrix_norm
from expkit.tensor.ops.linalg.reports import inv_ex
from expkit.tensor.ops.linalg.spectra import eigvalsh, svdvals
from expkit.tensor.ops.linalg.systems import is_vector
from expkit.tensor.ops.matmul import matmul
from expkit.tensor.ops.movement import squeeze, unsqueeze

LstsqResult = namedtuple("LstsqResult", "solution residuals rank singular_values")
DRIVERS = ("gels", "gelsy", "gelsd", "gelss")

# ---- tolerances ------------------------------------------------------------------------------------------------------


def _tolerances(A: Any, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """(atol, rtol) as tensors: nothing absolute, and relatively what rounding explains, unless the caller says more."""
    x = A.detach()
    real = x.real if x.is_complex() else x
    d = real.dtype
    if rtol is None:
        rtol = max(x.shape[-2:]) * dtypes.finfo(d).eps if atol is None else 0.0
    given = (0.0 if atol is None else atol, rtol)
    out = [full((), float(v), dtype=d, device=x.device) if isinstance(v, int | float) else v for v in given]
    for v in out:
        if dtypes.of(v.raw).is_complex:
            raise TypeError("linalg: tolerances must be real numbers, got a complex tensor")
    return as_dtype(out[0].detach(), d), as_dtype(out[1].detach(), d)


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """How many singular values (magnitudes of eigenvalues) are larger than max(atol, rtol * the largest)."""
    x = matrix("linalg.matrix_rank", A).detach()
    if tol is not None:
        atol, rtol = tol, 0.0
    values = magnitude(eigvalsh(square("linalg.matrix_rank", x))) if hermitian else svdvals(x)
    atol, rtol = _tolerances(x, atol, rtol)
    if not values.shape[-1]:
        return reduce.sum(values != 0, -1)
    bound = maximum(atol, rtol * reduce.amax(values, -1))
    return reduce.sum(values > unsqueeze(bound, -1), -1)


# ---- the pseudo-inverse ----------------------------------------------------------------------------------------------


def _pinv(x: Any, atol: Any, rtol: Any, *, hermitian: bool) -> Any:
    xp = xp_of(x)
    if not x.size:
        return xp.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    if hermitian:
        s, u = xp.linalg.eigh(x)
        size, vh = abs(s), u.conj().swapaxes(-1, -2)
    else:
        u, s, vh = xp.linalg.svd(x, full_matrices=False)
        size = s
    bound = xp.maximum(atol, rtol * size.max(-1))[..., None]
    inverse = xp.where(size > bound, 1 / xp.where(size > bound, s, 1), 0)
    right = (inverse[..., None] * u.conj().swapaxes(-1, -2)).astype(x.dtype, copy=False)
    return vh.conj().swapaxes(-1, -2) @ right


def _pinv_parts(out: Any, x: Any) -> tuple[Any, Any]:
    """(1 - A P, 1 - P A)"""
    left, right = mm(x, out), mm(out, x)
    return eye_like(left) - left, eye_like(right) - right


def _pinv_joint(g: Any, out: Any, x: Any, _atol: Any, _rtol: Any, *, hermitian: bool) -> tuple[Any, None, None]:
    """G. Golub and V. Pereyra, "The Differentiation of Pseudo-Inverses ..." (1973): the rank does not change."""
    g, ph = conj(g), adjoint(out)
    left, right = _pinv_parts(out, x)
    total = mm(left, adjoint(g), out, ph) + mm(ph, out, adjoint(g), right) - mm(ph, g, ph)
    return conj(total), None, None


def _pinv_push(tangents: list[Any], out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    t = tangents[0]
    if t is None:
        return None
    left, right = _pinv_parts(out, primals[0])
    ph, th = adjoint(out), adjoint(t)
    return mm(out, ph, th, left) + mm(right, th, ph, out) - mm(out, t, out)


def _pinv_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    x = materialize(size, values[0], mapped[0])
    lead = len(x.shape) - 3
    bounds = [
        reshape_p(v, shape=(v.shape[0], *(1,) * (lead - len(v.shape) + 1), *v.shape[1:])) if m else v
        for v, m in zip(values[1:], mapped[1:], strict=True)
    ]
    return pinv_p(x, *bounds, **kw)


pinv_p = Primitive(
    "pinv", _pinv, lambda x, _atol, _rtol, *, hermitian: Aval((*x.shape[:-2], *x.shape[:-3:-1]), x.dtype, x.device),
    joint=_pinv_joint, jvp=_pinv_push, batch=_pinv_batch,
)  # fmt: skip


def pinv(A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """The Moore-Penrose inverse, by the singular values above max(atol, rtol * the largest)."""
    x = (square if hermitian else matrix)("linalg.pinv", A)
    return apply(pinv_p, x, *_tolerances(x, atol, rcond if rtol is None else rtol), hermitian=bool(hermitian))


def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The Moore-Penrose inverse, by the singular values above rcond * the largest."""
    return pinv(input, rtol=rcond)


# ---- least squares ---------------------------------------------------------------------------------------------------


def lstsq(A: Any, B: Any, rcond: Any = None, *, driver: str | None = None) -> LstsqResult:
    """X with the least |A X - B|, of those the smallest; and what the driver tells: residuals, rank, singular values.

    A: (*, m, n), B: (*, m, k) or (*, m).   LinAlgError where driver="gels" and A has not full rank.
    """
    what, driver = "linalg.lstsq", driver or "gelsy"
    if driver not in DRIVERS:
        raise ValueError(f"{what}: driver must be one of {', '.join(DRIVERS)}, got {driver!r}")
    floats(what, matrix(what, A), B)
    vector = is_vector(A, B)
    b = unsqueeze(B, -1) if vector else matrix(what, B)
    if b.shape[-2] != A.shape[-2]:
        raise ShapeError(f"{what}: A has {A.shape[-2]} rows and B {b.shape[-2]}")
    a, b = same_batch(A, b)
    rtol = max(A.shape[-2:]) * dtypes.finfo(A.dtype).eps if rcond is None else rcond
    solution = matmul(pinv(a, rtol=rtol), b)
    values = svdvals(a.detach())
    rank = matrix_rank(a, rtol=rtol)
    known = rank.raw.__class__ is np.ndarray  # a GPU is not asked, a transform cannot be: full rank is assumed
    complete = not known or bool((rank == min(a.shape[-2:])).all())
    if driver == "gels" and not complete:
        raise LinAlgError(f"{what}: driver='gels' needs matrices of full rank; use 'gelsy', 'gelsd' or 'gelss'")
    none = values.new_empty(0)
    residuals = magnitude(solution).flatten()[:0]
    if driver != "gelsy" and complete and a.shape[-2] > a.shape[-1]:
        residuals = reduce.sum(squared(magnitude(matmul(a, solution) - b)), -2)
    return LstsqResult(
        squeeze(solution, -1) if vector else solution, residuals,
        rank.new_empty(0) if driver == "gels" else rank, values if driver in ("gelsd", "gelss") else none,
    )  # fmt: skip


# ---- condition numbers -----------------------------------------------------------------------------------------------


def cond(A: Any, p: Any = None) -> Any:
    """How much a linear system amplifies errors: norm(A) norm(A⁻¹), or the largest singular value by the smallest."""
    x = matrix("linalg.cond", A)
    if not isinstance(p, bool) and p in (None, 2, -2):
        s = svdvals(x)
        if not s.shape[-1]:
            return reduce.sum(s, -1)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    if isinstance(p, bool) or p not in ("fro", "nuc", 1, -1, math.inf, -math.inf):
        raise ValueError(f"linalg.cond got an invalid norm type: {p!r}")
    square(f"linalg.cond(ord={p})", x)
    inverse, info = inv_ex(x)
    if not x.numel():
        return matrix_norm(x, "fro")
    return (matrix_norm(x, p) * matrix_norm(inverse, p)).masked_fill(info > 0, math.inf)
