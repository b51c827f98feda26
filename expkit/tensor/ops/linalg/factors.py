"""Cholesky and QR factorisations."""

from collections import namedtuple
from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import AutogradError, ShapeError
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.join import cat
from expkit.tensor.ops.linalg.matrices import (
    adjoint,
    adjoint_rule,
    along,
    diagonal,
    eye_like,
    floats,
    half,
    is_complex,
    jointly,
    like,
    lower,
    matrix,
    mm,
    own_batch,
    real,
    row,
    square,
    upper,
)
from expkit.tensor.ops.linalg.systems import inv_p, solve_p
from expkit.tensor.ops.matmul import matmul, swap

QRResult = namedtuple("QRResult", "Q R")
GeqrfResult = namedtuple("GeqrfResult", "a tau")

# ---- Cholesky --------------------------------------------------------------------------------------------------------


def _cholesky(x: Any, *, upper: bool) -> Any:
    xp = xp_of(x)
    return xp.linalg.cholesky(x.conj().swapaxes(-1, -2)).conj().swapaxes(-1, -2) if upper else xp.linalg.cholesky(x)


def _cholesky_rule(g: Any, out: Any, _x: Any, *, upper: bool) -> Any:
    if upper:
        g, out = adjoint(g), adjoint(out)
    inverse = inv_p(out, loose=False)
    inner = lower(mm(adjoint(out), g))
    return mm(adjoint(inverse), inner + adjoint(lower(inner, strict=True)), inverse) * 0.5


def _cholesky_push(t: Any, out: Any, _x: Any, *, upper: bool) -> Any:
    out = adjoint(out) if upper else out
    inverse = inv_p(out, loose=False)
    change = mm(out, half(mm(inverse, t, adjoint(inverse))))
    return adjoint(change) if upper else change


cholesky_p = Primitive(
    "cholesky",
    _cholesky,
    lambda x, *, upper: x,
    adjoint_rule(_cholesky_rule),
    jvp=along(_cholesky_push),
    batch=own_batch("cholesky"),
)


def cholesky(A: Any, *, upper: bool = False) -> Any:
    """The lower triangular L of A = L Lᴴ, or its adjoint; that triangle of A is read.

    LinAlgError where A is not positive definite.
    """
    return apply(cholesky_p, square("linalg.cholesky", A), upper=bool(upper))


# ---- QR --------------------------------------------------------------------------------------------------------------


def _qr_shape(x: Aval, *, mode: str) -> tuple[Aval, Aval]:
    m, n = x.shape[-2:]
    k = m if mode == "complete" else min(m, n)
    return Aval((*x.shape[:-2], m, k), x.dtype, x.device), Aval((*x.shape[:-2], k, n), x.dtype, x.device)


def _mirrored(x: Any) -> Any:
    """The matrix that is its own adjoint and has the upper triangle of x, and the real part of its diagonal."""
    x = upper(x)
    both = x + adjoint(x)
    return both - eye_like(x) * like(row(real(diagonal(x))), x)


def _qr_rule(g: Any, out: Any, _x: Any, *, mode: str) -> Any:
    """For matrices at least as high as wide (wide ones are composed of such)."""
    (gq, gr), (q, r) = g, out
    if mode == "complete" and q.shape[-1] > r.shape[-1]:
        raise AutogradError("linalg.qr: mode='complete' has no derivative for more rows than columns")
    inner = None if gr is None else mm(gr, adjoint(r))
    if gq is not None:
        turned = mm(adjoint(q), gq)
        inner = -turned if inner is None else inner - turned
    total = mm(q, _mirrored(inner))
    total = total if gq is None else gq + total
    return adjoint(solve_p(r, adjoint(total)))


def _qr_push(t: Any, out: Any, _x: Any, *, mode: str) -> Any:
    q, r = out
    if mode == "complete" and q.shape[-1] > r.shape[-1]:
        raise AutogradError("linalg.qr: mode='complete' has no derivative for more rows than columns")
    x = swap(solve_p(swap(r), swap(t)))  # t / r
    inner = mm(adjoint(q), x)
    both = inner + adjoint(inner)
    change = upper(both, strict=True) + eye_like(both) * both * 0.5
    return [x - mm(q, change), mm(change, r)]


qr_p = Primitive(
    "qr", lambda x, *, mode: tuple(xp_of(x).linalg.qr(x, mode=mode)), _qr_shape, joint=jointly(_qr_rule),
    jvp=along(_qr_push), batch=own_batch("qr"), nout=2, materialize=False,
)  # fmt: skip


def qr(A: Any, mode: str = "reduced") -> QRResult:
    """A = Q R with orthonormal columns in Q and an upper triangular R. mode: "reduced", "complete" or "r"."""
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"linalg.qr: mode must be 'reduced', 'complete' or 'r', got {mode!r}")
    x = matrix("linalg.qr", A)
    m, n = x.shape[-2:]
    if m < n:  # of the square part; the columns beyond it are Qᴴ times those of A
        q, r = apply(qr_p, x[..., :m], mode="reduced")
        r = cat([r, matmul(adjoint(q), x[..., m:].clone())], -1)
    else:
        q, r = apply(qr_p, x, mode="complete" if mode == "complete" else "reduced")
    return QRResult(q.new_empty(0) if mode == "r" else q, r)


# ---- products of reflections -----------------------------------------------------------------------------------------


def _packed(x: Any) -> tuple[Any, Any]:
    xp = xp_of(x)
    lead, (m, n) = x.shape[:-2], x.shape[-2:]
    if not x.size:
        return xp.array(x), xp.zeros((*lead, min(m, n)), x.dtype)
    if len(lead) == 0:
        h, tau = xp.linalg.qr(x, mode="raw")
        return h.T, tau
    parts = [xp.linalg.qr(part, mode="raw") for part in x.reshape((-1, m, n))]
    h, tau = xp.stack([p[0].T for p in parts]), xp.stack([p[1] for p in parts])
    return h.reshape(x.shape), tau.reshape((*lead, min(m, n)))


geqrf_p = Primitive(
    "geqrf",
    _packed,
    lambda x: (x, Aval((*x.shape[:-2], min(x.shape[-2:])), x.dtype, x.device)),
    batch=own_batch("geqrf"),
    nout=2,
)


def geqrf(input: Any) -> GeqrfResult:
    """(R above and the reflections below the diagonal, their factors tau): LAPACK's form of a QR factorisation."""
    return GeqrfResult(*apply(geqrf_p, matrix("geqrf", input).detach()))


def _reflections(what: str, A: Any, tau: Any) -> list[tuple[Any, Any]]:
    """The vectors (*, m, 1), with a one in front, and factors (*, 1, 1) of the reflections 1 - tau v vᴴ."""
    m, n = matrix(what, A).shape[-2:]
    floats(what, A, tau)
    k = tau.shape[-1] if tau.ndim else 0
    if tau.ndim != A.ndim - 1 or tau.shape[:-1] != A.shape[:-2] or k > n or k > m:
        raise ShapeError(f"{what}: tau of shape {tuple(tau.shape)} does not fit to A of shape {tuple(A.shape)}")
    low = lower(A, strict=True) + eye_like(A.detach())
    return [(low[..., :, i : i + 1], tau[..., i : i + 1].unsqueeze(-1)) for i in range(k)]


def _reflected(x: Any, v: Any, factor: Any) -> Any:
    return x - factor * matmul(v, matmul(adjoint(v), x))


def householder_product(A: Any, tau: Any) -> Any:
    """The first columns of the product of reflections 1 - tau_i v_i v_iᴴ; v_i is column i of A below its diagonal."""
    m, n = matrix("linalg.householder_product", A).shape[-2:]
    if m < n:
        raise ShapeError(f"linalg.householder_product: A must have at least as many rows as columns, has {m} and {n}")
    out = eye_like(A.detach())
    for v, factor in reversed(_reflections("linalg.householder_product", A, tau)):
        out = _reflected(out, v, factor)
    return out if tau.shape[-1] else out + A * 0  # in A's history even so


def ormqr(input: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False) -> Any:
    """Q @ other (left) or other @ Q, with the whole Q of a geqrf; Qᴴ where transpose."""
    floats("ormqr", input, tau, matrix("ormqr", other))
    if not left:  # other Q = (Qᴴ otherᴴ)ᴴ
        return adjoint(ormqr(input, tau, adjoint(other), True, not transpose))
    if other.ndim != input.ndim or other.shape[:-2] != input.shape[:-2] or other.shape[-2] != input.shape[-2]:
        raise ShapeError(f"ormqr: other of shape {tuple(other.shape)} does not fit to input {tuple(input.shape)}")
    steps = _reflections("ormqr", input, tau)
    for v, factor in steps if transpose else reversed(steps):
        other = _reflected(other, v, factor.conj() if transpose and is_complex(factor) else factor)
    return other
