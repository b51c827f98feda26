"""Inverses, solutions, determinants and factorisations: primitives over the last two axes; the others are a batch.

Derivatives follow M. Giles, "An extended collection of matrix derivative results" (2008), and for the singular value
and QR decompositions S. F. Walter and L. Lehmann (2012) and J. Townsend (2016).
"""

from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.tensor.arrays import zeros_like as zeros_raw
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.kinds import linear, reshape_p, sum_p
from expkit.tensor.ops.matmul import matmul_p, swap
from expkit.tensor.ops.movement import diagonal_p

# ---- shared by the rules ---------------------------------------------------------------------------------------------


def _mm(*factors: Any) -> Any:
    out = factors[0]
    for factor in factors[1:]:
        out = matmul_p(out, factor)
    return out


triangle_p = linear(  # the lower (or upper) triangle; strict: without the diagonal
    "triangle",
    lambda x, *, lower, strict: xp_of(x).tril(x, -strict) if lower else xp_of(x).triu(x, int(strict)),
    lambda x, *, lower, strict: x,
    lambda g, _x, *, lower, strict: triangle_p(g, lower=lower, strict=strict),
    batch_kw=lambda size, kw: kw,
)


def _lower(x: Any, strict: bool = False) -> Any:
    return triangle_p(x, lower=True, strict=strict)


def _upper(x: Any, strict: bool = False) -> Any:
    return triangle_p(x, lower=False, strict=strict)


def _half(x: Any) -> Any:
    """The lower triangle with half of the diagonal."""
    return (_lower(x) + _lower(x, strict=True)) * 0.5


def _row(v: Any) -> Any:
    """(..., n) as (..., 1, n)."""
    return reshape_p(v, shape=(*v.shape[:-1], 1, v.shape[-1]))


def _column(v: Any) -> Any:
    """(..., n) as (..., n, 1)."""
    return reshape_p(v, shape=(*v.shape, 1))


def _diagonal(x: Any) -> Any:
    n = len(x.shape)
    return diagonal_p(x, offset=0, axes=(n - 2, n - 1))


def eye_like(like: Any) -> Any:
    ones = zeros_raw(like, tuple(like.shape)) + 1
    return _lower(_upper(ones))


def _off_diagonal_inverse(differences: Any) -> Any:
    """1 / x off the diagonal, 0 on it."""
    eye = eye_like(differences)
    return (1 - eye) / (differences + eye)


def _along(tangents: list[Any], rule: Any) -> Any:
    return None if tangents[0] is None else rule(tangents[0])


def _own(_size: int, values: list[Any], _mapped: list[bool], kw: dict[str, Any], prim: Primitive) -> Any:
    return prim(values[0], **kw)


# ---- inverse, solutions, determinants --------------------------------------------------------------------------------

inv_p = Primitive(
    "inv",
    lambda x: xp_of(x).linalg.inv(x),
    lambda x: x,
    lambda g, out, _x: -_mm(swap(out), g, swap(out)),
    jvp=lambda tangents, out, _primals, _kw: _along(tangents, lambda t: -_mm(out, t, out)),
    batch=lambda *args: _own(*args, inv_p),
)


def _solve_push(tangents: list[Any], out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    ta, tb = tangents
    right = None if ta is None else -_mm(ta, out)
    right = tb if right is None else right if tb is None else tb + right
    return solve_p(primals[0], right)


def _solve_batch(size: int, values: list[Any], mapped: list[bool], _kw: dict[str, Any]) -> Any:
    return solve_p(*_spread(size, values, mapped))


def _spread(size: int, values: list[Any], mapped: list[bool]) -> list[Any]:
    """Both with the batch axis in front, of equal rank."""
    rank = max(len(v.shape) - m for v, m in zip(values, mapped, strict=True))
    out = []
    for v, m in zip(values, mapped, strict=True):
        inner = tuple(v.shape[1:] if m else v.shape)
        ones = (1,) * (rank - len(inner))
        out.append(reshape_p(v, shape=(v.shape[0] if m else 1, *ones, *inner)))
    return out


def _fit(g: Any, like: Any) -> Any:
    """A gradient summed over the batch axes that its operand lacks."""
    extra = len(g.shape) - len(like.shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, n in enumerate(like.shape[:-2]) if n == 1 and g.shape[i + extra] != 1
    )
    g = sum_p(g, axes=axes) if axes else g
    return g if tuple(g.shape) == tuple(like.shape) else reshape_p(g, shape=tuple(like.shape))


def _solve_joint(g: Any, out: Any, a: Any, _b: Any) -> tuple[Any, Any]:
    right = solve_p(swap(a), g)
    return _fit(-_mm(right, swap(out)), a), _fit(right, _b)


solve_p = Primitive(  # X of A X = B; the leading axes are broadcast
    "solve",
    lambda a, b: xp_of(a).linalg.solve(a, b),
    lambda a, b: Aval((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype, b.device),
    joint=_solve_joint,
    jvp=_solve_push,
    batch=_solve_batch,
)


def _slogdet_joint(g: Any, _out: Any, x: Any) -> tuple[Any]:
    return (swap(inv_p(x)) * _column(_column(g[1])),)


def _slogdet_push(tangents: list[Any], _out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    (t,), (x,) = tangents, primals
    return [None, None if t is None else sum_p(_diagonal(solve_p(x, t)), axes=(len(x.shape) - 2,))]


def _scalars(x: Aval) -> Aval:
    return Aval(x.shape[:-2], x.dtype, x.device)


def _slogdet(x: Any) -> tuple[Any, Any]:
    sign, log = xp_of(x).linalg.slogdet(x)
    return xp_of(x).asarray(sign, x.dtype), xp_of(x).asarray(log, x.real.dtype)


slogdet_p = Primitive(
    "slogdet", _slogdet, lambda x: (_scalars(x), _scalars(x)), joint=_slogdet_joint, jvp=_slogdet_push,
    batch=lambda *args: _own(*args, slogdet_p), nout=2, saves=(),
)  # fmt: skip


def _cofactors(x: Any) -> Any:
    """The matrix of cofactors, also of a singular matrix: from the singular values."""
    u, s, vh = np.linalg.svd(x) if x.__class__ is np.ndarray else xp_of(x).linalg.svd(x)
    n, xp = x.shape[-1], xp_of(x)
    others = xp.where(xp.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
    sign = xp.linalg.det(u) * xp.linalg.det(vh)
    return (u * (others * xp.asarray(sign)[..., None])[..., None, :]) @ vh


def _cofactors_vjp(g: Any, out: Any, x: Any) -> Any:
    """<g, C> C / det - C gᵀ inv: the Hessian of the determinant, which is its own transpose. For regular matrices."""
    inverse = swap(inv_p(x))
    total = _column(_column(sum_p(g * inverse, axes=(len(x.shape) - 2, len(x.shape) - 1))))
    return out * total - _mm(out, swap(g), inverse)


cofactors_p = Primitive(  # det(x) inv(x)ᵀ
    "cofactors",
    _cofactors,
    lambda x: x,
    _cofactors_vjp,
    jvp=lambda tangents, out, primals, _kw: _along(tangents, lambda t: _cofactors_vjp(t, out, primals[0])),
    batch=lambda *args: _own(*args, cofactors_p),
)


det_p = Primitive(
    "det",
    lambda x: xp_of(x).asarray(xp_of(x).linalg.det(x), x.dtype),
    _scalars,
    lambda g, _out, x: cofactors_p(x) * _column(_column(g)),
    jvp=lambda tangents, _out, primals, _kw: _along(
        tangents, lambda t: sum_p(t * cofactors_p(primals[0]), axes=(len(t.shape) - 2, len(t.shape) - 1))
    ),
    batch=lambda *args: _own(*args, det_p),
)

# ---- factorisations --------------------------------------------------------------------------------------------------


def _cholesky_vjp(g: Any, out: Any, _x: Any) -> Any:
    inverse = inv_p(out)
    s = _mm(swap(inverse), _half(_mm(swap(out), g)), inverse)
    return (s + swap(s)) * 0.5


def _cholesky_push(tangents: list[Any], out: Any, _primals: list[Any], _kw: dict[str, Any]) -> Any:
    def rule(t: Any) -> Any:
        inverse = inv_p(out)
        return _mm(out, _half(_mm(inverse, (t + swap(t)) * 0.5, swap(inverse))))

    return _along(tangents, rule)


cholesky_p = Primitive(
    "cholesky",
    lambda x: xp_of(x).linalg.cholesky(x),
    lambda x: x,
    _cholesky_vjp,
    jvp=_cholesky_push,
    batch=lambda *args: _own(*args, cholesky_p),
)


def _eigh_joint(g: Any, out: Any, _x: Any) -> tuple[Any]:
    (gw, gv), (w, v) = g, out
    f = _off_diagonal_inverse(_row(w) - _column(w))
    inner = eye_like(gv) * _row(gw) + f * _mm(swap(v), gv)
    s = _mm(v, inner, swap(v))
    return ((s + swap(s)) * 0.5,)


def _eigh_push(tangents: list[Any], out: Any, _primals: list[Any], _kw: dict[str, Any]) -> Any:
    (t,), (w, v) = tangents, out
    if t is None:
        return [None, None]
    inner = _mm(swap(v), (t + swap(t)) * 0.5, v)
    return [_diagonal(inner), _mm(v, _off_diagonal_inverse(_row(w) - _column(w)) * inner)]


eigh_p = Primitive(  # (eigenvalues, eigenvectors) of a symmetric matrix, of which the lower triangle is read
    "eigh",
    lambda x: tuple(xp_of(x).linalg.eigh(x)),
    lambda x: (Aval(x.shape[:-1], x.dtype, x.device), x),
    joint=_eigh_joint,
    jvp=_eigh_push,
    batch=lambda *args: _own(*args, eigh_p),
    nout=2,
)


def _qr_shape(x: Aval) -> tuple[Aval, Aval]:
    m, n = x.shape[-2:]
    k = min(m, n)
    return (
        Aval((*x.shape[:-2], m, k), x.dtype, x.device), Aval((*x.shape[:-2], k, n), x.dtype, x.device),
    )  # fmt: skip


def _qr_joint(g: Any, out: Any, _x: Any) -> tuple[Any]:
    """For matrices at least as high as wide (wide ones are composed of such)."""
    (gq, gr), (q, r) = g, out
    m = _mm(r, swap(gr)) - _mm(swap(gq), q)
    symmetric = _lower(m) + swap(_lower(m, strict=True))
    return (swap(solve_p(r, swap(gq + _mm(q, symmetric)))),)


def _qr_push(tangents: list[Any], out: Any, _primals: list[Any], _kw: dict[str, Any]) -> Any:
    (t,), (q, r) = tangents, out
    if t is None:
        return [None, None]
    x = swap(solve_p(swap(r), swap(t)))  # t / r
    inner = _mm(swap(q), x)
    skew = _lower(inner, strict=True)
    skew = skew - swap(skew)
    return [_mm(q, skew) + x - _mm(q, inner), _mm(inner - skew, r)]


qr_p = Primitive(
    "qr", lambda x: tuple(xp_of(x).linalg.qr(x)), _qr_shape, joint=_qr_joint, jvp=_qr_push,
    batch=lambda *args: _own(*args, qr_p), nout=2,
)  # fmt: skip


def _svd_shape(x: Aval) -> tuple[Aval, Aval, Aval]:
    (m, n), lead = x.shape[-2:], x.shape[:-2]
    k = min(m, n)
    return tuple(Aval((*lead, *s), x.dtype, x.device) for s in ((m, k), (k,), (k, n)))  # type: ignore[return-value]


def _svd_joint(g: Any, out: Any, _x: Any) -> tuple[Any]:
    (gu, gs, gvh), (u, s, vh) = g, out
    e = _off_diagonal_inverse((_row(s) - _column(s)) * (_row(s) + _column(s)))
    uu, vv = _mm(swap(u), gu), _mm(vh, swap(gvh))
    inner = ((uu - swap(uu)) * e) * _row(s) + _column(s) * ((vv - swap(vv)) * e) + eye_like(uu) * _row(gs)
    total = _mm(u, inner, vh)
    total = total + _mm((gu - _mm(u, uu)) / _row(s), vh)
    return (total + _mm(u, (gvh - _mm(swap(vv), vh)) / _column(s)),)


def _svd_push(tangents: list[Any], out: Any, _primals: list[Any], _kw: dict[str, Any]) -> Any:
    (t,), (u, s, vh) = tangents, out
    if t is None:
        return [None, None, None]
    p = _mm(swap(u), t, swap(vh))
    e = _off_diagonal_inverse((_row(s) - _column(s)) * (_row(s) + _column(s)))
    ps, sp = p * _row(s), _column(s) * p
    du = _mm(u, e * (ps + swap(ps)))
    dv = _mm(swap(vh), e * (sp + swap(sp)))
    tv, tu = _mm(t, swap(vh)), _mm(swap(t), u)
    du = du + (tv - _mm(u, p)) / _row(s)
    dv = dv + (tu - _mm(swap(vh), swap(p))) / _row(s)
    return [du, _diagonal(p), swap(dv)]


svd_p = Primitive(
    "svd", lambda x: tuple(xp_of(x).linalg.svd(x, full_matrices=False)), _svd_shape, joint=_svd_joint, jvp=_svd_push,
    batch=lambda *args: _own(*args, svd_p), nout=3,
)  # fmt: skip

svdvals_p = Primitive(  # singular values alone: their gradient needs no distance between them
    "svdvals",
    lambda x: xp_of(x).linalg.svd(x, full_matrices=False)[1],
    lambda x: _svd_shape(x)[1],
    lambda g, _out, x: _from_values(svd_p(x), g),
    jvp=lambda tangents, _out, primals, _kw: _along(tangents, lambda t: _to_values(svd_p(primals[0]), t)),
    batch=lambda *args: _own(*args, svdvals_p),
)


def _from_values(parts: Any, g: Any) -> Any:
    return _mm(parts[0] * _row(g), parts[2])


def _to_values(parts: Any, t: Any) -> Any:
    return _diagonal(_mm(swap(parts[0]), t, swap(parts[2])))
