"""CharTokenizer: each character is a token."""

from collections.abc import Iterable
from typing import Any, Self

from expkit.data.text.base import Tokenizer
from expkit.errors import DataError


class CharTokenizer(Tokenizer):
    """One id for each character, in the order of their code points.

    encode: DataError for a character that the tokenizer was not made with.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        found = list(characters)
        long = [character for character in found if len(character) != 1]
        if long:
            raise DataError(f"CharTokenizer: the tokens must be single characters, got {long[0]!r}.")
        super().__init__({character: number for number, character in enumerate(found)})

    @classmethod
    def train(cls, texts: Iterable[str]) -> Self:
        """With the characters that occur in `texts`."""
        return cls(sorted(set().union(*map(set, texts))))

    def encode_ordinary(self, text: str) -> list[int]:
        try:
            return [self.vocab[character] for character in text]
        except KeyError as error:
            character = error.args[0]
            raise DataError(
                f"character {character!r} (U+{ord(character):04X}), number {text.index(character)} of the text, is not "
                f"among the {len(self.vocab)} characters that this tokenizer knows: those of the text that it was made "
                "from. Leave it out, or train with data.tokenizer=bpe, which can write every text."
            ) from None

    def decode_ordinary(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def to_json(self) -> dict[str, Any]:
        each = {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": each,
            "post_processor": None,
            "decoder": {"type": "Fuse"},
            "model": {"type": "WordLevel", "vocab": self.vocab, "unk_token": "[UNK]"},
        }
