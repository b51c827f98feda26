"""Cross entropy of logits with class indices: one primitive for log-softmax, pick and mean.

x: (..., N, C) logits, index: (..., N) -> (...), or (..., N) where nothing is reduced. An index equal to `ignore` counts
nothing. Its gradient is (softmax(x) - one_hot(index)) times the factor of each sample. The second output (..., N, 2),
each row's maximum and the logarithm of its sum of exponentials less that, is there for the gradient alone.
"""

import math
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.generated.loss import row_losses, row_slopes
from expkit.tensor.ops.convert import as_dtype, floating
from expkit.tensor.ops.kinds import materialize, reshape_p, sum_p
from expkit.tensor.ops.movement import movedim, reshape
from expkit.tensor.ops.softmax import softmax_p
from expkit.tensor.ops.windows import all_raw

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
    """(rows less their maximum, the key of each row's target: 0 for what is ignored)."""
    xp, rows, flat = xp_of(x), x.reshape(-1, x.shape[-1]), index.reshape(-1)
    if not plain:
        flat = xp.where((flat >= 0) & (flat < x.shape[-1]), flat, 0)
    return rows - rows.max(1, keepdims=True), (xp.arange(rows.shape[0]), flat)


def _cross_entropy(x: Any, index: Any, *, ignore: int, reduction: str) -> tuple[Any, Any]:
    plain = _all_count(index, x.shape[-1], ignore)
    if not x.size:
        nothing = x.sum(-1) if reduction == "none" else x.sum((-2, -1))
        return nothing * (math.nan if reduction == "mean" else 1), xp_of(x).zeros((*index.shape, 2), x.dtype)
    loss, logs = row_losses(x, index, ignore) or _row_losses(x, index, ignore, plain)
    if reduction == "none":
        return loss, logs
    total = loss.sum(-1)
    if reduction == "mean":
        total = total / (x.dtype.type(index.shape[-1]) if plain else (index != ignore).sum(-1).astype(x.dtype))
    return total, logs


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


def _gradient(g: Any, logs: Any, x: Any, index: Any, ignore: int, reduction: str) -> Any:
    if not x.size:
        return x
    plain = _all_count(index, x.shape[-1], ignore)
    factors = _factors(index, dtype=x.dtype, ignore=ignore, reduction=reduction)
    factors = factors * (g if reduction == "none" else g[..., None])
    fast = row_slopes(x, index, logs, factors)
    if fast is not None:
        return fast
    rows, target = _rows(x, index, plain)
    np.exp(rows, out=rows)
    rows /= rows.sum(1, keepdims=True)
    rows[target] -= rows.dtype.type(1)
    rows *= factors.reshape(-1, 1)
    return rows.reshape(x.shape)


# ---- the primitives --------------------------------------------------------------------------------------------------


def _slopes(x: Any, index: Any, ignore: int, reduction: str) -> Any:
    """The derivative of each sample's share of the loss, in primitives."""
    dtype = np.dtype(x.dtype)
    scale = factors_p(index, dtype=dtype, ignore=ignore, reduction=reduction)
    classes = one_hot_p(index, dtype=dtype, classes=x.shape[-1])
    return (softmax_p(x, axis=len(x.shape) - 1) - classes) * reshape_p(scale, shape=(*scale.shape, 1))


def _joint(gs: Any, out: Any, x: Any, index: Any, *, ignore: int, reduction: str) -> list[Any]:
    g, _ = gs
    if all_raw(g, out[1], x, index):
        return [_gradient(g, out[1], x, index, ignore, reduction), None]
    shape = (*g.shape, 1) if reduction == "none" else (*g.shape, 1, 1)
    return [reshape_p(g, shape=shape) * _slopes(x, index, ignore, reduction), None]


def _cross_push(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> list[Any]:
    t, (x, index) = tangents[0], primals
    if t is None:
        return [None, None]
    n = len(x.shape)
    axes = (n - 1,) if kw["reduction"] == "none" else (n - 2, n - 1)
    return [sum_p(t * _slopes(x, index, **kw), axes=axes), None]


def _loss_shape(x: Aval, index: Aval, *, reduction: str, **_: Any) -> tuple[Aval, Aval]:
    loss = Aval(index.shape if reduction == "none" else index.shape[:-1], x.dtype, x.device)
    return loss, Aval((*index.shape, 2), x.dtype, x.device)


cross_entropy_p = Primitive(
    "cross_entropy",
    _cross_entropy,
    _loss_shape,
    joint=_joint,
    nout=2,
    saves=(1,),
    jvp=_cross_push,
    batch=lambda size, values, mapped, kw: cross_entropy_p(
        *(materialize(size, v, m) for v, m in zip(values, mapped, strict=True)), **kw
    ),
)
factors_p = Primitive(
    "loss_factors",
    _factors,
    lambda index, *, dtype, **_: Aval(index.shape, dtype, index.device),
    batch=lambda size, values, mapped, kw: factors_p(values[0], **kw),
)
one_hot_p = Primitive(
    "one_hot",
    lambda index, *, dtype, classes: (index[..., None] == xp_of(index).arange(classes)).astype(dtype),
    lambda index, *, dtype, classes: Aval((*index.shape, classes), dtype, index.device),
    batch=lambda size, values, mapped, kw: one_hot_p(values[0], **kw),
)


# ---- the function ----------------------------------------------------------------------------------------------------


def nll_from_logits(input: Any, target: Any, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """-log softmax(input) at the target class.   input: (N, C), (C,) or (N, C, d1, ...), target: integers without C

    The mean is over the targets that are not `ignore_index`. IndexError for a target that is no class.
    """
    x = floating(input)
    d = dtypes.of(x.raw)
    if d.itemsize == 2:  # summed in float32, rounded once
        return as_dtype(nll_from_logits(as_dtype(x, dtypes.float32), target, ignore_index, reduction), d)
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
    loss, _ = apply(cross_entropy_p, x, as_dtype(flat, dtypes.int64), ignore=ignore_index, reduction=reduction)
    return reshape(loss, expected) if reduction == "none" and len(expected) != 1 else loss
