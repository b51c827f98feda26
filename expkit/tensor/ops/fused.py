"""Composites that are primitives of their own, since one pass over the data is faster than ten: gelu, silu, losses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.errors import ShapeError
from expkit.tensor import dtypes, generated
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.convert import as_dtype, floating, promote
from expkit.tensor.ops.elementwise import exp_p, mul, sigmoid_p, square, sub, tanh_p
from expkit.tensor.ops.kinds import keep, materialize, reduced, reshape_p, shifted, sum_p, unary
from expkit.tensor.ops.movement import movedim, reshape
from expkit.tensor.ops.softmax import softmax_p
from expkit.tensor.ops.special import erf, in_blocks, widened
from expkit.tensor.ops.windows import all_raw

# ---- activations -----------------------------------------------------------------------------------------------------


def _smooth(
    name: str, value: Callable[[Any], Any], slope: Callable[[Any], Any], curve: Callable[[Any], Any]
) -> Primitive:
    """An activation by its value and slope on arrays, and its second derivative in primitives."""
    slope_p = unary(f"{name}_slope", generated.elementwise(f"{name}_slope", in_blocks(widened(slope))), lambda g, _out, x: g * curve(x))
    return unary(name, generated.elementwise(name, in_blocks(widened(value))), lambda g, _out, x: g * slope_p(x))


_DENSITY = 1 / math.sqrt(2 * math.pi)  # of the normal distribution at 0
_ROOT, _CUBIC = math.sqrt(2 / math.pi), 0.044715  # of the tanh form


def _normal_cdf(x: Any) -> Any:
    kind = x.dtype.type
    out = erf(x * kind(math.sqrt(0.5)))
    out += kind(1)
    out *= kind(0.5)
    return out


def _gelu_slope(x: Any) -> Any:
    kind = x.dtype.type
    return _normal_cdf(x) + x * np.exp(x * x * kind(-0.5)) * kind(_DENSITY)


def _tanh_parts(x: Any, tanh: Callable[[Any], Any]) -> tuple[Any, Any]:
    """(tanh u, du/dx) of u = sqrt(2 / pi) (x + 0.044715 x³); on arrays and in primitives."""
    squared = x * x
    return tanh(x * (squared * (_ROOT * _CUBIC) + _ROOT)), squared * (3 * _ROOT * _CUBIC) + _ROOT


def _gelu_tanh_slope(x: Any) -> Any:
    t, du = _tanh_parts(x, np.tanh)
    return (t + 1) * 0.5 + x * (1 - t * t) * du * 0.5


def _gelu_tanh_curve(x: Any) -> Any:
    t, du = _tanh_parts(x, tanh_p)
    return (1 - t * t) * (du - x * t * du * du + x * x * (3 * _ROOT * _CUBIC))


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))  # exp overflows to infinity, the quotient to 0


def _silu_slope(x: Any) -> Any:
    s = _sigmoid(x)
    return s * (x * (1 - s) + 1)


def _silu_curve(x: Any) -> Any:
    s = sigmoid_p(x)
    return s * (1 - s) * (x * (1 - s * 2) + 2)


gelu_p = _smooth(
    "gelu", lambda x: x * _normal_cdf(x), _gelu_slope, lambda x: (2 - x * x) * exp_p(x * x * -0.5) * _DENSITY
)
gelu_tanh_p = _smooth(
    "gelu_tanh", lambda x: x * (_tanh_parts(x, np.tanh)[0] + 1) * 0.5, _gelu_tanh_slope, _gelu_tanh_curve
)
silu_p = _smooth("silu", lambda x: x * _sigmoid(x), _silu_slope, _silu_curve)


def gelu(input: Any, approximate: str = "none") -> Any:
    """x times the normal distribution function (Hendrycks and Gimpel, 2016); approximate="tanh" is the tanh form."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return apply1(gelu_p if approximate == "none" else gelu_tanh_p, _smooth_input("gelu", input))


def silu(input: Any) -> Any:
    """x sigmoid(x), also called swish."""
    return apply1(silu_p, _smooth_input("silu", input))


def _smooth_input(name: str, x: Any) -> Any:
    if not dtypes.of(x.raw).is_floating_point:
        raise TypeError(f"{name}: the input must be floating-point, got {dtypes.of(x.raw)}. Use .float().")
    return x


# ---- cross entropy with class indices --------------------------------------------------------------------------------
# x: (..., N, C) logits, index: (..., N) -> (...), or (..., N) where nothing is reduced.


def _check_index(index: Any, classes: int, ignore: int) -> None:
    """IndexError for an index that is no class. On a GPU looking would mean waiting for it; NumPy only."""
    if index.__class__ is not np.ndarray or not index.size or index.view(np.uint64).max() < classes:
        return
    bad = index[((index < 0) | (index >= classes)) & (index != ignore)]
    if bad.size:
        raise IndexError(f"Target {bad[0]} is out of bounds: class indices must lie in [0, {classes - 1}]")


def _rows(x: Any, index: Any) -> tuple[Any, Any, tuple[Any, Any]]:
    """(rows less their maximum, the indices in one row, the key of each row's target; 0 for what is ignored)."""
    rows, flat = x.reshape(-1, x.shape[-1]), index.reshape(-1)
    safe = xp_of(x).where((flat >= 0) & (flat < x.shape[-1]), flat, 0)
    return rows - rows.max(1, keepdims=True), flat, (xp_of(x).arange(rows.shape[0]), safe)


def _cross_entropy(x: Any, index: Any, *, ignore: int, reduction: str) -> Any:
    _check_index(index, x.shape[-1], ignore)
    if not x.size:
        return (x.sum(-1) if reduction == "none" else x.sum((-2, -1))) * (math.nan if reduction == "mean" else 1)
    rows, _, target = _rows(x, index)
    loss = np.log(np.exp(rows).sum(1)) - rows[target]
    loss = loss.reshape(index.shape) * _cross_scale(index, dtype=x.dtype, ignore=ignore, reduction=reduction)
    return loss if reduction == "none" else loss.sum(-1)


def _cross_scale(index: Any, *, dtype: Any, ignore: int, reduction: str) -> Any:
    """The factor of each sample's loss: 0 where it is ignored, for a mean one over the number of the others."""
    valid = (index != ignore).astype(dtype)
    return valid / valid.sum(-1, keepdims=True) if reduction == "mean" else valid


def _cross_entropy_grad(g: Any, x: Any, index: Any, ignore: int, reduction: str) -> Any:
    """(softmax(x) - one_hot(index)) scale g, on arrays."""
    if not x.size:
        return x
    rows, _, target = _rows(x, index)
    np.exp(rows, out=rows)
    rows /= rows.sum(1, keepdims=True)
    rows[target] -= rows.dtype.type(1)
    scale = _cross_scale(index, dtype=x.dtype, ignore=ignore, reduction=reduction)
    rows *= (scale * (g if reduction == "none" else g[..., None])).reshape(-1, 1)
    return rows.reshape(x.shape)


def _slopes(x: Any, index: Any, ignore: int, reduction: str) -> Any:
    """The derivative of each sample's share of the loss, in primitives."""
    dtype = np.dtype(x.dtype)
    scale = cross_scale_p(index, dtype=dtype, ignore=ignore, reduction=reduction)
    classes = one_hot_p(index, dtype=dtype, classes=x.shape[-1])
    return (softmax_p(x, axis=len(x.shape) - 1) - classes) * reshape_p(scale, shape=(*scale.shape, 1))


def _cross_vjp(g: Any, _out: Any, x: Any, index: Any, *, ignore: int, reduction: str) -> Any:
    if all_raw(g, x, index):
        return _cross_entropy_grad(g, x, index, ignore, reduction)
    shape = (*g.shape, 1) if reduction == "none" else (*g.shape, 1, 1)
    return reshape_p(g, shape=shape) * _slopes(x, index, ignore, reduction)


def _cross_push(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    t, (x, index) = tangents[0], primals
    if t is None:
        return None
    n = len(x.shape)
    axes = (n - 1,) if kw["reduction"] == "none" else (n - 2, n - 1)
    return sum_p(t * _slopes(x, index, **kw), axes=axes)


def _loss_shape(x: Aval, index: Aval, *, reduction: str, **_: Any) -> Aval:
    return Aval(index.shape if reduction == "none" else index.shape[:-1], x.dtype, x.device)


cross_entropy_p = Primitive(
    "cross_entropy",
    _cross_entropy,
    _loss_shape,
    (_cross_vjp, None),
    jvp=_cross_push,
    batch=lambda size, values, mapped, kw: cross_entropy_p(
        *(materialize(size, v, m) for v, m in zip(values, mapped, strict=True)), **kw
    ),
)
cross_scale_p = Primitive(
    "cross_scale",
    _cross_scale,
    lambda index, *, dtype, **_: Aval(index.shape, dtype, index.device),
    batch=lambda size, values, mapped, kw: cross_scale_p(values[0], **kw),
)
one_hot_p = Primitive(
    "one_hot",
    lambda index, *, dtype, classes: (index[..., None] == xp_of(index).arange(classes)).astype(dtype),
    lambda index, *, dtype, classes: Aval((*index.shape, classes), dtype, index.device),
    batch=lambda size, values, mapped, kw: one_hot_p(values[0], **kw),
)


def nll_from_logits(input: Any, target: Any, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """-log softmax(input) at the target class.   input: (N, C), (C,) or (N, C, d1, ...), target: integers without C

    The mean is over the targets that are not `ignore_index`. IndexError for a target that is no class.
    """
    x = floating(input)
    expected = tuple(x.shape[:1] + x.shape[2:]) if x.ndim > 1 else ()
    if x.ndim == 0 or tuple(target.shape) != expected:
        raise ShapeError(
            f"cross entropy: an input of shape {tuple(x.shape)} needs targets of shape {expected}, "
            f"got {tuple(target.shape)}"
        )
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if x.ndim == 1:
        x, flat = reshape(x, (1, x.shape[0])), reshape(target, (1,))
    elif x.ndim > 2:
        flat = reshape(target, (-1,) if 0 not in expected else (0,))
        x = reshape(movedim(x, 1, -1), (flat.shape[0], x.shape[1]))
    else:
        flat = target
    loss = apply(cross_entropy_p, x, as_dtype(flat, dtypes.int64), ignore=ignore_index, reduction=reduction)
    return reshape(loss, expected) if reduction == "none" and len(expected) != 1 else loss


# ---- squared error ---------------------------------------------------------------------------------------------------


def _squared(x: Any, y: Any, *, axes: tuple[int, ...], scale: float) -> Any:
    d = x - y
    if len(axes) == d.ndim:
        d = d.reshape(-1)
        return xp_of(d).dot(d, d) * d.dtype.type(scale)
    return np.square(d).sum(axes) * d.dtype.type(scale)


def _squared_slope(g: Any, x: Any, y: Any, axes: tuple[int, ...], scale: float) -> Any:
    return (x - y) * (keep(g, x, axes) * (2 * scale))


def _squared_push(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    x, y = primals
    t, s = tangents
    moved = t if s is None else -s if t is None else t - s
    return sum_p(moved * (x - y), axes=kw["axes"]) * (2 * kw["scale"])


def _squared_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    x, y = (materialize(size, v, m) for v, m in zip(values, mapped, strict=True))
    return squared_error_p(x, y, axes=shifted(kw["axes"]), scale=kw["scale"])


squared_error_p = Primitive(  # scale * sum((x - y)²) over the axes; x and y of one shape
    "squared_error",
    _squared,
    lambda x, y, *, axes, scale: reduced(x, axes),
    (
        lambda g, _out, x, y, *, axes, scale: _squared_slope(g, x, y, axes, scale),
        lambda g, _out, x, y, *, axes, scale: _squared_slope(g, x, y, axes, -scale),
    ),
    jvp=_squared_push,
    batch=_squared_batch,
)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """(input - target)², its mean, its sum or ("none") itself. ShapeError unless both have one shape."""
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(f"mse_loss: input {tuple(input.shape)} and target {tuple(target.shape)} must have one shape")
    x, y = promote(floating(input), floating(target))
    if reduction == "none":
        return square(sub(x, y))
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    count = math.prod(x.shape)
    if not count:
        return mul(sub(x, y).sum(), math.nan if reduction == "mean" else 1.0)
    scale = 1 / count if reduction == "mean" else 1.0
    return apply(squared_error_p, x, y, axes=tuple(range(x.ndim)), scale=scale)
