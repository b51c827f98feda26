"""Loss modules: `loss(prediction, target)` is a scalar unless reduction="none".

Those that need no more than that are registered in the group "loss".
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.nn.functional.ctc import Lengths
from expkit.nn.functional.reduction import chosen
from expkit.nn.linear import Linear
from expkit.nn.module import Module
from expkit.registry import register
from expkit.tensor import Tensor

Reduction = Literal["mean", "sum", "none"]
Weights = Tensor | Sequence[float] | None


class _Loss(Module):
    """Keeps the reduction, and class or element weights as buffers (lists become tensors)."""

    def __init__(
        self, reduction: str, size_average: bool | None = None, reduce: bool | None = None, **weights: Weights
    ) -> None:
        super().__init__()
        self.reduction = chosen(reduction, size_average, reduce)
        self._listed: set[str] = set()
        for name, values in weights.items():
            if values is not None and not isinstance(values, Tensor):
                values = T.tensor(list(values), dtype=T.float32)
                self._listed.add(name)
            self.register_buffer(name, values)

    def _class_weight(self, input: Tensor) -> Tensor | None:
        """What was a list takes the input's dtype; a tensor must have it."""
        return self.weight.to(input.dtype) if "weight" in self._listed else self.weight


@register("loss", "cross_entropy")
class CrossEntropyLoss(_Loss):
    """-log softmax(logits) at the target: class indices (N,) or probabilities (N, C).

    `weight` scales the classes, `ignore_index` marks targets that count nothing, `label_smoothing` is the share of each
    target that is spread over all classes (Szegedy et al., 2016).
    """

    def __init__(
        self,
        weight: Tensor | list[float] | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, size_average, reduce, weight=weight)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be between 0.0 and 1.0, got {label_smoothing}")
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self._class_weight(input),
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


@register("loss", "nll")
class NLLLoss(_Loss):
    """Negative log-likelihood: -input at the target class, for log-probabilities (N, C) and class indices (N,)."""

    def __init__(
        self,
        weight: Tensor | list[float] | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction, size_average, reduce, weight=weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(
            input, target, self._class_weight(input), ignore_index=self.ignore_index, reduction=self.reduction
        )


@register("loss", "mse")
class MSELoss(_Loss):
    """Mean squared error."""

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction, size_average, reduce)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


@register("loss", "l1")
class L1Loss(_Loss):
    """Mean absolute error."""

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction, size_average, reduce)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


@register("loss", "smooth_l1")
class SmoothL1Loss(_Loss):
    """Squared error / (2 beta) where it is below beta, absolute error beyond (Girshick, 2015)."""

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(reduction, size_average, reduce)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


@register("loss", "huber")
class HuberLoss(_Loss):
    """Half the squared error up to delta, delta times the absolute error beyond (Huber, 1964)."""

    def __init__(self, reduction: Reduction = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not isinstance(delta, int | float):
            raise TypeError(f"HuberLoss: delta must be a float or int, got {type(delta).__name__}")
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


@register("loss", "bce")
class BCELoss(_Loss):
    """Binary cross entropy of probabilities; prefer bce_with_logits, which does not lose precision near 0 and 1."""

    def __init__(
        self,
        weight: Tensor | list[float] | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction, size_average, reduce, weight=weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


@register("loss", "bce_with_logits")
class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of sigmoid(logits); `pos_weight` scales the positive class (one number for each output)."""

    def __init__(
        self,
        weight: Tensor | list[float] | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
        pos_weight: Tensor | list[float] | None = None,
    ) -> None:
        super().__init__(reduction, size_average, reduce, weight=weight, pos_weight=pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


@register("loss", "kl_div")
class KLDivLoss(_Loss):
    """Divergence of log-probabilities from a target distribution; "batchmean" is its mathematical definition."""

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Literal["mean", "batchmean", "sum", "none"] = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(reduction, size_average, reduce)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class CTCLoss(_Loss):
    """-log of the probability of label sequences, over all alignments with the input (Graves et al., 2006).

    loss(log_probs (T, N, C), targets (N, S) or one after the other, input_lengths, target_lengths); class `blank` is
    between labels. zero_infinity: targets that do not fit into their input count nothing, else their loss is infinite.
    """

    def __init__(self, blank: int = 0, reduction: Reduction = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths) -> Tensor:
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )


class LinearCrossEntropyLoss(_Loss):
    """Cross entropy of a learned linear map of the input.   input: (N, in_features) or (in_features,)

    target: classes (N, *out_features), or probabilities (N, num_classes, *out_features). `options` are PyTorch's for
    memory, and change nothing: see F.linear_cross_entropy.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: Reduction = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        super().__init__(reduction, weight=weight)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"LinearCrossEntropyLoss: label_smoothing must be between 0 and 1, got {label_smoothing}")
        if self.weight is not None and tuple(self.weight.shape) != (num_classes,):
            raise ShapeError(
                f"LinearCrossEntropyLoss: weight must have shape ({num_classes},), got {tuple(self.weight.shape)}"
            )
        self.in_features, self.num_classes, self.out_features = in_features, num_classes, tuple(out_features)
        self.ignore_index, self.label_smoothing, self.options = ignore_index, label_smoothing, options
        self.linear = Linear(in_features, num_classes * prod(self.out_features), bias, device, dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        shape, bias = (self.num_classes, *self.out_features), self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, self.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(*shape),
            weight=self._class_weight(input),
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )
