"""Texts that a language model writes.

sample_text(model, tokenizer, "def ", max_new_tokens=100, temperature=0.8)
"""

from typing import Any

from expkit.data.text.bpe import END_OF_TEXT
from expkit.errors import ConfigError
from expkit.nn.models.generation import generate
from expkit.nn.module import Module
from expkit.tensor import Generator, tensor


def sample_text(
    model: Module,
    tokenizer: Any,
    prompt: str = "\n",
    max_new_tokens: int = 200,
    *,
    num_samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> list[str]:
    """`num_samples` texts that begin with the prompt; the end-of-text token, where there is one, ends a text early.

    An empty prompt is that token. temperature, top_k, top_p: as of `generate`. seed: the same texts each time; without
    one they are drawn from the global generator. DataError for a prompt that the tokenizer does not know.
    """
    if num_samples < 1:
        raise ConfigError(f"num_samples={num_samples}: must be at least 1.")
    end = tokenizer.vocab.get(END_OF_TEXT) if END_OF_TEXT in tokenizer.special_tokens else None
    begin = [] if end is None else [end]
    ids = tokenizer.encode(prompt) or begin
    if not ids:
        raise ConfigError("an empty prompt needs a tokenizer with an end-of-text token; give a prompt, '\\n' for one.")
    device = next(model.parameters()).device
    found = generate(
        model,
        tensor([ids] * num_samples, device=device),
        max_new_tokens,
        temperature,
        top_k,
        top_p,
        None if seed is None else Generator(device).manual_seed(seed),
        eos=end,
    )
    return [_text(tokenizer, row, end, len(ids)) for row in found.tolist()]


def _text(tokenizer: Any, ids: list[int], end: int | None, prompt: int) -> str:
    """The text up to the first end behind the prompt; a prompt that was the end-of-text token itself is not shown."""
    stop = next((at for at in range(prompt, len(ids)) if ids[at] == end), len(ids))
    start = 1 if ids[0] == end else 0
    return str(tokenizer.decode(ids[start:stop]))
