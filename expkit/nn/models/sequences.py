"""What the models of sequences share: samples as sequences of vectors, and one vector for a whole sequence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from expkit.autograd.mode import MODE
from expkit.errors import ConfigError, ShapeError
from expkit.nn.embedding import Embedding
from expkit.nn.models.parts import size, sizes
from expkit.nn.module import Module
from expkit.tensor import Tensor, cat, int64, zeros_like

Pooling = Literal["last", "mean", "max"]
POOLINGS = ("last", "mean", "max")


class SequenceInput(Module):
    """Samples as sequences of vectors: (N, *input_shape) -> (N, length, features)

    (T, features) stays as it is, (T,) is a sequence of one feature, and an image (C, H, W) is the sequence of its H
    rows, of C * W features each. With `vocab_size`, (T,) holds tokens (whole numbers below it, of any dtype), which
    become learned vectors of `embedding_dim`; the token `padding_idx` fills up short sequences, at their end.
    ShapeError for samples that are no sequences, ConfigError for a wrong size; both name the config key.
    """

    def __init__(
        self,
        model: str,
        input_shape: Iterable[int],
        vocab_size: int | None,
        embedding_dim: int,
        padding_idx: int | None,
    ) -> None:
        super().__init__()
        shape = sizes("input_shape", input_shape)
        self.model, self.padding_idx = model, padding_idx
        self.embedding: Embedding | None = None
        if vocab_size is not None:
            self._take_tokens(shape, size("model.vocab_size", vocab_size), size("model.embedding_dim", embedding_dim))
        elif padding_idx is not None:
            raise ConfigError("model.padding_idx is a token: it needs model.vocab_size, the number of tokens")
        elif len(shape) not in (1, 2, 3):
            raise ShapeError(
                f"model {model}: samples must be sequences (length, features) or (length,), or images (channels, "
                f"height, width) read row by row, but the data's are {shape}. Choose another model (model=mlp)."
            )
        channels = shape[0] if len(shape) == 3 else 1
        self.length = shape[1] if len(shape) == 3 else shape[0]
        self.features = channels * (1 if len(shape) == 1 else shape[-1]) if self.embedding is None else embedding_dim

    def _take_tokens(self, shape: tuple[int, ...], vocab_size: int, embedding_dim: int) -> None:
        if len(shape) != 1:
            raise ShapeError(
                f"model {self.model}: with model.vocab_size={vocab_size} samples must be sequences of tokens, "
                f"(length,), but the data's are {shape}. Leave out model.vocab_size for sequences of vectors."
            )
        if self.padding_idx is not None and not 0 <= self.padding_idx < vocab_size:
            raise ConfigError(
                f"model.padding_idx={self.padding_idx} is no token: they are 0 to {vocab_size - 1} (model.vocab_size)"
            )
        self.embedding = Embedding(vocab_size, embedding_dim, padding_idx=self.padding_idx)

    def forward(self, input: Tensor) -> Tensor:
        if self.embedding is not None:
            return self.embedding(self._tokens(input))
        if not input.is_floating_point():
            raise ShapeError(
                f"model {self.model}: the samples are whole numbers ({input.dtype}). Say how many there are in "
                "model.vocab_size if they are tokens; else make them floats."
            )
        if input.ndim == 4:
            return input.transpose(1, 2).flatten(2)
        return input.unsqueeze(2) if input.ndim == 2 else input

    def _tokens(self, input: Tensor) -> Tensor:
        """Tokens in int64. Data modules make floats of all samples, and numbers that were scaled are no tokens."""
        if input.is_floating_point() and not MODE.special and bool((input != input.round()).any()):
            raise ConfigError(
                f"model {self.model}: model.vocab_size says that samples are tokens, but there are fractions among "
                "them. data.normalize=false leaves tokens as they are; without model.vocab_size they are numbers."
            )
        return input.to(int64)

    def padding(self, input: Tensor) -> Tensor | None:
        """True where a sequence is filled up, (N, length), never at its first place; None without a `padding_idx`."""
        if self.padding_idx is None:
            return None
        filled = input.eq(self.padding_idx)
        return cat([zeros_like(filled[:, :1]), filled[:, 1:]], 1)


def pool(x: Tensor, how: str, padding: Tensor | None = None) -> Tensor:
    """One vector for each sequence: its last one, or the mean or maximum of all.   (N, T, features) -> (N, features)

    padding: True where there is nothing, at the sequences' ends, and never at their first places.
    """
    if padding is None:
        if how == "last":
            return x[:, -1]
        return x.mean(1) if how == "mean" else x.amax(1)
    there = padding.logical_not()
    count = there.sum(1, keepdim=True)
    if how == "last":
        place = (count - 1).unsqueeze(2).expand(-1, 1, x.shape[2])
        return x.gather(1, place).squeeze(1)
    there = there.unsqueeze(2)
    if how == "mean":
        return (x * there).sum(1) / count
    return x.masked_fill(there.logical_not(), -float("inf")).amax(1)
