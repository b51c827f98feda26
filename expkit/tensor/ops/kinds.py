"""Kinds of primitives: factories with default rules, so that most primitives are one to four lines."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.errors import ShapeError
from expkit.tensor.arrays import zeros_like as zeros_raw
from expkit.tensor.devices import xp_of
from expkit.tensor.generated.copy import reshape
from expkit.tensor.generated.one_pass import one_pass
from expkit.tensor.generated.pointwise import elementwise as by_kernel
from expkit.tensor.generated.reduction import reduction as reduced_by_kernel
from expkit.tensor.ops.special import widened

BOOL = np.dtype(bool)


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape by NumPy's rules; ShapeError names the axis that does not fit."""
    n = max(map(len, shapes), default=0)
    out = [1] * n
    for shape in shapes:
        for i, size in enumerate(shape, n - len(shape)):
            if out[i] == 1:
                out[i] = size
            elif size not in (1, out[i]):
                raise ShapeError(
                    f"shapes {' and '.join(map(str, shapes))} do not fit: sizes {out[i]} and {size} at dimension {i}"
                )
    return tuple(out)


def joint_aval(avals: Sequence[Any], dtype: Any = None) -> Aval:
    """The broadcast of the abstract values; Python numbers among them count for nothing."""
    real = [a for a in avals if isinstance(a, Aval)]
    if dtype is None:  # rules may multiply real by complex values
        dtype = next((a.dtype for a in real if np.dtype(a.dtype).kind == "c"), real[0].dtype)
    return Aval(broadcast_shapes(*(a.shape for a in real)), dtype, real[0].device)


def spread(x: Any, shape: tuple[int, ...]) -> Any:
    """x broadcast to shape (Tensor in, Tensor out)."""
    from_shape = tuple(x.shape)
    if from_shape == tuple(shape):
        return x
    if len(from_shape) < len(shape):
        x = reshape_p(x, shape=(1,) * (len(shape) - len(from_shape)) + from_shape)
    return expand_p(x, shape=tuple(shape))


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """g summed to `shape`: the transpose of broadcasting."""
    extra = len(g.shape) - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    if axes:
        g = sum_p(g, axes=axes)
    return reshape_p(g, shape=tuple(shape)) if tuple(g.shape) != tuple(shape) else g


def align(values: Sequence[Any], mapped: Sequence[bool]) -> list[Any]:
    """Batched operands of an elementwise primitive with equal logical ranks: ones go in after the batch axis."""
    rank = max((len(v.shape) - m for v, m in zip(values, mapped, strict=True) if hasattr(v, "shape")), default=0)
    out = []
    for v, m in zip(values, mapped, strict=True):
        if m and len(v.shape) - 1 < rank:
            v = reshape_p(v, shape=(v.shape[0],) + (1,) * (rank - len(v.shape) + 1) + tuple(v.shape[1:]))
        out.append(v)
    return out


def materialize(size: int, value: Any, mapped: bool) -> Any:
    """The value with a batch axis at 0, repeated where it had none."""
    return value if mapped else expand_p(reshape_p(value, shape=(1, *value.shape)), shape=(size, *value.shape))


# ---- elementwise -----------------------------------------------------------------------------------------------------


def _pushed(rules: Sequence[Any], spread_out: bool) -> Callable[..., Any]:
    """Forward mode from the gradient rules: an elementwise Jacobian is its own transpose."""

    def jvp(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        total = None
        for t, rule in zip(tangents, rules, strict=False):
            if t is None or rule is None:
                continue
            if spread_out:
                t = spread(t, tuple(out.shape))
            part = rule(t, out, *primals, **kw)
            if part is not None:
                if part.raw.dtype.kind == "c" and out.raw.dtype.kind != "c":  # a real function of complex numbers
                    part = part.real
                total = part if total is None else total + part
        return total

    return jvp


def elementwise(
    name: str,
    impl: Callable[..., Any],
    vjp: Any = None,
    *,
    dtype: Any = None,
    shape: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
) -> Primitive:
    """Any number of broadcast operands, one output of their dtype (or of `dtype`)."""
    given = () if vjp is None else (vjp,) if callable(vjp) else tuple(vjp)
    rules = tuple(None if rule is None else one_pass(rule) for rule in given) or None

    def default_shape(*avals: Any, **_kw: Any) -> Aval:
        return joint_aval(avals, dtype)

    def batch(_size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
        return prim(*align(values, mapped), **kw)

    if jvp is None and rules is not None:
        jvp = _pushed(rules, len(rules) > 1)
    prim = Primitive(name, by_kernel(name, impl), shape or default_shape, rules, jvp=jvp, batch=batch)
    return prim


unary = binary = elementwise

# ---- linear maps -----------------------------------------------------------------------------------------------------


def linear(
    name: str,
    impl: Callable[..., Any],
    shape: Callable[..., Any],
    transpose: Any,
    *,
    batch_kw: Callable[[int, dict[str, Any]], dict[str, Any]],
    aliases: bool = False,
    writable: bool = True,
) -> Primitive:
    """A linear map of one operand. transpose(g, _x, **kw); batch_kw(size, kw) = parameters for a leading batch axis.

    Where the result is a view, `put_<name>(base, value, **kw)` comes with it: base with the viewed part replaced.
    """

    def rule(g: Any, _out: Any, _x: Any, **kw: Any) -> Any:
        return transpose(g, _x, **kw)

    def jvp(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        return None if tangents[0] is None else prim(tangents[0], *primals[1:], **kw)

    def batch(size: int, values: list[Any], _mapped: list[bool], kw: dict[str, Any]) -> Any:
        return prim(values[0], **batch_kw(size, kw))

    prim = Primitive(name, impl, shape, rule if transpose else None, jvp=jvp, batch=batch, aliases=aliases)
    if aliases and writable:
        prim.put = _put(prim, batch_kw)
    return prim


def _put(view: Primitive, batch_kw: Callable[[int, dict[str, Any]], dict[str, Any]]) -> Primitive:
    def impl(base: Any, value: Any, **kw: Any) -> Any:
        new = xp_of(base).array(base)  # a copy, and an array even where a rule computed a NumPy scalar
        view.impl(new, **kw)[...] = value
        return new

    def for_base(g: Any, _out: Any, _base: Any, _value: Any, **kw: Any) -> Any:
        return put(g, zeros_raw(g, view.shape(Aval(tuple(g.shape), g.dtype), **kw).shape), **kw)

    def for_value(g: Any, _out: Any, _base: Any, _value: Any, **kw: Any) -> Any:
        return view(g, **kw)

    def jvp(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        base, value = (zeros_raw(p) if t is None else t for t, p in zip(tangents, primals, strict=True))
        return put(base, value, **kw)

    def batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
        both = [materialize(size, v, m) for v, m in zip(values, mapped, strict=True)]
        return put(*both, **batch_kw(size, kw))

    put = Primitive(
        f"put_{view.name}", impl, lambda base, _value, **_kw: base, (for_base, for_value), jvp=jvp, batch=batch
    )
    return put


# ---- reductions ------------------------------------------------------------------------------------------------------


def reduced(aval: Aval, axes: tuple[int, ...], dtype: Any = None) -> Aval:
    return Aval(tuple(n for i, n in enumerate(aval.shape) if i not in axes), dtype or aval.dtype, aval.device)


def keep(x: Any, like: Any, axes: tuple[int, ...]) -> Any:
    """A reduced value with its axes put back as ones."""
    return reshape_p(x, shape=tuple(1 if i in axes else n for i, n in enumerate(like.shape)))


def shifted(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + 1 for a in axes)


def reduction(
    name: str, impl: Callable[..., Any], vjp: Any = None, *, jvp: Callable[..., Any] | None = None, dtype: Any = None
) -> Primitive:
    """Reduces `axes` (a sorted tuple of non-negative axes), which are dropped from the shape."""

    def batch(_size: int, values: list[Any], _mapped: list[bool], kw: dict[str, Any]) -> Any:
        return prim(values[0], axes=shifted(kw["axes"]))

    prim = Primitive(name, impl, lambda x, *, axes: reduced(x, axes, dtype), vjp, jvp=jvp, batch=batch)
    return prim


# ---- bilinear --------------------------------------------------------------------------------------------------------


def push_bilinear(prim: Primitive) -> Callable[..., Any]:
    """Forward mode of a primitive that is linear in each of its first two arguments."""

    def jvp(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
        parts = [
            prim(t, primals[1], **kw) if i == 0 else prim(primals[0], t, **kw)
            for i, t in enumerate(tangents)
            if t is not None
        ]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    return jvp


# ---- the three primitives that the default rules above rest on -------------------------------------------------------


def _reshape_shape(x: Aval, *, shape: tuple[int, ...]) -> Aval:
    return Aval(shape, x.dtype, x.device)


def _sum(x: Any, *, axes: tuple[int, ...]) -> Any:
    d = x.dtype
    if x.__class__ is np.ndarray and d.itemsize > 2:  # into an array: NumPy would make a scalar of a single number
        into: Any = np.empty((), d) if len(axes) == x.ndim else None
        return np.add.reduce(x, axes, d, into)
    return _wide_sum(x, axes=axes)


_wide_sum = widened(lambda x, *, axes: x.sum(axes, x.dtype))


def _batch_shape(size: int, kw: dict[str, Any]) -> dict[str, Any]:
    return {"shape": (size, *kw["shape"])}


def _expand(x: Any, *, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(x, shape)


reshape_p = linear(
    "reshape",
    reshape(lambda x, *, shape: x.reshape(shape)),
    _reshape_shape,
    lambda g, _x, *, shape: reshape_p(g, shape=tuple(_x.shape)),
    batch_kw=_batch_shape,
    aliases=True,
)
expand_p = linear(  # of equal rank: axes of size one are repeated
    "expand",
    _expand,
    _reshape_shape,
    lambda g, _x, *, shape: unbroadcast(g, tuple(_x.shape)),
    batch_kw=_batch_shape,
    aliases=True,
    writable=False,
)
sum_p = reduction(
    "sum",
    reduced_by_kernel("sum", _sum),
    lambda g, _out, _x, *, axes: expand_p(keep(g, _x, axes), shape=tuple(_x.shape)),
    jvp=lambda tangents, _out, _primals, kw: None if tangents[0] is None else sum_p(tangents[0], **kw),
)
