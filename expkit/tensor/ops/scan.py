"""Scans: running sums, products, extrema along a dimension, and the recurrence that derivatives need."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.generated.scan import scan as by_kernel
from expkit.tensor.ops.arguments import COMPLEX, dim_of, refuse, require_inexact
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.index import gather_p
from expkit.tensor.ops.kinds import materialize, zeros_raw
from expkit.tensor.ops.memory_format import in_own_order
from expkit.tensor.ops.movement import pad_p, slice_p
from expkit.tensor.ops.pointwise import exp_p
from expkit.tensor.ops.reduce import INT
from expkit.tensor.ops.special import widened

# ---- primitives: along `axis`, from its end with back=True -----------------------------------------------------------


def _numpy_scan(name: str) -> Callable[..., Any]:
    def plain(x: Any, *, axis: int, back: bool) -> Any:
        xp = xp_of(x)
        if not back:
            return getattr(xp, name)(x, axis, dtype=x.dtype)
        return xp.flip(getattr(xp, name)(xp.flip(x, axis), axis, dtype=x.dtype), axis)

    return widened(plain)


def _states(a: Any, b: Any, *, axis: int, back: bool) -> Any:
    """s_k = a_k s_(k-1) + b_k, beginning with b; (with s_(k+1), from the end)."""
    xp, n = xp_of(a), a.shape[axis]
    a, b = xp.moveaxis(a, axis, 0), xp.moveaxis(b, axis, 0)
    out = xp.array(b)
    for k in reversed(range(n - 1)) if back else range(1, n):
        out[k] += a[k] * out[k + 1 if back else k - 1]
    return xp.moveaxis(out, 0, axis)


def _same(x: Aval, *_others: Aval, **_kw: Any) -> Aval:
    return x


cumsum_p = Primitive(
    "cumsum",
    by_kernel("sum", _numpy_scan("cumsum")),
    _same,
    lambda g, _out, _x, *, axis, back: cumsum_p(g, axis=axis, back=not back),
    jvp=lambda tangents, _out, _primals, kw: None if tangents[0] is None else cumsum_p(tangents[0], **kw),
    batch=lambda size, values, mapped, kw: cumsum_p(values[0], axis=kw["axis"] + 1, back=kw["back"]),
)


def _moved(x: Any, axis: int, back: bool, fill: float) -> Any:
    """At each place what is at the place before it, `fill` at the first; (behind it, and at the last)."""
    n = x.shape[axis]
    if not n:
        return x
    kept, edge = ((1, n, 1), (0, 1)) if back else ((0, n - 1, 1), (1, 0))
    rest = slice_p(x, spans=tuple(kept if i == axis else (0, m, 1) for i, m in enumerate(x.shape)))
    return pad_p(rest, widths=tuple(edge if i == axis else (0, 0) for i in range(len(x.shape))), value=fill)


def _states_adjoint(g: Any, a: Any, axis: int, back: bool) -> Any:
    """The gradient of b: the same recurrence the other way round, each place with the factor behind it."""
    return states_p(_moved(a, axis, not back, 0), g, axis=axis, back=not back)


def _states_push(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    ta, tb = tangents
    inner = zeros_raw(primals[1]) if tb is None else tb
    if ta is not None:
        inner = inner + ta * _moved(out, kw["axis"], kw["back"], 0)
    return states_p(primals[0], inner, **kw)


states_p = Primitive(
    "states",
    by_kernel("affine", _states),
    _same,
    (
        lambda g, out, a, _b, *, axis, back: _states_adjoint(g, a, axis, back) * _moved(out, axis, back, 0),
        lambda g, _out, a, _b, *, axis, back: _states_adjoint(g, a, axis, back),
    ),
    jvp=_states_push,
    batch=lambda size, values, mapped, kw: states_p(
        *(materialize(size, v, m) for v, m in zip(values, mapped, strict=True)), axis=kw["axis"] + 1, back=kw["back"]
    ),
)


def _product_vjp(g: Any, out: Any, x: Any, *, axis: int) -> Any:
    """The product before each place, times the sum of what follows it, weighted by g: exact where some are zero."""
    return _moved(out, axis, False, 1) * states_p(_moved(x, axis, True, 0), g, axis=axis, back=True)


def _product_push(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    if tangents[0] is None:
        return None
    axis = kw["axis"]
    return states_p(primals[0], tangents[0] * _moved(out, axis, False, 1), axis=axis, back=False)


_product = by_kernel("product", _numpy_scan("cumprod"))
cumprod_p = Primitive(
    "cumprod",
    lambda x, *, axis: _product(x, axis=axis, back=False),
    _same,
    _product_vjp,
    jvp=_product_push,
    batch=lambda size, values, mapped, kw: cumprod_p(values[0], axis=kw["axis"] + 1),
)


def accumulate(x: Any, axis: int, ufunc: str) -> Any:
    """The running result of a NumPy function of two arguments, in log2(n) rounds where the library cannot."""
    xp = xp_of(x)
    fn = getattr(xp, ufunc)
    if xp is np:
        return fn.accumulate(x, axis)
    out, k = xp.moveaxis(x.copy(), axis, 0), 1
    while k < out.shape[0]:
        out[k:] = fn(out[k:], out[:-k].copy())
        k *= 2
    return xp.moveaxis(out, 0, axis)


def _best_places(x: Any, *, axis: int, ufunc: str) -> Any:
    """At each place that of the extremum so far: of equal ones the last; NaN is beyond all numbers."""
    xp, n = xp_of(x), x.shape[axis]
    if not x.size:
        return xp.zeros(x.shape, INT)
    best = accumulate(x, axis, ufunc)
    new = (x == best) | (x != x)
    steps = xp.arange(n).reshape((n,) + (1,) * (x.ndim - 1 - axis))
    return accumulate(xp.where(new, steps, 0), axis, "maximum")


best_places_p = Primitive(
    "best_places",
    _best_places,
    lambda x, **_kw: Aval(x.shape, INT, x.device),
    batch=lambda size, values, mapped, kw: best_places_p(values[0], axis=kw["axis"] + 1, ufunc=kw["ufunc"]),
)


def _log_add(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)), of complex numbers as well."""
    xp = xp_of(a)
    if a.dtype.kind != "c":
        return xp.logaddexp(a, b)
    first = a.real >= b.real
    top, low = xp.where(first, a, b), xp.where(first, b, a)
    return xp.where(xp.isinf(top.real), top, top + xp.log(1 + xp.exp(low - top)))  # the angle grows beyond one turn


@widened
def _log_sums(x: Any, *, axis: int) -> Any:
    xp = xp_of(x)
    if xp is np and x.dtype.kind != "c":
        return np.logaddexp.accumulate(x, axis)
    out = xp.moveaxis(x.copy(), axis, 0)
    for k in range(1, out.shape[0]):
        out[k] = _log_add(out[k - 1], out[k])
    return xp.moveaxis(out, 0, axis)


def _decay(out: Any, axis: int) -> Any:
    """At each place the part of its sum that was there before: exp(out_(k-1) - out_k)."""
    return exp_p(_moved(out, axis, False, 0) - out)


def _log_sums_vjp(g: Any, out: Any, x: Any, *, axis: int) -> Any:
    """sum over k >= i of g_k exp(x_i - out_k), as a recurrence with factors of at most 1: no overflow."""
    after = _moved(_decay(out, axis), axis, True, 0)
    return states_p(after, g, axis=axis, back=True) * exp_p(x - out)


def _log_sums_push(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    t, axis = tangents[0], kw["axis"]
    return None if t is None else states_p(_decay(out, axis), t * exp_p(primals[0] - out), axis=axis, back=False)


log_sums_p = Primitive(
    "logcumsumexp",
    _log_sums,
    _same,
    _log_sums_vjp,
    jvp=_log_sums_push,
    batch=lambda size, values, mapped, kw: log_sums_p(values[0], axis=kw["axis"] + 1),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def _prepared(input: Any, dtype: Any) -> Any:
    """The input in the dtype of the result: int64 for integers and bools, unless another one is given."""
    d = dtypes.get(dtype) if dtype is not None else dtypes.of(input.raw)
    if dtype is None and not (d.is_floating_point or d.is_complex):
        d = dtypes.int64
    return as_dtype(input, d)


@in_own_order
def cumsum(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """The running sum along `dim`."""
    x = _prepared(input, dtype)
    at = dim_of(dim, x.ndim)
    return apply1(cumsum_p, x, axis=at, back=False) if x.ndim else x.clone()


@in_own_order
def cumprod(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """The running product along `dim`."""
    x = _prepared(input, dtype)
    at = dim_of(dim, x.ndim)
    return apply1(cumprod_p, x, axis=at) if x.ndim else x.clone()


def _running_extremum(name: str, ufunc: str, doc: str) -> Any:
    result = namedtuple(name, ["values", "indices"])

    def fn(input: Any, dim: int) -> Any:
        refuse(input, name, COMPLEX)
        at = dim_of(dim, input.ndim)
        x = input if input.ndim else input.reshape(1)
        index = apply1(best_places_p, x, axis=at, ufunc=ufunc)
        values = apply(gather_p, x, index, axis=at)
        return result(values, index) if input.ndim else result(values.reshape(()), index.reshape(()))

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn


cummax = _running_extremum(
    "cummax", "maximum", "(values, indices): the largest element so far, the last of equal ones."
)
cummin = _running_extremum(
    "cummin", "minimum", "(values, indices): the smallest element so far, the last of equal ones."
)


def logcumsumexp(input: Any, dim: int) -> Any:
    """The logarithm of the running sum of exponentials, without overflow."""
    x = require_inexact(input, "logcumsumexp()")
    at = dim_of(dim, x.ndim)
    return apply1(log_sums_p, x, axis=at) if x.ndim else x.clone()
