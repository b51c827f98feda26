"""The layers of BERT (Devlin et al., 2019), and what config.json says of them; parameters have Hugging Face's names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.errors import ConfigError
from expkit.nn.activation import Tanh, by_name
from expkit.nn.containers import ModuleList
from expkit.nn.dropout import Dropout
from expkit.nn.embedding import Embedding
from expkit.nn.linear import Linear
from expkit.nn.models.huggingface import activation_of, number_of, read_config, require, sizes_of
from expkit.nn.models.parts import probability
from expkit.nn.module import Module
from expkit.nn.norm import LayerNorm
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor

SIZES = {"vocabulary": "vocab_size", "width": "hidden_size", "layers": "num_hidden_layers",
         "heads": "num_attention_heads", "inner": "intermediate_size", "positions": "max_position_embeddings",
         "segments": "type_vocab_size"}  # fmt: skip
PLAIN = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False,
         "tie_word_embeddings": True}  # fmt: skip
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclass(frozen=True)
class Shape:
    """What config.json says of the architecture."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    inner: int
    positions: int
    segments: int
    activation: str
    dropout: float
    attention_dropout: float
    head_dropout: float
    eps: float

    @classmethod
    def read(cls, folder: str | Path, dropout: float | None = None) -> Shape:
        """Of a folder's config.json. ConfigError for what is not supported."""
        config = read_config(folder, "bert")
        require(config, folder, PLAIN)
        made: dict[str, Any] = dict(sizes_of(config, folder, SIZES))
        if made["width"] % made["heads"]:
            raise ConfigError(
                f"{Path(folder) / 'config.json'}: hidden_size={made['width']} is no multiple of "
                f"num_attention_heads={made['heads']}."
            )
        hidden, attention = (number_of(config, folder, key, 0.1, below=1) for key in DROPOUTS)
        own = config.get("classifier_dropout")
        head = hidden if own is None else number_of(config, folder, "classifier_dropout", hidden, below=1)
        drops = (hidden, attention, head) if dropout is None else (probability("model.dropout", dropout),) * 3
        activation = activation_of(config, folder, "hidden_act", "gelu")
        rest: tuple[Any, ...] = (activation, *drops, number_of(config, folder, "layer_norm_eps", 1e-12, below=1))
        return cls(*made.values(), *rest)


class Embeddings(Module):
    """Tokens, positions and segments, added up and normalised.   (N, T) -> (N, T, width)"""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = Embedding(shape.vocabulary, shape.width)
        self.position_embeddings = Embedding(shape.positions, shape.width)
        self.token_type_embeddings = Embedding(shape.segments, shape.width)
        self.LayerNorm = LayerNorm(shape.width, eps=shape.eps)
        self.dropout = Dropout(shape.dropout)

    def forward(self, ids: Tensor, segments: Tensor | None) -> Tensor:
        first = self.token_type_embeddings.weight[0] if segments is None else self.token_type_embeddings(segments)
        places = self.position_embeddings.weight[: ids.shape[1]]
        return self.dropout(self.LayerNorm(self.word_embeddings(ids) + first + places))


class SelfAttention(Module):
    """Each token sees all of its text.   (N, T, width) -> (N, T, width)"""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.attention_dropout
        self.query, self.key, self.value = (Linear(shape.width, shape.width) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            layer(x).reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        out = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        return out.transpose(1, 2).reshape(batch, length, width)


class Output(Module):
    """A linear layer, added to what came in, and normalised (post-norm)."""

    def __init__(self, features: int, shape: Shape) -> None:
        super().__init__()
        self.dense = Linear(features, shape.width)
        self.LayerNorm = LayerNorm(shape.width, eps=shape.eps)
        self.dropout = Dropout(shape.dropout)

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(x + self.dropout(self.dense(hidden)))


class Attention(Module):
    """Self-attention and its output layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self = SelfAttention(shape)
        self.output = Output(shape.width, shape)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.output(self.self(x, mask), x)


class Dense(Module):
    """A linear layer and an activation."""

    def __init__(self, features: int, outputs: int, activation: Module) -> None:
        super().__init__()
        self.dense = Linear(features, outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x))


class Layer(Module):
    """Attention, then a feed-forward net."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.intermediate = Dense(shape.width, shape.inner, by_name(shape.activation)())
        self.output = Output(shape.inner, shape)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Encoder(Module):
    """The layers, one after the other."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.layer = ModuleList(Layer(shape) for _ in range(shape.layers))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layer:
            x = layer(x, mask)
        return x


class Body(Module):
    """Embeddings and encoder; with a pooler, tanh of a linear layer of the first token, where that is asked for."""

    def __init__(self, shape: Shape, pooler: bool) -> None:
        super().__init__()
        self.embeddings, self.encoder = Embeddings(shape), Encoder(shape)
        self.pooler = Dense(shape.width, shape.width, Tanh()) if pooler else None

    def forward(self, ids: Tensor, mask: Tensor | None, segments: Tensor | None) -> Tensor:
        """(N, T, width), or (N, width) with a pooler."""
        x = self.encoder(self.embeddings(ids, segments), mask)
        return x if self.pooler is None else self.pooler(x[:, 0])


class Transform(Module):
    """The layer before the vocabulary's."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dense = Linear(shape.width, shape.width)
        self.activation = by_name(shape.activation)()
        self.LayerNorm = LayerNorm(shape.width, eps=shape.eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(self.activation(self.dense(x)))


class Predictions(Module):
    """Logits of the vocabulary; the weights are the embeddings.   (N, T, width) -> (N, T, vocabulary)"""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.transform = Transform(shape)
        self.bias = Parameter(T.zeros(shape.vocabulary))

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        return F.linear(self.transform(x), embeddings, self.bias)
