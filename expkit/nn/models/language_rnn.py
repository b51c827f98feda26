"""lstm_lm, gru_lm: recurrent networks that predict the next token."""

from __future__ import annotations

from typing import Any

import expkit.nn.functional as F
from expkit.errors import ConfigError
from expkit.nn import init
from expkit.nn.dropout import Dropout
from expkit.nn.embedding import Embedding
from expkit.nn.linear import Linear
from expkit.nn.models.parts import probability, size
from expkit.nn.models.tokens import context_length, require_tokens
from expkit.nn.module import Module
from expkit.nn.rnn import GRU, LSTM
from expkit.registry import register
from expkit.tensor import Tensor


class RecurrentLM(Module):
    """Embeddings, recurrent layers, a linear layer to the vocabulary.   (N, T) -> (N, T, output_size)

    The first state is zeros: each sample is read on its own. tie_weights: the last layer's weights are the embeddings
    (Press and Wolf, 2017), which then have hidden_size numbers. dropout: of the layers' inputs and of the output.
    """

    block_size: int | None = None  # a recurrent network has no longest context
    cell: type[LSTM | GRU]

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        embedding_dim: int = 128,
        hidden_size: int = 256,
        num_layers: int = 2,
        dropout: float = 0.0,
        tie_weights: bool = False,
    ) -> None:
        super().__init__()
        context_length(self.kind(), input_shape)
        if tie_weights and embedding_dim != hidden_size:
            raise ConfigError(
                f"model.tie_weights: embeddings and output share their weights, so model.embedding_dim={embedding_dim} "
                f"must be model.hidden_size={hidden_size}."
            )
        probability("model.dropout", dropout)
        self.embedding = Embedding(output_size, size("model.embedding_dim", embedding_dim))
        self.drop = Dropout(dropout)
        layers = size("model.num_layers", num_layers)
        between = dropout if layers > 1 else 0.0
        self.rnn = self.cell(
            embedding_dim, size("model.hidden_size", hidden_size), layers, dropout=between, batch_first=True
        )
        self.head = None if tie_weights else Linear(hidden_size, output_size)
        init.normal_(self.embedding.weight, 0.0, hidden_size**-0.5 if tie_weights else 1.0)

    @classmethod
    def kind(cls) -> str:
        """The registered name, for messages."""
        return f"{cls.cell.__name__.lower()}_lm"

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token, at each place."""
        return self.read(ids)[0]

    def read(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits at each place of `ids`, which go on where `state` ends; and the state behind them."""
        require_tokens(self.kind(), ids)
        output, state = self.rnn(self.drop(self.embedding(ids)), state)
        output = self.drop(output)
        return F.linear(output, self.embedding.weight) if self.head is None else self.head(output), state


@register("model", "lstm_lm")
class LSTMLanguageModel(RecurrentLM):
    """Language model of LSTM layers (Hochreiter and Schmidhuber, 1997).   (N, T) tokens -> (N, T, output_size)

    tie_weights: the output layer's weights are the embeddings, and embedding_dim must be hidden_size.
    """

    cell = LSTM


@register("model", "gru_lm")
class GRULanguageModel(RecurrentLM):
    """Language model of GRU layers (Cho et al., 2014).   (N, T) tokens -> (N, T, output_size)

    tie_weights: the output layer's weights are the embeddings, and embedding_dim must be hidden_size.
    """

    cell = GRU
