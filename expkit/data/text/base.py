"""Tokenizer: texts to lists of token ids and back; what all tokenizers share."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from expkit.errors import DataError


class Tokenizer:
    """Base: a vocabulary {token: id}, and special tokens, which are found in a text before anything is split.

    A subclass writes `encode_ordinary(text) -> ids` and `decode_ordinary(tokens) -> text`.
    """

    def __init__(self, vocab: Mapping[str, int], special_tokens: Iterable[str] = ()) -> None:
        self.vocab = dict(vocab)
        self.special_tokens = list(special_tokens)
        missing = [token for token in self.special_tokens if token not in self.vocab]
        if missing:
            raise DataError(f"{type(self).__name__}: the special token {missing[0]!r} is not in the vocabulary.")
        self.tokens = {number: token for token, number in self.vocab.items()}
        if len(self.tokens) != len(self.vocab):
            raise DataError(f"{type(self).__name__}: two tokens of the vocabulary have the same id.")
        # The longest first: of two special tokens that begin alike, the longer one is meant.
        words = sorted(self.special_tokens, key=len, reverse=True)
        self._special = re.compile("(" + "|".join(map(re.escape, words)) + ")") if words else None

    @property
    def vocab_size(self) -> int:
        """How many outputs a model needs: the highest id + 1."""
        return 1 + max(self.tokens, default=-1)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Special tokens in it are single ids."""
        if self._special is None:
            return self.encode_ordinary(text)
        ids: list[int] = []
        for number, piece in enumerate(self._special.split(text)):
            ids += [self.vocab[piece]] if number % 2 else self.encode_ordinary(piece)
        return ids

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of ids. DataError for an id that the vocabulary does not have."""
        parts: list[str] = []
        run: list[str] = []
        for token in map(self.token, ids):
            if token in self.special_tokens:
                parts.append(self.decode_ordinary(run))
                run = []
                parts.append("" if skip_special_tokens else token)
            else:
                run.append(token)
        return "".join([*parts, self.decode_ordinary(run)])

    def token(self, number: int) -> str:
        """The token with this id. DataError where there is none."""
        found = self.tokens.get(int(number))
        if found is None:
            raise DataError(f"there is no token {int(number)}: the vocabulary has {self.vocab_size} tokens.")
        return found

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text in which special tokens mean nothing special."""
        raise NotImplementedError(f"{type(self).__name__} must write encode_ordinary()")

    def decode_ordinary(self, tokens: list[str]) -> str:
        """The text of tokens none of which is special."""
        raise NotImplementedError(f"{type(self).__name__} must write decode_ordinary()")

    def to_json(self) -> dict[str, Any]:
        """What tokenizer.json holds."""
        raise NotImplementedError(f"{type(self).__name__} must write to_json()")

    def added_tokens(self) -> list[dict[str, Any]]:
        """The special tokens as tokenizer.json lists them."""
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        return [{"id": self.vocab[token], "content": token, **flags} for token in self.special_tokens]
