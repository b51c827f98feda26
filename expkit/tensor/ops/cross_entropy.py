"""Cross entropy with class indices: one primitive for log-softmax, pick and mean, and one for pick and mean alone.

x: (..., N, C) logits, index: (..., N) -> (...), or (..., N) where nothing is reduced. An index equal to `ignore` counts
nothing. Its gradient is (softmax(x) - one_hot(index)) times the factor of each sample. The second output (..., N, 2),
each row's maximum and the logarithm of its sum of exponentials less that, is there for the gradient alone.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import loss as by_kernel
from expkit.tensor.ops.compound import compound
from expkit.tensor.ops.convert import as_dtype, floating
from expkit.tensor.ops.kinds import materialize, reshape_p, sum_p
from expkit.tensor.ops.lookup import one_hot_p
from expkit.tensor.ops.movement import movedim, reshape
from expkit.tensor.ops.softmax import softmax_p
from expkit.tensor.ops.windows import recordable

REDUCTIONS = ("mean", "sum", "none")

# ---- on arrays -------------------------------------------------------------------------------------------------------


def _all_count(index: Any, classes: int, ignore: int) -> bool:
    """Whether it is known that every index is a class and none is ignored. IndexError for one that is neither.

    On a GPU nothing is known: looking would mean waiting for it.
    """
    if index.__class__ is not np.ndarray:
        return False
    if not index.size or index.view(np.uint64).max() < classes:  # negative ones are huge there
        return not 0 <= ignore < classes
    bad = index[((index < 0) | (index >= classes)) & (index != ignore)]
    if bad.size:
        raise IndexError(
            f"class index {bad[0]} is out of range for {classes} classes: targets must lie in [0, {classes - 1}]"
        )
    return False


def _rows(x: Any, index: Any, plain: bool) -> tuple[Any, tuple[Any, Any]]:
    """(rows less their maximum, the key of each row's target)."""
    rows = x.reshape(-1, x.shape[-1])
    return rows - rows.max(1, keepdims=True), _key(x, index, plain)


def _cross_entropy(x: Any, index: Any, *, ignore: int, reduction: str) -> tuple[Any, Any]:
    fast = by_kernel.looked("forward", x, index, ignore, reduction)
    if fast is not None:
        return fast[0], fast[1]
    plain = _all_count(index, x.shape[-1], ignore)
    if not x.size:
        nothing = x.sum(-1) if reduction == "none" else x.sum((-2, -1))
        return nothing * (math.nan if reduction == "mean" else 1), xp_of(x).zeros((*index.shape, 2), x.dtype)
    loss, logs = _row_losses(x, index, ignore, plain)
    return _reduced(loss, index, ignore, reduction, plain), logs


def _reduced(loss: Any, index: Any, ignore: int, reduction: str, plain: bool) -> Any:
    if reduction == "none":
        return loss
    total = loss.sum(-1)
    if reduction == "sum":
        return total
    return total / (loss.dtype.type(index.shape[-1]) if plain else (index != ignore).sum(-1).astype(loss.dtype))


def _picked(x: Any, index: Any, *, ignore: int, reduction: str) -> Any:
    """The loss of log-probabilities."""
    fast = by_kernel.looked("pick", x, index, ignore, reduction)
    if fast is not None:
        return fast[0]
    plain = _all_count(index, x.shape[-1], ignore)
    if not x.size:
        return (x.sum(-1) if reduction == "none" else x.sum((-2, -1))) * (math.nan if reduction == "mean" else 1)
    loss = -x.reshape(-1, x.shape[-1])[_key(x, index, plain)].reshape(index.shape)
    loss = loss if plain else xp_of(x).where(index != ignore, loss, 0)
    return _reduced(loss, index, ignore, reduction, plain)


def _key(x: Any, index: Any, plain: bool) -> tuple[Any, Any]:
    """The places of the targets among all rows; class 0 for what is ignored."""
    xp, flat = xp_of(x), index.reshape(-1)
    if not plain:
        flat = xp.where((flat >= 0) & (flat < x.shape[-1]), flat, 0)
    return xp.arange(flat.shape[0]), flat


def _row_losses(x: Any, index: Any, ignore: int, plain: bool) -> tuple[Any, Any]:
    rows, target = _rows(x, index, plain)
    logs = np.log(np.exp(rows).sum(1))
    loss = (logs - rows[target]).reshape(index.shape)
    if not plain:
        loss *= index != ignore
    return loss, xp_of(x).stack([x.max(-1), logs.reshape(index.shape)], -1)


def _factors(index: Any, *, dtype: Any, ignore: int, reduction: str) -> Any:
    """The factor of each sample's loss: 0 where it is ignored, for a mean one over the number of the others."""
    valid = (index != ignore).astype(dtype)
    return valid / np.maximum(valid.sum(-1, keepdims=True), 1) if reduction == "mean" else valid


def _gradient(g: Any, logs: Any, x: Any, index: Any, *, ignore: int, reduction: str) -> Any:
    if not x.size:
        return x
    if x.size >= by_kernel.LEAST:
        fast = by_kernel.row_slopes(g, logs, x, index, ignore=ignore, reduction=reduction)
        if fast is not None:
            return fast
    plain = _all_count(index, x.shape[-1], ignore)
    rows, target = _rows(x, index, plain)
    np.exp(rows, out=rows)
    rows /= rows.sum(1, keepdims=True)
    rows[target] -= rows.dtype.type(1)
    rows *= _shares(g, x, index, ignore, reduction).reshape(-1, 1)
    return rows.reshape(x.shape)


def _shares(g: Any, x: Any, index: Any, ignore: int, reduction: str) -> Any:
    """What each row's loss has of the gradient."""
    factors = _factors(index, dtype=x.dtype, ignore=ignore, reduction=reduction)
    return factors * (g if reduction == "none" else g[..., None])


def _picked_gradient(g: Any, x: Any, index: Any, *, ignore: int, reduction: str) -> Any:
    if not x.size:
        return x
    if x.size >= by_kernel.LEAST:
        fast = by_kernel.unpicked(g, x, index, ignore=ignore, reduction=reduction)
        if fast is not None:
            return fast
    plain, out = _all_count(index, x.shape[-1], ignore), xp_of(x).zeros(x.shape, x.dtype)
    shares = _shares(g, x, index, ignore, reduction)
    out.reshape(-1, x.shape[-1])[_key(x, index, plain)] = -shares.reshape(-1)
    return out


# ---- the primitives --------------------------------------------------------------------------------------------------


def _slopes(x: Any, index: Any, ignore: int, reduction: str, logs: bool = False) -> Any:
    """The derivative of each sample's share of the loss, in primitives; logs: of log-probabilities."""
    dtype = np.dtype(x.dtype)
    scale = factors_p(index, dtype=dtype, ignore=ignore, reduction=reduction)
    classes = one_hot_p(index, dtype=dtype, classes=x.shape[-1])
    return (-classes if logs else softmax_p(x, axis=len(x.shape) - 1) - classes) * reshape_p(
        scale, shape=(*scale.shape, 1)
    )


def _beside(g: Any, reduction: str) -> Any:
    """The gradient of the loss beside x."""
    return reshape_p(g, shape=(*g.shape, 1) if reduction == "none" else (*g.shape, 1, 1))


cross_entropy_grad_p = compound(  # (gradient, rows' maxima and logarithms, x, index) -> the gradient of x
    "cross_entropy_grad",
    _gradient,
    lambda _g, _logs, x, _index, **_kw: x,
    lambda g, _logs, x, index, **kw: _beside(g, kw["reduction"]) * _slopes(x, index, **kw),
)
nll_grad_p = compound(  # (gradient, x, index) -> the gradient of x
    "nll_grad",
    _picked_gradient,
    lambda _g, x, _index, **_kw: x,
    lambda g, x, index, **kw: _beside(g, kw["reduction"]) * _slopes(x, index, **kw, logs=True),
)


def _joint(gs: Any, out: Any, x: Any, index: Any, *, ignore: int, reduction: str) -> list[Any]:
    g, _ = gs
    if recordable(g, out[1], x, index):
        return [cross_entropy_grad_p(g, out[1], x, index, ignore=ignore, reduction=reduction), None]
    return [_beside(g, reduction) * _slopes(x, index, ignore, reduction), None]


def _picked_vjp(g: Any, _out: Any, x: Any, index: Any, *, ignore: int, reduction: str) -> Any:
    if recordable(g, x, index):
        return nll_grad_p(g, x, index, ignore=ignore, reduction=reduction)
    return _beside(g, reduction) * _slopes(x, index, ignore, reduction, logs=True)


def _push(t: Any, x: Any, index: Any, logs: bool, reduction: str, ignore: int) -> Any:
    if t is None:
        return None
    n = len(x.shape)
    return sum_p(
        t * _slopes(x, index, ignore, reduction, logs), axes=(n - 1,) if reduction == "none" else (n - 2, n - 1)
    )


def _loss_shape(x: Aval, index: Aval, *, reduction: str, **_: Any) -> tuple[Aval, Aval]:
    loss = Aval(index.shape if reduction == "none" else index.shape[:-1], x.dtype, x.device)
    return loss, Aval((*index.shape, 2), x.dtype, x.device)


def _mapped(size: int, values: list[Any], mapped: list[bool]) -> list[Any]:
    return [materialize(size, v, m) for v, m in zip(values, mapped, strict=True)]


cross_entropy_p = Primitive(
    "cross_entropy",
    _cross_entropy,
    _loss_shape,
    joint=_joint,
    nout=2,
    saves=(1,),
    jvp=lambda tangents, _out, primals, kw: [_push(tangents[0], *primals, logs=False, **kw), None],
    batch=lambda size, values, mapped, kw: cross_entropy_p(*_mapped(size, values, mapped), **kw),
)
nll_p = Primitive(
    "nll",
    _picked,
    lambda x, index, **kw: _loss_shape(x, index, **kw)[0],
    (_picked_vjp, None),
    jvp=lambda tangents, _out, primals, kw: _push(tangents[0], *primals, logs=True, **kw),
    batch=lambda size, values, mapped, kw: nll_p(*_mapped(size, values, mapped), **kw),
)
factors_p = Primitive(
    "loss_factors",
    _factors,
    lambda index, *, dtype, **_: Aval(index.shape, dtype, index.device),
    batch=lambda size, values, mapped, kw: factors_p(values[0], **kw),
)


# ---- the functions ---------------------------------------------------------------------------------------------------


def nll_from_logits(input: Any, target: Any, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """-log softmax(input) at the target class.   input: (N, C), (C,) or (N, C, d1, ...), target: integers without C

    The mean is over the targets that are not `ignore_index`. IndexError for a target that is no class.
    """
    return _of_rows(lambda *args, **kw: apply(cross_entropy_p, *args, **kw)[0], input, target, ignore_index, reduction)


def nll(input: Any, target: Any, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """-input at the target class, input being log-probabilities; otherwise as `nll_from_logits`."""
    return _of_rows(partial(apply, nll_p), input, target, ignore_index, reduction)


def _of_rows(loss_of: Any, input: Any, target: Any, ignore_index: int, reduction: str) -> Any:
    """loss_of(rows, indices, ignore=, reduction=) of an input that has its classes in dimension 1, or alone."""
    x = floating(input)
    d = dtypes.of(x.raw)
    if d.itemsize == 2:  # summed in float32, rounded once
        return as_dtype(_of_rows(loss_of, as_dtype(x, dtypes.float32), target, ignore_index, reduction), d)
    expected = tuple(x.shape[:1] + x.shape[2:]) if x.ndim > 1 else ()
    if x.ndim == 0 or tuple(target.shape) != expected:
        raise ShapeError(
            f"cross entropy: an input of shape {tuple(x.shape)} needs targets of shape {expected}, "
            f"got {tuple(target.shape)}"
        )
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction: expected one of 'mean', 'sum', 'none'")
    if x.ndim == 1:
        x, flat = reshape(x, (1, x.shape[0])), reshape(target, (1,))
    elif x.ndim > 2:
        flat = reshape(target, (-1,) if 0 not in expected else (0,))
        x = reshape(movedim(x, 1, -1), (flat.shape[0], x.shape[1]))
    else:
        flat = target
    loss = loss_of(x, as_dtype(flat, dtypes.int64), ignore=ignore_index, reduction=reduction)
    return reshape(loss, expected) if reduction == "none" and len(expected) != 1 else loss
