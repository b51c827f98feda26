"""softmax and log_softmax."""

from typing import Any

from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply1
from expkit.tensor import dtypes
from expkit.tensor.generated.one_pass import long_pass
from expkit.tensor.ops.convert import as_dtype, floating
from expkit.tensor.ops.elementwise import exp, sub
from expkit.tensor.ops.kinds import keep, sum_p
from expkit.tensor.ops.movement import dim_of
from expkit.tensor.ops.pointwise import exp_p, log_p, reciprocal_p
from expkit.tensor.ops.reduce import amax_p
from expkit.tensor.ops.special import widened


def _shifted(x: Any, axis: int) -> Any:
    """x less its maximum along the axis."""
    return x - keep(amax_p(x, axes=(axis,)), x, (axis,))


def _total(x: Any, axis: int) -> Any:
    return keep(sum_p(x, axes=(axis,)), x, (axis,))


@widened
@long_pass
def _softmax(x: Any, *, axis: int) -> Any:
    if 0 in x.shape:
        return x.copy()
    e = exp_p(_shifted(x, axis))
    return e * reciprocal_p(_total(e, axis))


@widened
@long_pass
def _log_softmax(x: Any, *, axis: int) -> Any:
    if 0 in x.shape:
        return x.copy()
    low = _shifted(x, axis)
    return low - log_p(_total(exp_p(low), axis))


@long_pass
def _softmax_vjp(g: Any, out: Any, _x: Any, *, axis: int) -> Any:
    return out * (g - _total(g * out, axis))


@long_pass
def _log_softmax_vjp(g: Any, out: Any, _x: Any, *, axis: int) -> Any:
    return g - exp_p(out) * _total(g, axis)


def _log_softmax_push(tangents: list[Any], out: Any, _primals: list[Any], kw: dict[str, Any]) -> Any:
    t, axis = tangents[0], kw["axis"]
    return None if t is None else t - keep(sum_p(t * exp_p(out), axes=(axis,)), out, (axis,))


softmax_p = Primitive(
    "softmax",
    _softmax,
    lambda x, *, axis: x,
    _softmax_vjp,
    jvp=lambda tangents, out, _primals, kw: None if tangents[0] is None else _softmax_vjp(tangents[0], out, None, **kw),
    batch=lambda size, values, mapped, kw: softmax_p(values[0], axis=kw["axis"] + 1),
)
log_softmax_p = Primitive(
    "log_softmax",
    _log_softmax,
    lambda x, *, axis: x,
    _log_softmax_vjp,
    jvp=_log_softmax_push,
    batch=lambda size, values, mapped, kw: log_softmax_p(values[0], axis=kw["axis"] + 1),
)


def softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """exp(x) / sum(exp(x)) along `dim`."""
    x = floating(input if dtype is None else as_dtype(input, dtypes.get(dtype)))
    return apply1(softmax_p, x, axis=dim_of(dim, x.ndim)) if x.ndim else exp(sub(x, x))


def log_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """log(softmax(x)) along `dim`, without overflow or loss of precision."""
    x = floating(input if dtype is None else as_dtype(input, dtypes.get(dtype)))
    return apply1(log_softmax_p, x, axis=dim_of(dim, x.ndim)) if x.ndim else sub(x, x)
