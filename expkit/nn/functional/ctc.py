"""Connectionist temporal classification: the loss of label sequences that are not aligned with their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import expkit.tensor as T
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
    inputs = _lengths("input_lengths", input_lengths, batch, steps)
    lengths = _lengths("target_lengths", target_lengths, batch, None)
    labels = _labels(targets, lengths, blank)
    in_bounds(labels, classes, 1, "ctc_loss: targets")
    states, skip = _states(labels, blank)
    last, within = (T.from_numpy(v).to(x.device) for v in _ends(inputs, lengths, steps, states.shape[1]))
    loss = ctc(x, states, skip, last, within, zero_infinity)
    if not inputs.all():  # nothing is certain to be nothing
        nothing = T.from_numpy((inputs == 0) & (lengths == 0)).to(x.device)
        loss = T.where(nothing, 0.0, loss)
    if reduction == "mean":
        return (loss / T.tensor(lengths.clip(1), dtype=x.dtype, device=x.device)).mean()
    return loss.sum() if reduction == "sum" else loss if log_probs.ndim == 3 else loss.squeeze(0)


def _lengths(name: str, given: Lengths, batch: int, most: int | None) -> np.ndarray[Any, Any]:
    """As whole numbers on the host, checked."""
    values = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if values.size and values.dtype.kind not in "iu":
        raise TypeError(f"ctc_loss: {name} must be integral, got {values.dtype}")
    values = values.reshape(-1).astype(np.int64)
    if len(values) != batch:
        raise ShapeError(f"ctc_loss: {name} must be of size batch_size {batch}, got {len(values)}")
    if values.size and (values.min() < 0 or (most is not None and values.max() > most)):
        bound = "at least 0" if most is None else f"between 0 and {most}"
        raise ShapeError(f"ctc_loss: expected {name} to be {bound}, got {values.tolist()}")
    return values


def _labels(targets: Tensor, lengths: np.ndarray[Any, Any], blank: int) -> Tensor:
    """(N, S) classes, S at least 1, blanks beyond each length."""
    if targets.dtype.is_complex or targets.dtype is T.bool_:
        raise TargetError(f"ctc_loss: targets must be integers, got {targets.dtype}")
    longest, batch = max(int(lengths.max(initial=0)), 1), len(lengths)
    if targets.ndim == 1:
        if targets.shape[0] != lengths.sum():
            raise ShapeError(
                f"ctc_loss: expected as many targets as target_lengths add up to, {lengths.sum()}, "
                f"got {targets.shape[0]}"
            )
        places = (np.cumsum(lengths) - lengths)[:, None] + np.arange(longest)
        flat = targets if targets.shape[0] else T.zeros(1, dtype=T.int64, device=targets.device)
        rows = flat[T.tensor(places.clip(0, flat.shape[0] - 1), device=flat.device)]
    elif targets.ndim == 2 and targets.shape[0] == batch and targets.shape[1] >= lengths.max(initial=0):
        rows = targets[:, :longest] if targets.shape[1] else T.zeros(batch, 1, dtype=T.int64, device=targets.device)
    else:
        raise ShapeError(
            f"ctc_loss: expected targets ({batch}, at least {lengths.max(initial=0)}) or ({lengths.sum()},), "
            f"got {tuple(targets.shape)}"
        )
    there = T.from_numpy(np.arange(longest) < lengths[:, None]).to(rows.device)
    return T.where(there, rows.to(T.int64), blank)


def _states(labels: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """The classes of the states, labels with blanks around them, and which ones may be reached past a blank."""
    batch, longest = labels.shape
    blanks = T.full((batch, longest + 1), blank, dtype=labels.dtype, device=labels.device)
    between = T.stack([blanks[:, 1:], labels], 2).reshape(batch, 2 * longest)
    states = T.cat([between, blanks[:, :1]], 1)
    other = T.ne(states[:, 2:], states[:, :-2])
    return states, T.cat([T.zeros(batch, 2, dtype=T.bool_, device=labels.device), other], 1)


def _ends(
    inputs: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any], steps: int, count: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(where and when paths end: in the last label or the blank behind it; which steps count)"""
    state, final = np.arange(count), 2 * lengths[:, None]
    ends = (state == final) | (state == final - 1)
    when = np.arange(steps)[:, None] == inputs - 1
    return when[:, :, None] & ends, (np.arange(steps)[:, None] < inputs)[:, :, None]
