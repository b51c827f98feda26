"""gpt2: GPT-2 from a Hugging Face folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from expkit.errors import ConfigError
from expkit.nn.models.gpt import GPT
from expkit.nn.models.huggingface import (
    Config,
    activation_of,
    number_of,
    read_config,
    read_weights,
    require,
    sizes_of,
    take_over,
)
from expkit.registry import register

SIZES = {"n_layer": "n_layer", "n_head": "n_head", "n_embd": "n_embd", "block_size": "n_positions",
         "vocabulary": "vocab_size"}  # fmt: skip
# Options that change what is computed, and the only value of them that is supported.
PLAIN = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
# Conv1D layers keep their weights the other way round than Linear ones.
CONV1D = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")
MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # the causal mask, which older files hold


@register("model", "gpt2")
class GPT2(GPT):
    """GPT-2 (Radford et al., 2019) of a local Hugging Face folder: config.json, model.safetensors.

    path: the folder. weights: false starts with random ones, in the sizes of config.json alone. dropout: null is that
    of config.json. The data's tokens must be the model's: data.tokenizer=<the folder>.   (N, T) -> (N, T, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        path: str,
        weights: bool = True,
        dropout: float | None = None,
    ) -> None:
        config = read_config(path, "gpt2")
        require(config, path, PLAIN)
        made: dict[str, Any] = dict(sizes_of(config, path, SIZES))
        vocabulary = made.pop("vocabulary")
        if vocabulary != output_size:
            raise ConfigError(
                f"path={path!r}: the model knows {vocabulary} tokens, but the data has {output_size}: another "
                f"tokenizer made them. Choose the model's own: data.tokenizer={path}."
            )
        tied = bool(config.get("tie_word_embeddings", True))
        super().__init__(
            input_shape,
            vocabulary,
            **made,
            n_inner=config.get("n_inner"),
            activation=activation_of(config, path, "activation_function", "gelu_new"),
            dropout=_dropout(config, path) if dropout is None else dropout,
            tie_weights=tied,
            layer_norm_eps=number_of(config, path, "layer_norm_epsilon", 1e-5, below=1),
        )
        if weights:
            take_over(self, read_weights(path), path, self._renamed, lambda name: bool(CONV1D.fullmatch(name)))

    def _renamed(self, name: str) -> str | None:
        name = name.removeprefix("transformer.")
        if MASKS.fullmatch(name) or (name == "lm_head.weight" and self.lm_head is None):
            return None
        return name

    @classmethod
    def from_pretrained(cls, path: str | Path, weights: bool = True, dropout: float | None = None) -> GPT2:
        """The model of a folder, without data: `GPT2.from_pretrained("models/gpt2")`."""
        sizes = sizes_of(read_config(path, "gpt2"), path, {"length": "n_positions", "vocabulary": "vocab_size"})
        return cls((sizes["length"],), sizes["vocabulary"], str(path), weights, dropout)


def _dropout(config: Config, path: str | Path) -> float:
    """The one probability of config.json. ConfigError where embeddings, attention and residuals have others."""
    found = {key: number_of(config, path, key, 0.1, below=1) for key in ("embd_pdrop", "attn_pdrop", "resid_pdrop")}
    if len(set(found.values())) > 1:
        shown = ", ".join(f"{key}={value}" for key, value in found.items())
        raise ConfigError(
            f"{Path(path) / 'config.json'}: {shown}: they must be the same. Choose one: model.dropout=0.1."
        )
    return found["resid_pdrop"]
