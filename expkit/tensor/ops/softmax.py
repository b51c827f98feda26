"""softmax, log_softmax, softmin and logsumexp."""

from typing import Any

from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply1
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.generated.one_pass import long_pass
from expkit.tensor.ops.arguments import dim_of, dims_of
from expkit.tensor.ops.convert import as_dtype, floating
from expkit.tensor.ops.elementwise import exp, neg, sub
from expkit.tensor.ops.kinds import keep, reduced, reshape_p, shifted, sum_p, zeros_raw
from expkit.tensor.ops.memory_format import in_own_order
from expkit.tensor.ops.pointwise import exp_p, isfinite_p, log_p, reciprocal_p, where_p
from expkit.tensor.ops.reduce import amax_p, finish, spread_back
from expkit.tensor.ops.special import widened

# ---- primitives ------------------------------------------------------------------------------------------------------


def _lowered(x: Any, axis: int) -> Any:
    """x less its maximum along the axis."""
    return x - keep(amax_p(x, axes=(axis,)), x, (axis,))


def _total(x: Any, axis: int) -> Any:
    return keep(sum_p(x, axes=(axis,)), x, (axis,))


@widened
@long_pass
def _softmax(x: Any, *, axis: int) -> Any:
    if 0 in x.shape:
        return x.copy()
    e = exp_p(_lowered(x, axis))
    return e * reciprocal_p(_total(e, axis))


@widened
@long_pass
def _log_softmax(x: Any, *, axis: int) -> Any:
    if 0 in x.shape:
        return x.copy()
    low = _lowered(x, axis)
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


def _top(x: Any, axes: tuple[int, ...]) -> Any:
    """The maximum (of complex numbers, that of the real parts) where it is finite, else 0; the axes stay as ones."""
    top = x.real.max(axes).astype(x.dtype) if x.dtype.kind == "c" else amax_p(x, axes=axes)
    return keep(where_p(isfinite_p(top), top, zeros_raw(top)), x, axes)


@widened
@long_pass
def _logsumexp(x: Any, *, axes: tuple[int, ...]) -> Any:
    shape = reduced(x, axes).shape
    if 0 in x.shape:  # the sum of nothing is 0
        return xp_of(x).full(shape, float("-inf"), x.dtype)
    top = _top(x, axes)
    return log_p(sum_p(exp_p(x - top), axes=axes)) + reshape_p(top, shape=shape)


@long_pass
def _share(g: Any, out: Any, x: Any) -> Any:
    return g * exp_p(x - out)


def _logsumexp_vjp(g: Any, out: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    return _share(keep(g, x, axes), keep(out, x, axes), x)


def _logsumexp_push(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    t, x, axes = tangents[0], primals[0], kw["axes"]
    return None if t is None else sum_p(t * exp_p(x - spread_back(out, x, axes)), axes=axes)


logsumexp_p = Primitive(
    "logsumexp",
    _logsumexp,
    lambda x, *, axes: reduced(x, axes),
    _logsumexp_vjp,
    jvp=_logsumexp_push,
    batch=lambda size, values, mapped, kw: logsumexp_p(values[0], axes=shifted(kw["axes"])),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def _floats(input: Any, dtype: Any, what: str) -> Any:
    """The input in the dtype asked for, which must be a floating-point one."""
    x = input if dtype is None else as_dtype(input, dtypes.get(dtype))
    d = dtypes.of(x.raw)
    if not d.is_floating_point:
        raise TypeError(f"{what}(): {d} tensors are not supported; give dtype=, a floating-point one")
    return x


@in_own_order
def softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """exp(x) / sum(exp(x)) along `dim`."""
    x = _floats(input, dtype, "softmax")
    at = dim_of(dim, x.ndim)
    return apply1(softmax_p, x, axis=at) if x.ndim else exp(sub(x, x))


@in_own_order
def log_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """log(softmax(x)) along `dim`, without overflow or loss of precision."""
    x = _floats(input, dtype, "log_softmax")
    at = dim_of(dim, x.ndim)
    return apply1(log_softmax_p, x, axis=at) if x.ndim else sub(x, x)


def softmin(input: Any, dim: int, dtype: Any = None) -> Any:
    """softmax(-x) along `dim`."""
    return softmax(neg(_floats(input, dtype, "softmin")), dim)


def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """log(sum(exp(x))) over `dim` (one or several), without overflow; -inf of no elements."""
    if dim is None:
        raise TypeError("logsumexp(): dim must be an int or a tuple of ints")
    x = floating(input)
    axes = dims_of(dim, x.ndim)
    return finish(apply1(logsumexp_p, x, axes=axes), x, axes, keepdim)
