"""Text out of a language model: one token after the other, each drawn from what the model expects.

    ids = generate(model, ek.tensor([[5, 17]]), max_new_tokens=100, temperature=0.8, top_k=40)

A model with `read(ids, state) -> (logits, state)` reads each token once; others read the whole context again.
"""

from __future__ import annotations

import math
from typing import Any

import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.errors import ConfigError
from expkit.nn.models.tokens import require_tokens
from expkit.nn.module import Module
from expkit.tensor import Generator, Tensor


def generate(
    model: Module,
    prompt_ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: Generator | None = None,
    eos: int | None = None,
    use_cache: bool = True,
) -> Tensor:
    """The prompts (N, T), T above 0, with what follows: (N, T + at most max_new_tokens).

    temperature: divides the logits; 0 takes the likeliest token always. top_k: draws from the k likeliest tokens alone.
    top_p: from the likeliest ones whose probabilities reach p together (Holtzman et al., 2020). eos: a token that ends
    a text; the rest of its row is filled with it. use_cache: makes no difference to the tokens.
    The model's context is its last `block_size` tokens, where it has such a limit. ConfigError for wrong arguments.
    """
    require_tokens(type(model).__name__, prompt_ids)
    _check(max_new_tokens, temperature, top_k, top_p)
    training = model.training
    model.eval()
    try:
        with no_grad():
            context = _Context(model, prompt_ids, use_cache)
            done = T.zeros(prompt_ids.shape[0], dtype=T.bool_, device=prompt_ids.device)
            for _ in range(max_new_tokens):
                token = drawn(context.logits(), temperature, top_k, top_p, generator)
                if eos is not None:
                    token = T.where(done, eos, token)
                    done = done | (token == eos)
                context.append(token)
                if eos is not None and bool(done.all()):
                    break
            return context.ids
    finally:
        model.train(training)


def drawn(logits: Tensor, temperature: float, top_k: int | None, top_p: float | None, generator: Any) -> Tensor:
    """A token for each row of logits (N, V): (N,) int64."""
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / temperature
    if top_k is not None:
        kth = T.topk(logits, min(top_k, logits.shape[-1]))[0][:, -1:]
        logits = T.where(logits < kth, -math.inf, logits)
    if top_p is not None:
        ordered, order = T.sort(logits, dim=-1, descending=True)
        p = T.softmax(ordered, -1)
        out = p.cumsum(-1) - p > top_p  # those before it suffice already
        logits = T.full_like(logits, -math.inf).scatter(-1, order, T.where(out, -math.inf, ordered))
    return T.multinomial(T.softmax(logits, -1), 1, generator=generator)[:, 0]


class _Context:
    """The tokens so far, and the model's state behind all but the newest of them."""

    def __init__(self, model: Module, ids: Tensor, use_cache: bool) -> None:
        self.model, self.ids, self.state = model, ids, None
        self.limit: int | None = getattr(model, "block_size", None)
        self.cached = use_cache and hasattr(model, "read")
        self.unread = ids

    def append(self, token: Tensor) -> None:
        self.ids = T.cat([self.ids, token.reshape(-1, 1).to(self.ids.dtype)], 1)
        self.unread = self.ids[:, -1:]

    def logits(self) -> Tensor:
        """Those of the next token, (N, V)."""
        if self.limit is not None and self.ids.shape[1] > self.limit:
            self.cached = False  # the positions of all tokens move, so nothing that was known of them holds
            return self.model(self.ids[:, -self.limit :])[:, -1]
        if not self.cached:
            return self.model(self.ids)[:, -1]
        logits, self.state = self.model.read(self.unread, self.state)
        return logits[:, -1]


def _check(max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    rules = (
        (max_new_tokens >= 0, f"max_new_tokens={max_new_tokens}: must not be negative"),
        (0 <= temperature < math.inf, f"temperature={temperature}: must be a number from 0"),
        (top_k is None or top_k >= 1, f"top_k={top_k}: must be at least 1, or None for all tokens"),
        (top_p is None or 0 < top_p <= 1, f"top_p={top_p}: must be a probability above 0, or None for all tokens"),
    )
    for fits, text in rules:
        if not fits:
            raise ConfigError(f"generate: {text}.")
