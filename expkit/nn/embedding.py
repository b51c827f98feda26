"""Rows of a learned table by index: Embedding, and EmbeddingBag, which reduces bags of them."""

from __future__ import annotations

from typing import Any, Self

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.errors import ShapeError
from expkit.nn import init
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor


class _Table(Module):
    """The table, and the options that both layers have."""

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
        weight: Tensor | None,
        freeze: bool,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"padding_idx {padding_idx} must be within num_embeddings {num_embeddings}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        if weight is not None:
            if tuple(weight.shape) != (num_embeddings, embedding_dim):
                raise ShapeError(f"the table has shape {tuple(weight.shape)}, not ({num_embeddings}, {embedding_dim})")
            self.weight = Parameter(weight, requires_grad=not freeze)
            return
        shape = (num_embeddings, embedding_dim)
        self.weight = Parameter(T.empty(shape, device=device, dtype=dtype), requires_grad=not freeze)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].zero_()

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **options: Any) -> Self:
        """The layer around a table (num, dim) that exists; `freeze`: it is not trained. `options` are the class's."""
        if embeddings.ndim != 2:
            raise ShapeError(f"the table must be 2-dimensional, got shape {tuple(embeddings.shape)}")
        made = cls(*embeddings.shape, _weight=embeddings, **options)  # type: ignore[call-arg]
        made.weight.requires_grad_(not freeze)
        return made

    def extra_repr(self) -> str:
        usual = {"max_norm": None, "norm_type": 2.0, "scale_grad_by_freq": False, "sparse": False}
        shown = [f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value]
        padding = [] if self.padding_idx is None else [f"padding_idx={self.padding_idx}"]
        return ", ".join([f"{self.num_embeddings}", f"{self.embedding_dim}", *self._arranged(shown, padding)])

    def _arranged(self, shown: list[str], padding: list[str]) -> list[str]:
        """The options in PyTorch's order."""
        return padding + shown


class Embedding(_Table):
    """Rows of a learned table.   integer indices of any shape -> (*shape, embedding_dim)

    The table starts normal(0, 1); the row `padding_idx` starts as zeros and gets no gradient.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
            _weight, _freeze, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)


class EmbeddingBag(_Table):
    """The sum, mean or maximum of the rows that each bag of indices names.

    (bags, n) or, with offsets (bags,), (total,) -> (bags, embedding_dim). Otherwise as Embedding.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
            _weight, False, device, dtype,
        )  # fmt: skip
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode,
            self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def _arranged(self, shown: list[str], padding: list[str]) -> list[str]:
        return [*shown, f"mode={self.mode!r}", *padding]
