"""Byte-level byte-pair encoding, GPT-2's: any text is bytes, and pairs of frequent neighbours are tokens of their own.

Sennrich et al., 2016 (merges); Radford et al., 2019 (bytes, and words by the pattern of pretokenize.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, Self

from expkit.data.text.base import Tokenizer
from expkit.data.text.bpe_training import learn
from expkit.data.text.pretokenize import words
from expkit.errors import DataError

END_OF_TEXT = "<|endoftext|>"
Pair = tuple[str, str]


def _characters() -> list[str]:
    """For each byte the character that stands for it in vocab.json: itself where it can be seen, else 256 and up."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(seen)]
    table = {byte: chr(byte) for byte in seen} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    return [table[byte] for byte in range(256)]


CHARACTERS = _characters()
BYTES = {character: byte for byte, character in enumerate(CHARACTERS)}
_TO_CHARACTERS = {byte: ord(character) for byte, character in enumerate(CHARACTERS)}


def written(word: str) -> str:
    """The bytes of a word (UTF-8), as vocab.json writes them: `Ġthe` for ` the`."""
    return word.encode("utf-8", "surrogatepass").decode("latin-1").translate(_TO_CHARACTERS)


class ByteLevelBPE(Tokenizer):
    """vocab: {token: id}; merges: pairs of tokens, the earlier ones first. `train` makes both from texts.

    add_prefix_space: a space before the first word, as before all others.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[Pair],
        special_tokens: Iterable[str] = (),
        add_prefix_space: bool = False,
    ) -> None:
        super().__init__(vocab, special_tokens)
        self.merges, self.add_prefix_space = [tuple(pair) for pair in merges], add_prefix_space
        for left, right in self.merges:
            for token in (left, right, left + right):
                if token not in self.vocab:
                    raise DataError(f"merges: {left!r} {right!r} needs {token!r}, which the vocabulary does not have.")
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._known: dict[str, list[int]] = {}

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = (END_OF_TEXT,), min_count: int = 2
    ) -> Self:
        """A vocabulary of (at most) this size: special tokens, the 256 bytes, then merges; the same for the same texts.

        A pair that occurs less than min_count times is not merged. ConfigError where vocab_size has no room for bytes.
        """
        vocab, merges = learn(texts, vocab_size, special_tokens, min_count, sorted(CHARACTERS), written)
        return cls(vocab, merges, special_tokens)

    def encode_ordinary(self, text: str) -> list[int]:
        if self.add_prefix_space and text and not text[0].isspace():
            text = f" {text}"
        ids: list[int] = []
        known = self._known
        for word in words(text):
            found = known.get(word)
            if found is None:
                found = [self._id(token) for token in self._merged(list(written(word)))]
                if len(word) < 64:  # long ones hardly come again
                    known[word] = found
            ids += found
        return ids

    def decode_ordinary(self, tokens: list[str]) -> str:
        """Bytes that are no UTF-8 (a character cut in two) become U+FFFD."""
        raw = bytearray()
        for token in tokens:
            try:
                raw += bytes(BYTES[character] for character in token)
            except KeyError:
                raw += token.encode()  # an added token: not written in bytes
        return raw.decode("utf-8", "replace")

    def _id(self, token: str) -> int:
        try:
            return self.vocab[token]
        except KeyError:
            raise DataError(f"the vocabulary has no token for the byte {token!r}: it is no byte-level one.") from None

    def _merged(self, parts: list[str]) -> list[str]:
        """A word's characters after all merges: always the earliest one of the list that applies, from the left."""
        ranks = self._ranks
        after = [*range(1, len(parts)), -1]
        before = [*range(-1, len(parts) - 1)]
        heap = [(ranks[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in ranks]
        heapify(heap)
        while heap:
            rank, at = heappop(heap)
            right = after[at]
            if not parts[at] or right < 0 or ranks.get((parts[at], parts[right])) != rank:
                continue  # one of the two has been merged with another since
            parts[at] += parts[right]
            parts[right] = ""
            after[at] = after[right]
            if after[at] >= 0:
                before[after[at]] = at
            for left in (before[at], at):
                if left >= 0 and after[left] >= 0:
                    pair = parts[left], parts[after[left]]
                    if pair in ranks:
                        heappush(heap, (ranks[pair], left))
        return [part for part in parts if part]

    def to_json(self) -> dict[str, Any]:
        level = {"type": "ByteLevel", "add_prefix_space": self.add_prefix_space, "trim_offsets": True,
                 "use_regex": True}  # fmt: skip
        model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                 "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                 "vocab": self.vocab, "merges": [list(pair) for pair in self.merges]}  # fmt: skip
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self.added_tokens(),
            "normalizer": None,
            "pre_tokenizer": level,
            "post_processor": None,
            "decoder": level,
            "model": model,
        }
