"""bert: a transformer that looks both ways, from a Hugging Face folder."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import expkit.tensor as T
from expkit.errors import ConfigError, ShapeError
from expkit.nn import init
from expkit.nn.dropout import Dropout
from expkit.nn.linear import Linear
from expkit.nn.models.bert_layers import Body, Predictions, Shape
from expkit.nn.models.huggingface import read_weights, take_over
from expkit.nn.models.parts import choice
from expkit.nn.models.tokens import context_length, require_room, require_tokens
from expkit.nn.module import Module
from expkit.registry import register
from expkit.tensor import Tensor

HEADS = ("masked_lm", "classification")
OLD: Mapping[str, str] = {"gamma": "weight", "beta": "bias"}
# The vocabulary's layer is the embeddings; its bias is there twice; next sentences are not predicted.
NEVER = ("cls.predictions.decoder.", "cls.seq_relationship.", "bert.embeddings.position_ids")


@register("model", "bert")
class BERT(Module):
    """BERT (Devlin et al., 2019) of a local Hugging Face folder: config.json, model.safetensors.

    path: the folder. head: masked_lm gives logits (N, T, vocabulary), classification (N, output_size) through the
    pooler. weights: false starts with random ones, in the sizes of config.json alone; a classifier that the file does
    not have starts so in any case (`fresh` names such parameters). dropout: null is that of config.json.
    """

    causal = False  # a token sees those that follow: no model of the next token

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        path: str,
        head: Literal["masked_lm", "classification"] = "classification",
        weights: bool = True,
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        shape, classify = Shape.read(path, dropout), choice("model.head", head, HEADS) == "classification"
        self.block_size = context_length("bert", input_shape, shape.positions)
        if not classify and output_size != shape.vocabulary:
            raise ConfigError(
                f"path={path!r}: the model knows {shape.vocabulary} tokens, but the data has {output_size}: another "
                f"tokenizer made them. Choose the model's own: data.tokenizer={path}."
            )
        self.bert = Body(shape, pooler=classify)
        self.dropout = Dropout(shape.head_dropout)
        self.predictions: Any = None if classify else Predictions(shape)
        self.classifier: Any = Linear(shape.width, output_size) if classify else None
        self.reset_parameters()
        self.fresh: list[str] = [name for name, _ in self.named_parameters()]
        if weights:
            self.fresh = take_over(self, read_weights(path), path, self._renamed, optional=_of_the_classifier)
            if self.fresh:
                warnings.warn(f"{path} has no {', '.join(self.fresh)}: they start anew.", stacklevel=2)

    def reset_parameters(self) -> None:
        """Draw all weights anew: normal(0, 0.02), biases zero."""
        for path, param in self.named_parameters():
            if path.endswith("bias"):
                init.zeros_(param)
            elif param.ndim > 1:
                init.normal_(param, 0.0, 0.02)

    def forward(
        self, ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """ids: (N, T). attention_mask: (N, T), 0 at padding. token_type_ids: (N, T), the segment of each token; 0."""
        require_tokens("bert", ids)
        require_room(ids.shape[1], self.block_size)
        for name, given in (("attention_mask", attention_mask), ("token_type_ids", token_type_ids)):
            if given is not None and given.shape != ids.shape:
                raise ShapeError(f"bert: {name} has shape {tuple(given.shape)}, the tokens have {tuple(ids.shape)}.")
        mask = None if attention_mask is None else T.ne(attention_mask, 0)[:, None, None, :]
        x = self.bert(ids, mask, token_type_ids)
        if self.predictions is not None:
            return self.predictions(x, self.bert.embeddings.word_embeddings.weight)
        return self.classifier(self.dropout(x))

    def _renamed(self, name: str) -> str | None:
        """Our name of a tensor of the file; None for the other head's, and for what the embeddings are already."""
        name = re.sub(r"LayerNorm\.(gamma|beta)$", lambda m: f"LayerNorm.{OLD[m[1]]}", name)
        name = re.sub(r"^(embeddings|encoder|pooler)\.", r"bert.\1.", name)
        name = re.sub(r"^cls\.predictions\.(?!decoder\.)", "predictions.", name)
        classify = self.classifier is not None
        unused = ("predictions.",) if classify else ("bert.pooler.", "classifier.")
        return None if name.startswith((*unused, *NEVER)) else name

    @classmethod
    def from_pretrained(cls, path: str | Path, head: str = "masked_lm", num_labels: int = 2, **how: Any) -> BERT:
        """The model of a folder, without data: `BERT.from_pretrained("models/bert")`."""
        shape = Shape.read(path)
        return cls((shape.positions,), shape.vocabulary if head == "masked_lm" else num_labels, str(path), head, **how)  # type: ignore[arg-type]


def _of_the_classifier(name: str) -> bool:
    return name.startswith(("classifier.", "bert.pooler."))
