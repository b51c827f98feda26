"""The tokenizer that a config names."""

from collections.abc import Sequence
from pathlib import Path

from expkit.data.text import cache
from expkit.data.text.base import Tokenizer
from expkit.data.text.bpe import END_OF_TEXT, ByteLevelBPE
from expkit.data.text.char import CharTokenizer
from expkit.data.text.files import from_json, load_tokenizer
from expkit.errors import ConfigError, did_you_mean

KINDS = ("char", "bpe")


def make_tokenizer(kind: str, texts: Sequence[Sequence[str]], vocab_size: int) -> Tokenizer:
    """char, bpe, or the path of a tokenizer's file or folder. texts: those of training first.

    Characters are taken from all texts; a BPE learns from the first alone, and is kept on disk (text/cache.py).
    """
    if kind == "char":
        return CharTokenizer.train(text for part in texts for text in part)
    if kind == "bpe":
        arguments = {"kind": "bpe", "vocab_size": vocab_size, "special_tokens": [END_OF_TEXT]}
        content = cache.kept(texts[0], arguments, lambda: ByteLevelBPE.train(texts[0], vocab_size).to_json())
        return from_json(content, "the cache of tokenizers")
    if not Path(kind).exists():
        raise ConfigError(
            f"tokenizer={kind!r}: expected char, bpe, or the path of a tokenizer.json or of a folder with one; there "
            f"is no such file.{did_you_mean(kind, KINDS)}"
        )
    return load_tokenizer(kind)
