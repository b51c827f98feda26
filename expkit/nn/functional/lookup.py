"""Rows of a table by index: embedding, bags of rows, and one_hot."""

from __future__ import annotations

from typing import Any

import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.errors import ShapeError
from expkit.tensor import Tensor
from expkit.tensor.ops import lookup


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` (num, dim) for integer `input` of any shape -> (*input.shape, dim).

    The row `padding_idx` gets no gradient. `max_norm`: rows that are looked up and longer (in the p-norm `norm_type`)
    are first scaled down to it, in place. `scale_grad_by_freq`: gradients are divided by how often an index occurs.
    `sparse` changes nothing: gradients are dense. Indices outside [0, num) raise IndexError.
    """
    _check("embedding", input, weight)
    padding = _padding("embedding", padding_idx, weight)
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    if not scale_grad_by_freq:
        return lookup.lookup(weight, input, padding)
    often = _counts(input, weight)[input]
    return lookup.scaled_gradient(lookup.lookup(weight, input, padding), 1 / often.to(weight.dtype).unsqueeze(-1))


def _check(name: str, input: Any, weight: Tensor) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: the input must be a Tensor of integers, got {type(input).__name__}")
    if input.dtype not in (T.int64, T.int32):
        raise TypeError(f"{name}: the input must hold integer indices (int64 or int32), got {input.dtype}")
    if weight.ndim != 2:
        raise ShapeError(f"{name}: 'weight' must be 2-D, got shape {tuple(weight.shape)}")


def _padding(name: str, padding_idx: int | None, weight: Tensor) -> int | None:
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"{name}: padding_idx {padding_idx} must be within num_embeddings {rows}")
    return padding_idx


def _counts(input: Tensor, weight: Tensor) -> Tensor:
    """How often each index occurs in the input."""
    flat = input.reshape(-1).to(T.int64)
    counts = T.zeros(weight.shape[0], dtype=T.int64, device=weight.device)
    return T.index_add(counts, 0, flat, T.ones_like(flat))


def _counts_in_bags(input: Tensor, weight: Tensor) -> Tensor:
    """What PyTorch divides the gradients of bags by.

    For the k-th smallest of the distinct indices that is the frequency of the k-th smallest index with repetitions:
    its own where no smaller index occurs twice. It is not what the name says, but what trained models were given.
    """
    counts = _counts(input, weight)
    rank = T.cumsum((counts > 0).to(T.int64), 0) - 1
    return counts[T.sort(input.reshape(-1))[0][rank.clamp(0)]]


def _shorten(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """The rows that are looked up, scaled in place to a norm of at most max_norm."""
    with no_grad():
        rows = weight.detach()
        norms = T.norm(rows, float(norm_type), dim=1)
        used = T.zeros(weight.shape[0], dtype=T.bool_, device=weight.device)
        flat = input.reshape(-1).to(T.int64)
        used = T.index_put(used, (flat,), T.ones(flat.shape, dtype=T.bool_, device=weight.device))
        factor = T.where(used & (norms > max_norm), max_norm / (norms + 1e-7), 1.0)
        weight.copy_(rows * factor.unsqueeze(1))


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of the rows of `weight` (num, dim) that each bag of indices names -> (bags, dim).

    input: (bags, n), a bag in each row; or (total,) with `offsets` (bags,), where each bag begins (and, with
    `include_last_offset`, where the last one ends). An empty bag gives zeros. `per_sample_weights` (input's shape)
    multiplies the rows of a sum. The row `padding_idx` is left out of its bag. The rest is as in `embedding`.
    """
    _check("embedding_bag", input, weight)
    padding = _padding("embedding_bag", padding_idx, weight)
    starts, ends, input = _bags(input, offsets, include_last_offset, per_sample_weights)
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode has to be one of sum, mean or max, got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            f"embedding_bag: per_sample_weights go with mode='sum' only (got mode={mode!r}). "
            "Multiply the rows of an embedding yourself."
        )
    if mode == "max" and scale_grad_by_freq:
        raise RuntimeError("embedding_bag: scale_grad_by_freq does not go with mode='max'")
    rows = embedding(input, weight, padding_idx, max_norm, norm_type)
    if scale_grad_by_freq and len(input):
        often = _counts_in_bags(input, weight)[input]
        rows = lookup.scaled_gradient(rows, 1 / often.to(rows.dtype).unsqueeze(-1))
    counted = T.ones_like(input) if padding is None else (input != padding % weight.shape[0]).to(T.int64)
    if mode == "max":
        return _largest(rows, counted, starts, ends)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    return _total(rows, counted, starts, ends, mean=mode == "mean")


def _bags(
    input: Tensor, offsets: Tensor | None, include_last_offset: bool, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(where each bag begins, where it ends, the flat input). ValueErrors about what does not fit."""
    if weights is not None and tuple(weights.shape) != tuple(input.shape):
        raise ValueError(
            f"embedding_bag: per_sample_weights have shape {tuple(weights.shape)}, expected the input's "
            f"{tuple(input.shape)}"
        )
    where = input.device
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("embedding_bag: if input is 2D, then offsets has to be None: each row is a bag")
        bags, n = input.shape
        starts = T.arange(0, bags, device=where) * n
        return starts, starts + n, input.reshape(-1)
    if input.ndim != 1:
        raise ValueError(f"embedding_bag: the input has to be 1D or 2D, got shape {tuple(input.shape)}")
    if offsets is None or offsets.ndim != 1:
        raise ValueError("embedding_bag: a 1D input needs 1D offsets: where each bag begins")
    ends = offsets.to(T.int64)
    if ends.numel() and lookup.known(ends) and int(ends[0]) != 0:
        raise ValueError(f"embedding_bag: offsets[0] has to be 0, the first bag begins there; got {int(ends[0])}")
    if include_last_offset:
        if not len(ends):
            raise ValueError("embedding_bag: with include_last_offset, offsets must not be empty")
        return ends[:-1], ends[1:], input
    total = T.full((1,), len(input), dtype=T.int64, device=where)
    return ends, T.cat([ends[1:], total]) if len(ends) else ends, input


def _total(rows: Tensor, counted: Tensor, starts: Tensor, ends: Tensor, *, mean: bool) -> Tensor:
    """Each bag's sum of the rows that count, or their mean."""
    bags, total = len(starts), len(rows)
    if not bags or not total:
        return _nothing(rows, bags)
    begun = T.zeros(total + 1, dtype=T.int64, device=rows.device)
    begun = T.index_add(begun, 0, starts, T.ones_like(starts))
    at = (T.cumsum(begun, 0)[:total] - 1).clamp(0)  # the bag of each row
    mine = (T.arange(total, device=rows.device) < ends[at]) & (counted > 0)
    zero = T.zeros((), dtype=rows.dtype, device=rows.device)
    nothing = T.zeros((bags, rows.shape[1]), dtype=rows.dtype, device=rows.device)
    out = T.index_add(nothing, 0, at, T.where(mine.unsqueeze(1), rows, zero))
    if not mean:
        return out
    count = T.index_add(T.zeros_like(starts), 0, at, mine.to(T.int64))
    return out / count.clamp(1).unsqueeze(1).to(rows.dtype)


def _nothing(rows: Tensor, bags: int) -> Tensor:
    """Zeros for each bag, with a gradient of zeros for the rows."""
    return T.zeros((bags, rows.shape[1]), dtype=rows.dtype, device=rows.device) + rows.sum() * 0


def _largest(rows: Tensor, counted: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Each bag's maximum over the rows that count, by dimension: the bags side by side, as long as the longest."""
    bags = len(starts)
    lengths = ends - starts
    longest = (int(lengths.max()) if lookup.known(lengths) else len(rows)) if bags else 0
    if not longest:
        return _nothing(rows, bags)
    places = starts.unsqueeze(1) + T.arange(longest, device=rows.device)
    inside = places < ends.unsqueeze(1)
    places = places.clamp(0, len(rows) - 1)
    inside = inside & (counted[places] > 0)
    lowest = T.full((), float("-inf"), dtype=rows.dtype, device=rows.device)
    top = T.max(T.where(inside.unsqueeze(2), rows[places], lowest), 1)[0]
    return T.where(inside.any(1).unsqueeze(1), top, T.zeros((), dtype=rows.dtype, device=rows.device))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Integer classes of any shape -> (*shape, num_classes) int64 with one 1; -1 takes the greatest class + 1."""
    if tensor.dtype != T.int64:
        raise TypeError(f"one_hot is only applicable to index tensors of type int64, got {tensor.dtype}")
    if not tensor.numel():
        if num_classes <= 0:
            raise ValueError("one_hot: the classes of an empty tensor cannot be counted: give num_classes")
        return T.zeros((*tensor.shape, num_classes), dtype=T.int64, device=tensor.device)
    if num_classes == -1:
        num_classes = int(tensor.max().item()) + 1
    elif num_classes < 1:
        raise ValueError(f"one_hot: num_classes should be positive, got {num_classes}")
    return lookup.one_hot(tensor, num_classes)
