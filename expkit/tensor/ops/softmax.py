"""softmax and log_softmax."""

from typing import Any

import numpy as np

from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply1
from expkit.tensor import dtypes
from expkit.tensor.generated.rows import rowwise
from expkit.tensor.ops.convert import as_dtype, floating
from expkit.tensor.ops.elementwise import exp, sub
from expkit.tensor.ops.kinds import keep, sum_p
from expkit.tensor.ops.movement import dim_of
from expkit.tensor.ops.pointwise import exp_p
from expkit.tensor.ops.special import widened


def _softmax_vjp(g: Any, out: Any, _x: Any, *, axis: int) -> Any:
    fast = rowwise("softmax_grad", g, out, axis=axis)
    return fast if fast is not None else out * (g - keep(sum_p(g * out, axes=(axis,)), out, (axis,)))


@widened
def _softmax(x: Any, *, axis: int) -> Any:
    if not x.size:
        return x.copy()
    fast = rowwise("softmax", x, axis=axis)
    if fast is not None:
        return fast
    e = np.exp(x - x.max(axis, keepdims=True))
    e /= e.sum(axis, keepdims=True)
    return e


@widened
def _log_softmax(x: Any, *, axis: int) -> Any:
    if not x.size:
        return x.copy()
    fast = rowwise("log_softmax", x, axis=axis)
    if fast is not None:
        return fast
    shifted = x - x.max(axis, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis, keepdims=True))
    return shifted


def _log_softmax_vjp(g: Any, out: Any, _x: Any, *, axis: int) -> Any:
    fast = rowwise("log_softmax_grad", g, out, axis=axis)
    return fast if fast is not None else g - exp_p(out) * keep(sum_p(g, axes=(axis,)), out, (axis,))


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
