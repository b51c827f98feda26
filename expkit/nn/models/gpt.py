"""gpt: a transformer that predicts the next token, with GPT-2's architecture."""

from __future__ import annotations

import math
from typing import Any

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.errors import ConfigError
from expkit.nn import init
from expkit.nn.activation import by_name
from expkit.nn.containers import ModuleList
from expkit.nn.dropout import Dropout
from expkit.nn.embedding import Embedding
from expkit.nn.linear import Linear
from expkit.nn.models.parts import probability, size
from expkit.nn.models.tokens import context_length, require_room, require_tokens
from expkit.nn.module import Module
from expkit.nn.norm import LayerNorm
from expkit.registry import register
from expkit.tensor import Tensor

KeyValue = tuple[Tensor, Tensor]  # of all tokens so far, each (N, heads, T, width of a head)


class CausalAttention(Module):
    """Self-attention in which a token sees itself and those before it.   (N, T, n_embd) -> (N, T, n_embd)"""

    def __init__(self, n_embd: int, n_head: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.n_head, self.dropout = n_head, dropout
        self.c_attn = Linear(n_embd, 3 * n_embd, bias=bias)
        self.c_proj = Linear(n_embd, n_embd, bias=bias)

    def forward(self, x: Tensor, past: KeyValue | None = None) -> tuple[Tensor, KeyValue]:
        """past: keys and values of the tokens before x. The second result has those of x with them."""
        batch, length, width = x.shape
        heads = self.c_attn(x).reshape(batch, length, 3, self.n_head, width // self.n_head).permute(2, 0, 3, 1, 4)
        q, k, v = heads[0], heads[1], heads[2]
        mask = None
        if past is not None:
            k, v = T.cat([past[0], k], 2), T.cat([past[1], v], 2)
            if length > 1:  # a single new token sees all
                mask = T.ones(length, k.shape[2], dtype=T.bool_, device=x.device).tril(k.shape[2] - length)
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=past is None)
        return self.c_proj(out.permute(0, 2, 1, 3).reshape(batch, length, width)), (k, v)


class FeedForward(Module):
    """Two linear layers, the hidden one n_inner wide.   (..., n_embd) -> (..., n_embd)"""

    def __init__(self, n_embd: int, n_inner: int, bias: bool, activation: Module) -> None:
        super().__init__()
        self.c_fc = Linear(n_embd, n_inner, bias=bias)
        self.act = activation
        self.c_proj = Linear(n_inner, n_embd, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.act(self.c_fc(x)))


class Block(Module):
    """Attention, then a feed-forward net, each behind a norm and added to what came in (pre-norm)."""

    def __init__(self, n_embd: int, n_head: int, n_inner: int, dropout: float, bias: bool, act: Module, eps: float):
        super().__init__()
        self.ln_1 = LayerNorm(n_embd, eps=eps, bias=bias)
        self.attn = CausalAttention(n_embd, n_head, dropout, bias)
        self.ln_2 = LayerNorm(n_embd, eps=eps, bias=bias)
        self.mlp = FeedForward(n_embd, n_inner, bias, act)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, past: KeyValue | None = None) -> tuple[Tensor, KeyValue]:
        attended, present = self.attn(self.ln_1(x), past)
        x = x + self.drop(attended)
        return x + self.drop(self.mlp(self.ln_2(x))), present


@register("model", "gpt")
class GPT(Module):
    """Generative transformer (Radford et al., 2019): pre-norm blocks, learned positions.   (N, T) -> (N, T, outputs)

    Weights start as GPT-2's: normal(0, 0.02), those that write into the residual stream divided by sqrt(2 n_layer).
    block_size: the longest context; that of the data if it is null. Names of arguments and parameters are GPT-2's.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        n_layer: int = 4,
        n_head: int = 4,
        n_embd: int = 128,
        n_inner: int | None = None,
        block_size: int | None = None,
        activation: str = "gelu",
        dropout: float = 0.0,
        bias: bool = True,
        tie_weights: bool = True,
        layer_norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if size("model.n_embd", n_embd) % size("model.n_head", n_head):
            raise ConfigError(f"model.n_embd={n_embd} must be a multiple of model.n_head={n_head}: the heads share it.")
        self.block_size = context_length("gpt", input_shape, block_size)
        make_activation = by_name(activation, "model.activation")
        probability("model.dropout", dropout)
        inner = 4 * n_embd if n_inner is None else size("model.n_inner", n_inner)
        self.wte = Embedding(output_size, n_embd)
        self.wpe = Embedding(self.block_size, n_embd)
        self.drop = Dropout(dropout)
        self.h = ModuleList(
            Block(n_embd, n_head, inner, dropout, bias, make_activation(), layer_norm_eps)
            for _ in range(size("model.n_layer", n_layer))
        )
        self.ln_f = LayerNorm(n_embd, eps=layer_norm_eps, bias=bias)
        self.lm_head = None if tie_weights else Linear(n_embd, output_size, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for path, param in self.named_parameters():
            if path.endswith("bias"):
                init.zeros_(param)
            elif param.ndim > 1:
                shrunk = math.sqrt(2 * len(self.h)) if path.endswith("c_proj.weight") else 1.0
                init.normal_(param, 0.0, 0.02 / shrunk)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token, at each place."""
        return self.read(ids)[0]

    def read(self, ids: Tensor, state: Any = None) -> tuple[Tensor, list[KeyValue]]:
        """Logits at each place of `ids`, which go on where `state` ends; and the state behind them, for the next call.

        The state is all keys and values so far. ShapeError where it gets longer than block_size.
        """
        require_tokens("gpt", ids)
        before = 0 if state is None else state[0][0].shape[2]
        require_room(before + ids.shape[1], self.block_size)
        places = T.arange(before, before + ids.shape[1], device=ids.device)
        x = self.drop(self.wte(ids) + self.wpe(places))
        presents = []
        for number, block in enumerate(self.h):
            x, present = block(x, None if state is None else state[number])
            presents.append(present)
        table = self.wte if self.lm_head is None else self.lm_head
        return F.linear(self.ln_f(x), table.weight), presents
