"""Eigenvalues and singular values."""

from collections import namedtuple
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.complex import COMPLEX, real_dtype
from expkit.tensor.ops.linalg.matrices import (
    adjoint,
    adjoint_rule,
    along,
    block,
    column,
    conj,
    diagonal,
    eye_like,
    inverse_off_diagonal,
    is_complex,
    jointly,
    like,
    matrix,
    mm,
    own_batch,
    real,
    row,
    square,
)
from expkit.tensor.ops.linalg.systems import solve_p
from expkit.tensor.ops.movement import pad_p

EighResult = namedtuple("EighResult", "eigenvalues eigenvectors")
EigResult = namedtuple("EigResult", "eigenvalues eigenvectors")
SVDResult = namedtuple("SVDResult", "U S Vh")

# ---- of Hermitian matrices -------------------------------------------------------------------------------------------


def _gaps(values: Any, vectors: Any) -> Any:
    """1 / (w_j - w_i), 0 on the diagonal, in the dtype of the vectors."""
    return like(inverse_off_diagonal(row(values) - column(values)), vectors)


def _eigh_rule(g: Any, out: Any, _x: Any, *, uplo: str) -> Any:
    (gw, gv), (w, v) = g, out
    inner = None if gw is None else eye_like(v) * like(row(gw), v)
    if gv is not None:
        turned = _gaps(w, v) * mm(adjoint(v), gv)
        inner = turned if inner is None else inner + turned
    s = mm(v, inner, adjoint(v))
    return (s + adjoint(s)) * 0.5


def _eigh_push(t: Any, out: Any, _x: Any, *, uplo: str) -> Any:
    w, v = out
    inner = mm(adjoint(v), t, v)
    return [real(diagonal(inner)), mm(v, _gaps(w, v) * inner)]


def _reals(x: Aval, shape: tuple[int, ...]) -> Aval:
    return Aval(shape, real_dtype(x.dtype), x.device)


eigh_p = Primitive(  # (eigenvalues, eigenvectors) of Hermitian matrices, of which one triangle is read
    "eigh",
    lambda x, *, uplo: tuple(xp_of(x).linalg.eigh(x, uplo)),
    lambda x, *, uplo: (_reals(x, x.shape[:-1]), x),
    joint=jointly(_eigh_rule),
    jvp=along(_eigh_push),
    batch=own_batch("eigh"),
    nout=2,
    materialize=False,
)

# ---- of any square matrices ------------------------------------------------------------------------------------------


def _eig(x: Any) -> tuple[Any, Any]:
    wide = COMPLEX.get(x.dtype, x.dtype)
    w, v = xp_of(x).linalg.eig(x)
    return w.astype(wide, copy=False), v.astype(wide, copy=False)


def _eig_shape(x: Aval) -> tuple[Aval, Aval]:
    wide = COMPLEX.get(np.dtype(x.dtype), np.dtype(x.dtype))
    return Aval(x.shape[:-1], wide, x.device), Aval(x.shape, wide, x.device)


def _eig_rule(g: Any, out: Any, _x: Any) -> Any:
    """For eigenvectors of length 1. C. Boeddeker et al., "On the Computation of Complex-valued Gradients" (2017)."""
    (gw, gv), (w, v) = g, out
    vh = adjoint(v)
    inner = None if gw is None else eye_like(v) * row(gw)
    if gv is not None:
        along_v = mm(vh, gv)
        turned = along_v - mm(vh, v * like(row(real(diagonal(along_v))), v))
        turned = turned * conj(inverse_off_diagonal(row(w) - column(w)))
        inner = turned if inner is None else inner + turned
    return solve_p(vh, mm(inner, vh))


def _eig_push(t: Any, out: Any, _x: Any) -> Any:
    w, v = out
    inner = solve_p(v, mm(like(t, v), v))
    turned = inner * inverse_off_diagonal(row(w) - column(w))
    dv = mm(v, turned)
    return [diagonal(inner), dv - v * like(row(real(diagonal(mm(adjoint(v), dv)))), v)]


eig_p = Primitive(
    "eig", _eig, _eig_shape, joint=jointly(_eig_rule), jvp=along(_eig_push), batch=own_batch("eig"), nout=2,
    materialize=False,
)  # fmt: skip

# ---- singular values -------------------------------------------------------------------------------------------------


def _svd_shape(x: Aval, *, full: bool) -> tuple[Aval, Aval, Aval]:
    (m, n), lead = x.shape[-2:], x.shape[:-2]
    k = min(m, n)
    u, vh = ((m, m), (n, n)) if full else ((m, k), (k, n))
    return Aval((*lead, *u), x.dtype, x.device), _reals(x, (*lead, k)), Aval((*lead, *vh), x.dtype, x.device)


def _reduced(u: Any, vh: Any, k: int) -> tuple[Any, Any]:
    """The first k columns of u and rows of vh."""
    return (
        None if u is None else block(u, (0, u.shape[-2]), (0, k)),
        None if vh is None else block(vh, (0, k), (0, vh.shape[-1])),
    )


def _inside(turn: Any, phases: Any, s: Any, left: bool) -> Any:
    """What the gradient of one set of singular vectors adds between the two, `turn` being its part along them."""
    e = like(inverse_off_diagonal((row(s) - column(s)) * (row(s) + column(s))), turn)
    skew = (turn - adjoint(turn)) * e
    skew = skew * like(row(s), turn) if left else like(column(s), turn) * skew
    if not is_complex(turn):
        return skew
    return skew + eye_like(turn) * (phases - adjoint(phases)) / (like(row(s), turn) * 4)


def _svd_rule(g: Any, out: Any, _x: Any, *, full: bool) -> Any:
    """Vectors beyond the first min(m, n) are any basis of what is left: gradients of theirs count for nothing."""
    (gu, gs, gvh), (u, s, vh) = g, out
    if full:
        (u, vh), (gu, gvh) = _reduced(u, vh, s.shape[-1]), _reduced(gu, gvh, s.shape[-1])
    inside, outside = [], []
    if gs is not None:
        inside.append(eye_like(mm(vh, adjoint(vh))) * like(row(gs), u))
    if gu is not None:
        uu = mm(adjoint(u), gu)
        inside.append(_inside(uu, uu, s, left=True))
        outside.append(mm((gu - mm(u, uu)) / like(row(s), u), vh))
    if gvh is not None:
        vv = mm(vh, adjoint(gvh))
        inside.append(_inside(vv, adjoint(vv), s, left=False))
        outside.append(mm(u, (gvh - mm(adjoint(vv), vh)) / like(column(s), u)))
    return _sum([mm(u, _sum(inside), vh), *outside])


def _sum(parts: list[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _svd_push(t: Any, out: Any, _x: Any, *, full: bool) -> Any:
    u, s, vh = wide_u, _, wide_vh = out
    if full:
        u, vh = _reduced(u, vh, s.shape[-1])
    p = mm(adjoint(u), t, adjoint(vh))
    e = like(inverse_off_diagonal((row(s) - column(s)) * (row(s) + column(s))), u)
    sr, sc = like(row(s), u), like(column(s), u)
    ps, sp = p * sr, sc * p
    turn_u, turn_v = e * (ps + adjoint(ps)), e * (sp + adjoint(sp))
    if is_complex(u):  # each takes half of the change of phase
        phases = eye_like(p) * (p - adjoint(p)) / (sr * 4)
        turn_u, turn_v = turn_u + phases, turn_v - phases
    du = mm(u, turn_u) + (mm(t, adjoint(vh)) - mm(u, p)) / sr
    dv = mm(adjoint(vh), turn_v) + (mm(adjoint(t), u) - mm(adjoint(vh), adjoint(p))) / sr
    return [_widened(du, wide_u), real(diagonal(p)), _widened(adjoint(dv), wide_vh)]


def _widened(x: Any, wide: Any) -> Any:
    """With zeros behind, in the shape of `wide`."""
    widths = tuple((0, m - n) for n, m in zip(x.shape, wide.shape, strict=True))
    return pad_p(x, widths=widths, value=0) if any(w[1] for w in widths) else x


svd_p = Primitive(
    "svd",
    lambda x, *, full: tuple(xp_of(x).linalg.svd(x, full_matrices=full)),
    _svd_shape,
    joint=jointly(_svd_rule),
    jvp=along(_svd_push),
    batch=own_batch("svd"),
    nout=3,
    materialize=False,
)

# ---- values alone: their derivatives need no distance between them ---------------------------------------------------


def _svdvals_rule(g: Any, _out: Any, x: Any) -> Any:
    u, _, vh = svd_p(x, full=False)
    return mm(u * like(row(g), u), vh)


def _svdvals_push(t: Any, _out: Any, x: Any) -> Any:
    u, _, vh = svd_p(x, full=False)
    return real(diagonal(mm(adjoint(u), t, adjoint(vh))))


def _values(x: Any) -> Any:
    return xp_of(x).linalg.svd(x, compute_uv=False)


svdvals_p = Primitive(
    "svdvals", _values, lambda x: _reals(x, (*x.shape[:-2], min(x.shape[-2:]))), adjoint_rule(_svdvals_rule),
    jvp=along(_svdvals_push), batch=own_batch("svdvals"),
)  # fmt: skip


def _eigvalsh_rule(g: Any, _out: Any, x: Any, *, uplo: str) -> Any:
    _, v = eigh_p(x, uplo=uplo)
    return mm(v * like(row(g), v), adjoint(v))


def _eigvalsh_push(t: Any, _out: Any, x: Any, *, uplo: str) -> Any:
    _, v = eigh_p(x, uplo=uplo)
    return real(diagonal(mm(adjoint(v), t, v)))


eigvalsh_p = Primitive(
    "eigvalsh", lambda x, *, uplo: xp_of(x).linalg.eigvalsh(x, uplo), lambda x, *, uplo: _reals(x, x.shape[:-1]),
    adjoint_rule(_eigvalsh_rule), jvp=along(_eigvalsh_push), batch=own_batch("eigvalsh"),
)  # fmt: skip


def _eigvals_rule(g: Any, _out: Any, x: Any) -> Any:
    _, v = eig_p(x)
    vh = adjoint(v)
    return solve_p(vh, like(column(g), v) * vh)


def _eigvals_push(t: Any, _out: Any, x: Any) -> Any:
    _, v = eig_p(x)
    return diagonal(solve_p(v, mm(like(t, v), v)))


eigvals_p = Primitive(
    "eigvals", lambda x: _eig(x)[0], lambda x: _eig_shape(x)[0], adjoint_rule(_eigvals_rule),
    jvp=along(_eigvals_push), batch=own_batch("eigvals"),
)  # fmt: skip

# ---- functions -------------------------------------------------------------------------------------------------------


def _triangle(what: str, UPLO: Any) -> str:
    """Which triangle is read."""
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise ValueError(f"{what}: Expected UPLO argument to be 'L' or 'U', but got {UPLO!r}")
    return UPLO.upper()


def eigh(A: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues, ascending, and eigenvectors of Hermitian matrices, of which one triangle is read."""
    return EighResult(*apply(eigh_p, square("linalg.eigh", A), uplo=_triangle("linalg.eigh", UPLO)))


def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of Hermitian matrices, ascending; they have gradients where they are equal, too."""
    x = square("linalg.eigvalsh", A)
    return apply(eigvalsh_p, _kept(x), uplo=_triangle("linalg.eigvalsh", UPLO))


def eig(A: Any) -> EigResult:
    """Eigenvalues and eigenvectors (columns of length 1) of square matrices, complex."""
    return EigResult(*apply(eig_p, square("linalg.eig", A)))


def eigvals(A: Any) -> Any:
    """The eigenvalues of square matrices, complex."""
    return apply(eigvals_p, _kept(square("linalg.eigvals", A)))


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> SVDResult:
    """A = U diag(S) Vh with orthonormal columns in U and rows in Vh, S descending. `driver` means nothing here."""
    x = matrix("linalg.svd", A)
    return SVDResult(*apply(svd_p, x, full=bool(full_matrices) and x.shape[-1] != x.shape[-2]))


def svdvals(A: Any, *, driver: str | None = None) -> Any:
    """The singular values, descending; they have gradients where they are equal, too."""
    return apply(svdvals_p, _kept(matrix("linalg.svdvals", A)))


def _kept(x: Any) -> Any:
    """x in memory of its own where backward will read it: the caller's may be overwritten before."""
    return x.clone() if x.requires_grad else x
