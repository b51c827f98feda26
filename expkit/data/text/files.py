"""Tokenizers from files: tokenizer.json, or vocab.json with merges.txt (GPT-2), or vocab.txt (BERT); and into them."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from expkit.data.text.base import Tokenizer
from expkit.data.text.bpe import END_OF_TEXT, ByteLevelBPE
from expkit.data.text.char import CharTokenizer
from expkit.data.text.wordpiece import WordPieceTokenizer
from expkit.errors import DataError

Json = Mapping[str, Any]
NAMES = ("tokenizer.json", "vocab.json", "vocab.txt")


def save_tokenizer(tokenizer: Tokenizer, path: str | Path) -> Path:
    """Writes tokenizer.json, in the folder `path` or under this name; where it is."""
    path = Path(path)
    path = path / "tokenizer.json" if path.is_dir() else path
    path.write_text(json.dumps(tokenizer.to_json(), ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a file tokenizer.json or vocab.txt, or of a folder that has one (or vocab.json + merges.txt)."""
    path = Path(path)
    if path.is_dir():
        found = next((path / name for name in NAMES if (path / name).is_file()), None)
        if found is None:
            raise DataError(f"{path} has no tokenizer: expected tokenizer.json, vocab.json + merges.txt, or vocab.txt.")
        path = found
    if path.name == "vocab.json":
        return _gpt2(path, path.with_name("merges.txt"))
    if path.suffix == ".txt":
        return _bert(path)
    return from_json(read_json(path), str(path))


def from_json(content: Any, where: str) -> Tokenizer:
    """The tokenizer that tokenizer.json describes. DataError for kinds that are not known."""
    model = content.get("model") if isinstance(content, dict) else None
    kind = model.get("type", "BPE" if "merges" in model else None) if isinstance(model, dict) else None
    if kind not in KINDS:
        raise DataError(f"{where}: a tokenizer of type {kind!r} is not known; known are {', '.join(KINDS)}.")
    try:
        return KINDS[kind](content, where)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: this is no sound tokenizer.json ({type(error).__name__}: {error}).") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file. DataError: it is not there, or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}.") from None


def _gpt2(vocab: Path, merges: Path) -> ByteLevelBPE:
    """GPT-2's two files; a first line `#version: ...` of merges.txt is a comment."""
    pairs = []
    for number, line in enumerate(_lines(merges, f"It belongs to {vocab.name}."), 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2:
            raise DataError(f"{merges}, line {number}: expected two tokens with a space between them, got {line!r}.")
        pairs.append(pair)
    words = read_json(vocab)
    return ByteLevelBPE(words, pairs, [END_OF_TEXT] if END_OF_TEXT in words else [])


def _bert(path: Path) -> WordPieceTokenizer:
    """BERT's vocab.txt, a token a line; whether it is lowercase stands in tokenizer_config.json, if that is there."""
    tokens = _lines(path, f"{path} is no vocabulary.")
    repeated = next((token for token, count in Counter(tokens).items() if count > 1), None)
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in tokens]
    if repeated is not None or missing:
        what = f"{repeated!r} is there twice" if repeated is not None else f"{missing[0]} is not among its lines"
        raise DataError(f"{path}: {what}; it must be a BERT's vocabulary, a token a line.")
    options = path.with_name("tokenizer_config.json")
    lowercase = read_json(options).get("do_lower_case", True) if options.is_file() else True
    return WordPieceTokenizer({token: number for number, token in enumerate(tokens)}, bool(lowercase))


def _lines(path: Path, advice: str) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}. {advice}") from None


def _specials(content: Json) -> list[str]:
    return [entry["content"] for entry in content.get("added_tokens") or ()]


def _bpe(content: Json, where: str) -> Tokenizer:
    model, before = content["model"], content.get("pre_tokenizer") or {}
    stages = before.get("pretokenizers", [before])
    level = next((stage for stage in stages if stage.get("type") == "ByteLevel"), None)
    if level is None or len(stages) > 1 or not level.get("use_regex", True) or content.get("normalizer"):
        raise DataError(
            f"{where}: only a byte-level BPE as GPT-2's is known (pre_tokenizer ByteLevel alone, no normalizer)."
        )
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    vocab = model["vocab"] | {entry["content"]: entry["id"] for entry in content.get("added_tokens") or ()}
    return ByteLevelBPE(vocab, merges, _specials(content), bool(level.get("add_prefix_space", False)))


def _characters(content: Json, where: str) -> Tokenizer:
    vocab = content["model"]["vocab"]
    if sorted(vocab.values()) != list(range(len(vocab))) or content.get("normalizer"):
        raise DataError(f"{where}: a WordLevel tokenizer must be one of characters, numbered from 0.")
    return CharTokenizer(sorted(vocab, key=vocab.__getitem__))


def _wordpiece(content: Json, where: str) -> Tokenizer:
    model, normalizer = content["model"], content.get("normalizer") or {}
    plain = model.get("continuing_subword_prefix", "##") == "##" and normalizer.get("type") == "BertNormalizer"
    if not plain or (content.get("pre_tokenizer") or {}).get("type") != "BertPreTokenizer":
        raise DataError(f"{where}: only BERT's WordPiece is known (BertNormalizer, BertPreTokenizer, prefix ##).")
    return WordPieceTokenizer(model["vocab"], bool(normalizer.get("lowercase", True)))


KINDS: dict[str, Callable[[Json, str], Tokenizer]] = {
    "BPE": _bpe,
    "WordLevel": _characters,
    "WordPiece": _wordpiece,
}
