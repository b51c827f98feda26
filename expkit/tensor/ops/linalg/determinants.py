"""Determinants, also of singular matrices."""

import math
from collections import namedtuple
from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.complex import complexed, real_dtype
from expkit.tensor.ops.elementwise import add, log
from expkit.tensor.ops.kinds import sum_p
from expkit.tensor.ops.linalg.matrices import along, conj, diagonal, like, mm, own_batch, real, scalar, square
from expkit.tensor.ops.linalg.systems import cofactors, inv_p, solve_p
from expkit.tensor.ops.matmul import swap

SlogdetResult = namedtuple("SlogdetResult", "sign logabsdet")

# ---- primitives ------------------------------------------------------------------------------------------------------


def _scalars(x: Aval) -> Aval:
    return Aval(x.shape[:-2], x.dtype, x.device)


def _total(x: Any) -> Any:
    return sum_p(x, axes=(len(x.shape) - 2, len(x.shape) - 1))


def _cofactors_push(t: Any, out: Any, x: Any) -> Any:
    """<t, C> C / det - C tᵀ inv, for regular matrices: the Hessian of the determinant, which is its own transpose."""
    inverse = swap(inv_p(x, loose=False))
    return out * scalar(_total(t * inverse)) - mm(out, swap(t), inverse)


cofactors_p = Primitive(  # det(x) inv(x)ᵀ
    "cofactors",
    cofactors,
    lambda x: x,
    _cofactors_push,
    jvp=along(_cofactors_push),
    batch=own_batch("cofactors"),
)

det_p = Primitive(
    "det",
    lambda x: xp_of(x).asarray(xp_of(x).linalg.det(x), x.dtype),
    _scalars,
    lambda g, _out, x: cofactors_p(x) * scalar(g),
    jvp=along(lambda t, _out, x: _total(t * cofactors_p(x))),
    batch=own_batch("det"),
)


def _turning(z: Any) -> Any:
    """The imaginary part of a complex number, as an imaginary number."""
    return (z - conj(z)) * 0.5


def _slogdet(x: Any) -> tuple[Any, Any]:
    sign, log = xp_of(x).linalg.slogdet(x)
    return xp_of(x).asarray(sign, x.dtype), xp_of(x).asarray(log, real_dtype(x.dtype))


def _slogdet_joint(g: Any, out: Any, x: Any) -> tuple[Any]:
    """With τ = tr(A⁻¹ dA): d log|det| = Re τ, d sign = i Im(τ) sign. Infinite for a singular matrix."""
    factor = like(g[1], x) + _turning(g[0] * out[0])
    return (swap(inv_p(x, loose=True)) * scalar(factor),)


def _slogdet_push(t: Any, out: Any, x: Any) -> Any:
    slope = sum_p(diagonal(solve_p(x, t)), axes=(len(x.shape) - 2,))
    return [_turning(slope) * out[0], real(slope)]


slogdet_p = Primitive(
    "slogdet",
    _slogdet,
    lambda x: (_scalars(x), Aval(x.shape[:-2], real_dtype(x.dtype), x.device)),
    joint=_slogdet_joint,
    jvp=along(_slogdet_push),
    batch=own_batch("slogdet"),
    nout=2,
    saves=(0,),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def det(A: Any) -> Any:
    """The determinant of each matrix."""
    return apply(det_p, square("linalg.det", A))


def slogdet(A: Any) -> SlogdetResult:
    """(sign, logarithm of the absolute value) of each determinant; (0, -inf) for a singular matrix."""
    return SlogdetResult(*apply(slogdet_p, square("linalg.slogdet", A)))


def logdet(input: Any) -> Any:
    """The logarithm of each determinant: NaN where a real one is negative, -inf where it is zero."""
    sign, size = apply(slogdet_p, square("logdet", input))
    if input.is_complex():
        return add(log(sign), complexed(size))
    return size.masked_fill(sign == -1, math.nan)
