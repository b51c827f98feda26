"""lstm, gru: recurrent layers over a sequence, then a linear layer."""

from __future__ import annotations

from typing import ClassVar

from expkit.nn.dropout import Dropout
from expkit.nn.linear import Linear
from expkit.nn.models.parts import choice, probability, size
from expkit.nn.models.sequences import POOLINGS, Pooling, SequenceInput, pool
from expkit.nn.module import Module
from expkit.nn.rnn import GRU, LSTM
from expkit.registry import register
from expkit.tensor import Tensor, cat


class RecurrentClassifier(Module):
    """A recurrent network, `cell`, that reads a sequence; a linear layer sees its last state, or those of all steps.

    Samples: see `models/sequences.py`. bidirectional: "last" are both directions' last states.
    dropout: between the recurrent layers, and before the linear one.   (N, *input_shape) -> (N, output_size)
    """

    cell: ClassVar[type[LSTM] | type[GRU]]

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        hidden_size: int = 128,
        num_layers: int = 1,
        bidirectional: bool = False,
        pooling: Pooling = "last",
        dropout: float = 0.0,
        vocab_size: int | None = None,
        embedding_dim: int = 64,
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        name, layers = self.cell.__name__.lower(), size("model.num_layers", num_layers)
        self.dropout = Dropout(probability("model.dropout", dropout))
        self.pooling = choice("model.pooling", pooling, POOLINGS)
        self.input = SequenceInput(name, input_shape, vocab_size, embedding_dim, padding_idx)
        self.rnn = self.cell(
            self.input.features,
            size("model.hidden_size", hidden_size),
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.fc = Linear(hidden_size * (1 + bidirectional), size("output_size", output_size))

    def forward(self, input: Tensor) -> Tensor:
        states = self.rnn(self.input(input))[0]
        return self.fc(self.dropout(self._pooled(states, self.input.padding(input))))

    def _pooled(self, states: Tensor, padding: Tensor | None) -> Tensor:
        if self.pooling != "last" or not self.rnn.bidirectional:
            return pool(states, self.pooling, padding)
        forwards, backwards = states.chunk(2, -1)
        return cat([pool(forwards, "last", padding), backwards[:, 0]], -1)  # which ends where the sequence begins


@register("model", "lstm")
class LSTMClassifier(RecurrentClassifier):
    """LSTM layers (Hochreiter and Schmidhuber, 1997) over a sequence, then a linear layer."""

    cell = LSTM


@register("model", "gru")
class GRUClassifier(RecurrentClassifier):
    """GRU layers (Cho et al., 2014, arXiv:1406.1078) over a sequence, then a linear layer."""

    cell = GRU
