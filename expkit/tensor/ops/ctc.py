"""Connectionist temporal classification: how likely label sequences are, in all alignments (Graves et al., 2006).

    x (T, N, C), states (N, L), skip (N, L), last (T, N, L), within (T, N, 1) -> (losses (N,), α (T, N, L))

x are log-probabilities; states the classes that a path goes through, labels with blanks around each, L = 2 S + 1; skip
says which states may follow the one before the last; last, where and when paths end; within, which steps count. α is
the log-probability of all ways to a state, β (in the gradient) that of all ways on from it.

The gradient is exp(x) less the probability of each class at each step: PyTorch's, that of logits. It is what the loss
of x less its logsumexp has, which is the same loss where x are log-probabilities.
"""

import math
from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.index import gather_p, scatter_add_p
from expkit.tensor.ops.join import cat_p
from expkit.tensor.ops.kinds import expand_p, keep, materialize, reshape_p, sum_p, zeros_raw
from expkit.tensor.ops.movement import pad_p, permute_p
from expkit.tensor.ops.pointwise import exp_p, isinf_p, log_p, logaddexp_p, lt_p, where_p
from expkit.tensor.ops.reduce import amax_p
from expkit.tensor.ops.windows import all_raw

NEVER = -1e30  # the logarithm of 0: finite, so that no difference of two is NaN


def _classes(x: Any, states: Any) -> Any:
    """The class of each state at each step, (T, N, L)."""
    return expand_p(reshape_p(states, shape=(1, *states.shape)), shape=(x.shape[0], *states.shape))


def _moved(a: Any, n: int) -> Any:
    """To the state n further; to an earlier one where n is negative."""
    if n > 0:
        return pad_p(a[:, :-n], widths=((0, 0), (n, 0)), value=NEVER)
    return pad_p(a[:, -n:], widths=((0, 0), (0, -n)), value=NEVER)


def _stacked(parts: list[Any]) -> Any:
    return cat_p(*(reshape_p(a, shape=(1, *a.shape)) for a in parts), axis=0)


def _ways_to(rows: Any, skip: Any) -> Any:
    """α of the states' log-probabilities at each step."""
    a = where_p(xp_of(rows).arange(rows.shape[2]) < 2, rows[0], NEVER)
    out = [a]
    for t in range(1, rows.shape[0]):
        one = logaddexp_p(a, _moved(a, 1))
        a = logaddexp_p(one, where_p(skip, _moved(a, 2), NEVER)) + rows[t]
        out.append(a)
    return _stacked(out)


def _ways_on(rows: Any, skip: Any, last: Any) -> Any:
    """β, without the step itself."""
    b = where_p(last[-1], zeros_raw(rows[-1]), NEVER)
    out = [b]
    for t in range(rows.shape[0] - 2, -1, -1):
        b = b + rows[t + 1]
        one = logaddexp_p(b, _moved(b, -1))
        b = logaddexp_p(one, _moved(where_p(skip, b, NEVER), -2))
        b = where_p(last[t], zeros_raw(b), b)
        out.append(b)
    return _stacked(out[::-1])


def _loss(alpha: Any, last: Any) -> Any:
    """-log of the sum over all ends; infinite where there is no way."""
    ends = where_p(last, alpha, NEVER)
    top = amax_p(ends, axes=(0, 2))
    total = top + log_p(sum_p(exp_p(ends - keep(top, ends, (0, 2))), axes=(0, 2)))
    return where_p(lt_p(total, NEVER / 2), math.inf, -total)


def _impl(x: Any, states: Any, skip: Any, last: Any, within: Any, *, zero_infinity: bool) -> tuple[Any, Any]:
    alpha = _ways_to(gather_p.impl(x, _classes(x, states), axis=2), skip)
    loss = _loss(alpha, last)
    return (where_p(isinf_p(loss), 0.0, loss) if zero_infinity else loss).astype(x.dtype), alpha


def _slope(x: Any, states: Any, skip: Any, last: Any, within: Any, zero_infinity: bool, alpha: Any = None) -> Any:
    """The derivative of each loss in its own part of x."""
    index = _classes(x, states)
    rows = gather_p(x, index, axis=2)
    alpha = _ways_to(rows, skip) if alpha is None else alpha
    loss = keep(_loss(alpha, last), alpha, (0, 2))
    never = isinf_p(loss)
    shares = exp_p(alpha + _ways_on(rows, skip, last) + where_p(never, 0.0, loss))
    classes = scatter_add_p(zeros_raw(x), index, shares, axis=2)
    slope = where_p(never, 0.0 if zero_infinity else math.nan, exp_p(x) - classes)
    return where_p(within, slope, zeros_raw(x))


def _joint(g: Any, out: Any, x: Any, *masks: Any, zero_infinity: bool) -> list[Any]:
    known = out[1] if all_raw(g[0], out[1], x, *masks) else None
    return [_beside(g[0]) * _slope(x, *masks, zero_infinity, known), *(None for _ in masks)]


def _beside(g: Any) -> Any:
    return reshape_p(g, shape=(1, *g.shape, 1))


def _push(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> list[Any]:
    moved = None if tangents[0] is None else sum_p(tangents[0] * _slope(*primals, **kw), axes=(0, 2))
    return [moved, None]


def _fold(v: Any) -> Any:
    """(B, T, N, ·) -> (T, B N, ·)"""
    b, t, n, last = v.shape
    return reshape_p(permute_p(v, axes=(1, 0, 2, 3)), shape=(t, b * n, last))


def _batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> list[Any]:
    x, states, skip, last, within = (materialize(size, v, m) for v, m in zip(values, mapped, strict=True))
    flat = [reshape_p(v, shape=(size * v.shape[1], v.shape[2])) for v in (states, skip)]
    loss, alpha = ctc_p(_fold(x), *flat, _fold(last), _fold(within), **kw)
    t, _, length = alpha.shape
    alpha = permute_p(reshape_p(alpha, shape=(t, size, -1, length)), axes=(1, 0, 2, 3))
    return [reshape_p(loss, shape=(size, loss.shape[0] // size)), alpha]


ctc_p = Primitive(
    "ctc",
    _impl,
    lambda x, states, *_masks, **_: (
        Aval(states.shape[:1], x.dtype, x.device),
        Aval((x.shape[0], *states.shape), x.dtype, x.device),
    ),
    joint=_joint,
    jvp=_push,
    batch=_batch,
    nout=2,
    saves=(1,),
)


def ctc(x: Any, states: Any, skip: Any, last: Any, within: Any, zero_infinity: bool) -> Any:
    """The loss of each sequence, see above; 0 for infinite ones, without a gradient, if zero_infinity."""
    return apply(ctc_p, x, states, skip, last, within, zero_infinity=zero_infinity)[0]
