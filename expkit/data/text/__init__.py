"""Text as numbers: tokenizers, their files, and windows of tokens for language models.

Files are Hugging Face's: tokenizer.json, vocab.json + merges.txt (GPT-2), vocab.txt (BERT).
"""

from expkit.data.text.base import Tokenizer
from expkit.data.text.bpe import ByteLevelBPE
from expkit.data.text.char import CharTokenizer
from expkit.data.text.files import load_tokenizer, save_tokenizer
from expkit.data.text.windows import TokenWindows
from expkit.data.text.wordpiece import WordPieceTokenizer

__all__ = [
    "ByteLevelBPE",
    "CharTokenizer",
    "TokenWindows",
    "Tokenizer",
    "WordPieceTokenizer",
    "load_tokenizer",
    "save_tokenizer",
]
