"""Text for language models: a file of your own, and what all data modules of text share."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from expkit.data.module import DataModule
from expkit.data.text import Tokenizer, TokenWindows
from expkit.data.text.bpe import END_OF_TEXT
from expkit.data.text.make import make_tokenizer
from expkit.errors import ConfigError, DataError
from expkit.registry import register

PARTS = ("train", "val", "test")


class TextData(DataModule):
    """Windows of the tokens of texts; x, y: (block_size,) int64, y shifted by one.

    texts: the documents of training, validation and test; a part without any is left out. tokenizer: char (one token
    for each character that occurs), bpe (byte-level, trained on the training part to vocab_size tokens), or the path
    of a tokenizer.json or of a folder that has one. stride: from window to window; block_size if it is null.
    Between documents stands the end-of-text token, if the tokenizer has one.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[str]],
        tokenizer: str,
        vocab_size: int,
        block_size: int,
        stride: int | None,
        batch_size: int,
        drop_last: bool,
    ) -> None:
        self.tokenizer: Tokenizer = make_tokenizer(tokenizer, texts, vocab_size)
        parts = []
        for name, documents in zip(PARTS, texts, strict=True):
            try:
                windows = TokenWindows(self._tokens(documents), block_size, stride) if documents else None
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
            parts.append(windows)
        super().__init__(
            *parts,
            task="language_modeling",
            output_size=self.tokenizer.vocab_size,
            batch_size=batch_size,
            drop_last=drop_last,
        )

    def _tokens(self, documents: Sequence[str]) -> np.ndarray:
        end = [self.tokenizer.vocab[END_OF_TEXT]] if END_OF_TEXT in self.tokenizer.special_tokens else []
        pieces = [np.array(self.tokenizer.encode_ordinary(text) + end, dtype=np.int64) for text in documents]
        return np.concatenate(pieces)


@register("data", "text")
class TextFile(TextData):
    """A text file (UTF-8): its beginning is for training, what follows for validation, its end for testing.

    Windows of block_size tokens, made by a tokenizer: char, bpe (trained on the training part to vocab_size tokens), or
    the path of a tokenizer.json, or of a folder that has one. max_chars: how much of the file is used.
    """

    def __init__(
        self,
        path: str,
        tokenizer: str = "char",
        vocab_size: int = 1024,
        block_size: int = 128,
        stride: int | None = None,
        max_chars: int | None = None,
        batch_size: int = 64,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        drop_last: bool = False,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        text = read_text(Path(path))[:max_chars]
        cuts = [round(len(text) * share) for share in (1 - val_fraction - test_fraction, 1 - test_fraction)]
        parts = (text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :])
        documents = [[part] if part else [] for part in parts]
        super().__init__(documents, tokenizer, vocab_size, block_size, stride, batch_size, drop_last)


def read_text(path: Path) -> str:
    """The text of a file. DataError: there is none, it is empty, or it is not UTF-8 (with the place)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"path={str(path)!r}: the file cannot be read: {error.strerror}.") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte {error.start} (0x{data[error.start]:02x}) is not UTF-8. Convert the file: "
            f"iconv -f latin1 -t utf8 {path.name}"
        ) from None
    if not text:
        raise DataError(f"{path} is empty.")
    return re.sub("\r\n?", "\n", text)


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """ConfigError unless they are shares of the text that leave something to train on."""
    for name, share in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= share < 1:
            raise ConfigError(f"{name}={share} cannot be: it is a share of the text, from 0 to below 1.")
    if val_fraction + test_fraction >= 1:
        raise ConfigError(f"val_fraction={val_fraction} and test_fraction={test_fraction} leave no text to train on.")
