"""Softmax over many classes, the rare ones in clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.nn.containers import ModuleList, Sequential
from expkit.nn.functional.reduction import TargetError
from expkit.nn.linear import Linear
from expkit.nn.module import Module
from expkit.tensor import Tensor


class ASMoutput(NamedTuple):
    """Each target's log-probability, and the mean of their negatives."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """log softmax for very many classes, numbered by falling frequency (Grave et al., 2017, arXiv:1609.04309).

    input: (N, in_features) or (in_features,), target: classes (N,) or () -> ASMoutput. `head` knows the classes below
    cutoffs[0] and one for each later cluster; cluster i, up to the next cutoff, has a map through
    in_features / div_value^(i + 1) features of its own.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        ends = list(cutoffs)
        if not ends or ends != sorted({int(c) for c in ends}) or ends[0] <= 0 or ends[-1] > n_classes - 1:
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                f"value is between 1 and n_classes-1, got {ends}"
            )
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*ends, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = ends[0], len(ends)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, **where)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(self._clusters()):
            width = int(in_features // div_value ** (i + 1))
            maps = Linear(in_features, width, False, **where), Linear(width, high - low, False, **where)
            self.tail.append(Sequential(*maps))

    def _clusters(self) -> list[tuple[int, int]]:
        """The first class of each, and the one behind its last."""
        return list(zip(self.cutoffs, self.cutoffs[1:], strict=False))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for layer in (self.head, *(layer for cluster in self.tail for layer in cluster)):
            layer.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> ASMoutput:
        if input.ndim not in (1, 2) or tuple(target.shape) != tuple(input.shape[:-1]):
            raise ShapeError(
                "AdaptiveLogSoftmaxWithLoss: input and target should have the same size in the batch dimension, "
                f"got {tuple(input.shape)} and {tuple(target.shape)}"
            )
        rows, labels = (input, target) if input.ndim == 2 else (input.unsqueeze(0), target.unsqueeze(0))
        if T.logical_or(T.lt(labels, 0), T.ge(labels, self.n_classes)).any().item():
            raise TargetError(f"target values should be in [0, {self.n_classes - 1}], got {labels.tolist()}")
        index, parts = labels, []
        for i, (low, high) in enumerate(self._clusters()):
            inside = T.logical_and(T.ge(labels, low), T.lt(labels, high))
            index = T.where(inside, self.shortlist_size + i, index)
            place = inside.nonzero().squeeze(1)
            if place.shape[0]:
                logs = F.log_softmax(self.tail[i](rows[place]), 1)
                parts.append((place, logs.gather(1, (labels[place] - low).unsqueeze(1)).squeeze(1)))
        out = F.log_softmax(self.head(rows), 1).gather(1, index.unsqueeze(1)).squeeze(1)
        for place, logs in parts:
            out = out.index_add(0, place, logs)
        loss = -out.mean()
        return ASMoutput(out if input.ndim == 2 else out.squeeze(0), loss)

    def log_prob(self, input: Tensor) -> Tensor:
        """The log-probabilities of all classes.   (N, in_features) -> (N, n_classes)"""
        head = F.log_softmax(self.head(input), 1)
        short = self.shortlist_size
        tails = [F.log_softmax(tail(input), 1) + head[:, short + i : short + i + 1] for i, tail in enumerate(self.tail)]
        return T.cat([head[:, :short], *tails], 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most likely class of each row.   (N, in_features) -> (N,)"""
        return self.log_prob(input).argmax(1)
