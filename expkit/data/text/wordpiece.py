"""WordPiece, BERT's tokenizer (Devlin et al., 2019): words and punctuation, then the longest pieces that are known."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from expkit.data.text.base import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST = 100  # characters of a word; a longer one is unknown
# The blocks of CJK ideographs, each of which is a word of its own.
IDEOGRAPHS = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPieceTokenizer(Tokenizer):
    """vocab: {token: id}, pieces that go on a word begin with `##`. lowercase: also takes accents off.

    A word that cannot be put together is [UNK].
    """

    def __init__(self, vocab: Mapping[str, int], lowercase: bool = True) -> None:
        super().__init__(vocab, [token for token in SPECIAL if token in vocab])
        self.lowercase = lowercase

    def encode(self, text: str, pair: str | None = None, add_special_tokens: bool = True) -> list[int]:
        """[CLS] text [SEP], with a second text [CLS] text [SEP] pair [SEP]; without these where they are not wanted."""
        return [number for number, _ in self._placed(text, pair, add_special_tokens)]

    def token_type_ids(self, text: str, pair: str | None = None) -> list[int]:
        """For each id of `encode(text, pair)` 0, or 1 if it is of the pair."""
        return [segment for _, segment in self._placed(text, pair, True)]

    def _placed(self, text: str, pair: str | None, special: bool) -> list[tuple[int, int]]:
        """(id, segment) of each token."""
        placed = [(self.vocab["[CLS]"], 0)] if special else []
        for segment, part in enumerate([text] if pair is None else [text, pair]):
            placed += [(number, segment) for number in super().encode(part)]
            placed += [(self.vocab["[SEP]"], segment)] if special else []
        return placed

    def encode_ordinary(self, text: str) -> list[int]:
        return [self.vocab[piece] for word in basic_words(text, self.lowercase) for piece in self._pieces(word)]

    def _pieces(self, word: str) -> list[str]:
        pieces: list[str] = []
        start = 0
        while start < len(word) <= LONGEST:
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self.vocab), None)
            if end is None:
                return ["[UNK]"]
            pieces.append(prefix + word[start:end])
            start = end
        return pieces or ["[UNK]"]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The words with spaces between them: where the text had spaces is not known."""
        left_out = self.special_tokens if skip_special_tokens else ()
        return self.decode_ordinary([token for token in map(self.token, ids) if token not in left_out])

    def decode_ordinary(self, tokens: list[str]) -> str:
        return " ".join(tokens).replace(" ##", "")

    def to_json(self) -> dict[str, Any]:
        texts = {name: [{"Sequence": {"id": name, "type_id": number}}] for number, name in enumerate("AB")}
        marks = {name: {"SpecialToken": {"id": f"[{name}]", "type_id": 0}} for name in ("CLS", "SEP")}
        second = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
        ids = {token: {"id": token, "ids": [self.vocab[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")}
        single = [marks["CLS"], *texts["A"], marks["SEP"]]
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self.added_tokens(),
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": self.lowercase},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing", "single": single,
                               "pair": [*single, *texts["B"], second], "special_tokens": ids},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": LONGEST, "vocab": self.vocab},
        }  # fmt: skip


def basic_words(text: str, lowercase: bool) -> list[str]:
    """Words, and punctuation and ideographs each on its own, without control characters."""
    spaced = "".join(f" {c} " if _is_ideograph(c) else c for c in map(_cleaned, text))
    if lowercase:
        plain = (c for c in unicodedata.normalize("NFD", spaced) if unicodedata.category(c) != "Mn")
        spaced = "".join(plain).lower()
    return "".join(f" {c} " if _is_punctuation(c) else c for c in spaced).split()


def _cleaned(character: str) -> str:
    if character in " \t\n\r":
        return " "
    if character == "\ufffd" or unicodedata.category(character)[0] == "C":
        return ""
    return " " if character.isspace() else character


def _is_ideograph(character: str) -> bool:
    return bool(character) and character >= "\u3400" and any(a <= ord(character) <= b for a, b in IDEOGRAPHS)


def _is_punctuation(character: str) -> bool:
    """All of ASCII's symbols count, also those that Unicode does not call punctuation, as `$`."""
    return ("!" <= character <= "~" and not character.isalnum()) or unicodedata.category(character)[0] == "P"
