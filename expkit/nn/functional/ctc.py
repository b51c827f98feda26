"""Connectionist temporal classification: the loss of label sequences that are not aligned with their input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import expkit.tensor as T
from expkit.autograd.vmap import by_element
from expkit.errors import ShapeError
from expkit.nn.functional.reduction import TargetError, check_reduction
from expkit.tensor import Tensor
from expkit.tensor.ops.ctc import ctc
from expkit.tensor.ops.index import in_bounds

Lengths = Tensor | Sequence[int]


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability of the targets, over all alignments (Graves et al., 2006).

    log_probs: (T, N, C), after log_softmax, or (T, C); targets: (N, S) classes, padded, or one after the other (sum of
    the lengths,). "mean" is of the losses over their targets' lengths. zero_infinity: targets that do not fit into
    their input count nothing; else their loss is infinite. The gradient is that of logits, as PyTorch's: see
    tensor/ops/ctc.py.
    """
    check_reduction(reduction)
    if log_probs.ndim not in (2, 3):
        raise ShapeError(f"ctc_loss: log_probs must be (T, N, C) or (T, C), got {tuple(log_probs.shape)}")
    if log_probs.dtype not in (T.float32, T.float64):
        raise TypeError(f"ctc_loss: log_probs must be float32 or float64, got {log_probs.dtype}")
    x = log_probs if log_probs.ndim == 3 else log_probs.unsqueeze(1)
    steps, batch, classes = x.shape
    if not steps or not batch:
        raise ShapeError(f"ctc_loss: log_probs must not be empty, got {tuple(log_probs.shape)}")
    if not 0 <= blank < classes:
        raise ValueError(f"ctc_loss: blank must be in label range, 0 to {classes - 1}, got {blank}")
    inputs = _lengths("input_lengths", input_lengths, x, steps)
    lengths = _lengths("target_lengths", target_lengths, x, None)
    labels = _labels(targets, lengths, blank)
    in_bounds(labels, classes, 1, "ctc_loss: targets")
    states, skip = _states(labels, blank)
    loss = ctc(x, states, skip, *_ends(inputs, lengths, steps, states.shape[1]), zero_infinity)
    # without any step, nothing is certain to be nothing
    loss = T.where(T.logical_and(T.eq(inputs, 0), T.eq(lengths, 0)), 0.0, loss)
    if reduction == "mean":
        return (loss / lengths.clamp_min(1).to(x.dtype)).mean()
    return loss.sum() if reduction == "sum" else loss if log_probs.ndim == 3 else loss.squeeze(0)


def _lengths(name: str, given: Lengths, x: Tensor, most: int | None) -> Tensor:
    """One for each sequence, where x is; checked on the host, if they are there."""
    values = given if isinstance(given, Tensor) else T.tensor(given)
    if values.dtype.is_floating_point or values.dtype.is_complex or values.dtype is T.bool_:
        raise TypeError(f"ctc_loss: {name} must be integral, got {values.dtype}")
    values = values.reshape(-1).to(T.int64)
    if values.shape[0] != x.shape[1]:
        raise ShapeError(f"ctc_loss: {name} must be of size batch_size {x.shape[1]}, got {values.shape[0]}")
    raw = values.raw
    if raw.__class__ is np.ndarray and (raw.min() < 0 or (most is not None and raw.max() > most)):
        bound = "at least 0" if most is None else f"between 0 and {most}"
        raise ShapeError(f"ctc_loss: expected {name} to be {bound}, got {raw.tolist()}")
    return values.to(x.device)


def _labels(targets: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """(N, S) classes, S at least 1, blanks beyond each length."""
    if targets.dtype.is_complex or targets.dtype is T.bool_:
        raise TargetError(f"ctc_loss: targets must be integers, got {targets.dtype}")
    if targets.ndim == 1:
        rows = _apart(targets, lengths.cpu())
    else:
        rows = targets
        known = lengths.raw.__class__ is np.ndarray
        longest = int(lengths.raw.max()) if known else 0
        if targets.ndim != 2 or targets.shape[0] != lengths.shape[0] or targets.shape[1] < longest:
            raise ShapeError(
                f"ctc_loss: expected targets ({lengths.shape[0]}, at least {longest}) or one after the other, "
                f"got {tuple(targets.shape)}"
            )
        rows = targets[:, :longest] if known else targets
    if not rows.shape[1]:
        rows = T.zeros(rows.shape[0], 1, dtype=T.int64, device=rows.device)
    there = T.arange(rows.shape[1], device=lengths.device) < lengths.unsqueeze(1)
    return T.where(there, rows.to(lengths.device, T.int64), blank)


@by_element
def _apart(targets: Tensor, counts: Tensor) -> Tensor:
    """Targets that lie one after the other, in rows."""
    lengths = counts.numpy()
    if targets.shape[0] != lengths.sum():
        raise ShapeError(
            f"ctc_loss: expected as many targets as target_lengths add up to, {lengths.sum()}, got {targets.shape[0]}"
        )
    places = (np.cumsum(lengths) - lengths)[:, None] + np.arange(lengths.max())
    return targets[T.tensor(places.clip(0, max(targets.shape[0] - 1, 0)), device=targets.device)]


def _states(labels: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """The classes of the states, labels with blanks around them, and which ones may be reached past a blank."""
    batch, longest = labels.shape
    blanks = T.full((batch, longest + 1), blank, dtype=labels.dtype, device=labels.device)
    between = T.stack([blanks[:, 1:], labels], 2).reshape(batch, 2 * longest)
    states = T.cat([between, blanks[:, :1]], 1)
    other = T.ne(states[:, 2:], states[:, :-2])
    return states, T.cat([T.zeros(batch, 2, dtype=T.bool_, device=labels.device), other], 1)


def _ends(inputs: Tensor, lengths: Tensor, steps: int, count: int) -> tuple[Tensor, Tensor]:
    """(where and when paths end: in the last label or the blank behind it; which steps count)"""
    state, final = T.arange(count, device=lengths.device), (2 * lengths).unsqueeze(1)
    ends = T.logical_or(T.eq(state, final), T.eq(state, final - 1))
    step = T.arange(steps, device=inputs.device).unsqueeze(1)
    return T.logical_and(T.eq(step, inputs - 1).unsqueeze(2), ends), (step < inputs).unsqueeze(2)
