"""Modules of distances, and of the losses on margins, similarity and likelihoods with a spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import expkit.nn.functional as F
from expkit.nn.function_module import FunctionModule, module_of
from expkit.nn.functional.reduction import chosen
from expkit.nn.losses import Reduction, _Loss
from expkit.nn.module import Module
from expkit.registry import register
from expkit.tensor import Tensor


class _Quiet(FunctionModule):
    """Prints without its arguments, as PyTorch's do; knows what older reductions mean."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = self.__dict__
        if "reduce" in self.arguments:
            own["reduction"] = chosen(own["reduction"], own["size_average"], own["reduce"])
            own["size_average"] = own["reduce"] = None

    def extra_repr(self) -> str:
        return ""


(
    CosineSimilarity, PairwiseDistance, MarginRankingLoss, HingeEmbeddingLoss, CosineEmbeddingLoss, SoftMarginLoss,
    MultiLabelMarginLoss, TripletMarginLoss, GaussianNLLLoss, PoissonNLLLoss,
) = (
    module_of(name, function, __name__, _Quiet, inputs=inputs)
    for name, function, inputs in (
        ("CosineSimilarity", F.cosine_similarity, 2), ("PairwiseDistance", F.pairwise_distance, 2),
        ("MarginRankingLoss", F.margin_ranking_loss, 3), ("HingeEmbeddingLoss", F.hinge_embedding_loss, 2),
        ("CosineEmbeddingLoss", F.cosine_embedding_loss, 3), ("SoftMarginLoss", F.soft_margin_loss, 2),
        ("MultiLabelMarginLoss", F.multilabel_margin_loss, 2), ("TripletMarginLoss", F.triplet_margin_loss, 3),
        ("GaussianNLLLoss", F.gaussian_nll_loss, 3), ("PoissonNLLLoss", F.poisson_nll_loss, 2),
    )
)  # fmt: skip


class TripletMarginWithDistanceLoss(Module):
    """max(0, d(a, p) - d(a, n) + margin) with any distance d; swap: with the smaller of d(a, n) and d(p, n)."""

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.distance_function = distance_function or PairwiseDistance()
        self.margin, self.swap, self.reduction = margin, swap, reduction

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        options: dict[str, Any] = {"margin": self.margin, "swap": self.swap, "reduction": self.reduction}
        distance = self.distance_function
        return F.triplet_margin_with_distance_loss(anchor, positive, negative, distance_function=distance, **options)


@register("loss", "multi_margin")
class MultiMarginLoss(_Loss):
    """The sum over the other classes i of w_y max(0, margin - x_y + x_i)^p / C."""

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Tensor | list[float] | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction, size_average, reduce, weight=weight)
        self.p, self.margin = p, margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multi_margin_loss(input, target, self.p, self.margin, self.weight, reduction=self.reduction)


@register("loss", "multilabel_soft_margin")
class MultiLabelSoftMarginLoss(_Loss):
    """-(y log σ(x) + (1 - y) log σ(-x)), averaged over the classes."""

    def __init__(
        self,
        weight: Tensor | list[float] | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction, size_average, reduce, weight=weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)
