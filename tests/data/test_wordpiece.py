"""WordPiece: published behaviour, a hand-made vocabulary, Hugging Face's implementation where it is installed."""

import json

import pytest

from expkit.data.text import WordPieceTokenizer, load_tokenizer, save_tokenizer
from expkit.data.text.wordpiece import basic_words
from expkit.errors import DataError

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "want", "##want", "##ed", "wa", "un", "runn", "##ing", ",",
          "low", "lowest", "##e", "##r", "the", "中", "##文", "文", "don", "'", "t", "e", "$", "Un"]  # fmt: skip
VOCAB = {token: number for number, token in enumerate(TOKENS)}
TOKENIZER = WordPieceTokenizer(VOCAB)
ODD = "UNwantéd,running\u00a0\tthe\x00 lower\u200b don't 中文 [MASK] $ \ufffd e\u0301 \u2028lowest" + " x" + "e" * 101


def tokens(text, tokenizer=TOKENIZER):
    return [tokenizer.token(number) for number in tokenizer.encode(text, add_special_tokens=False)]


def test_the_example_of_the_papers_code():
    assert tokens("unwanted running") == ["un", "##want", "##ed", "runn", "##ing"]
    assert tokens("unwantedX running") == ["[UNK]", "runn", "##ing"]
    assert tokens("") == []


def test_the_longest_piece_comes_first():
    assert tokens("lower lowest low") == ["low", "##e", "##r", "lowest", "low"]


def test_words_are_cleaned_and_cut():
    assert basic_words(" \tHeLLo!how  \n Are yoU?  ", True) == ["hello", "!", "how", "are", "you", "?"]
    assert basic_words("H\u00e9llo", True) == ["hello"]
    assert basic_words("H\u00e9llo", False) == ["H\u00e9llo"]
    assert basic_words("ah\u535a\u63a8zz", True) == ["ah", "\u535a", "\u63a8", "zz"]
    assert basic_words("a\x00\u200b\ufffdb\u00a0c$d", True) == ["ab", "c", "$", "d"]


def test_cased_vocabularies_keep_capitals():
    assert tokens("Unwant", WordPieceTokenizer(VOCAB, lowercase=False)) == ["Un", "##want"]
    assert tokens("Unwant") == ["un", "##want"]


def test_very_long_words_are_unknown():
    assert tokens("e" + "r" * 99) != ["[UNK]"]
    assert tokens("e" + "r" * 100) == ["[UNK]"]


def test_texts_and_pairs_are_marked():
    ids = TOKENIZER.encode("the low", "want")
    assert [TOKENIZER.token(number) for number in ids] == ["[CLS]", "the", "low", "[SEP]", "want", "[SEP]"]
    assert TOKENIZER.token_type_ids("the low", "want") == [0, 0, 0, 0, 1, 1]
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "the low want"
    assert TOKENIZER.decode(TOKENIZER.encode("unwanted the", add_special_tokens=False)) == "unwanted the"
    assert tokens("the [MASK] low") == ["the", "[MASK]", "low"]


def test_files(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    found = load_tokenizer(tmp_path)
    assert (found.vocab, found.lowercase) == (VOCAB, True)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert not load_tokenizer(tmp_path / "vocab.txt").lowercase
    save_tokenizer(WordPieceTokenizer(VOCAB, lowercase=False), tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.vocab, again.lowercase, again.encode(ODD)) == (VOCAB, False, load_tokenizer(tmp_path).encode(ODD))


@pytest.mark.parametrize(("content", "word"), [
    (b"a\nb\na", "'a' is there twice"), (b"a\nb", "UNK"), (b"\xff", "cannot be read"),
])  # fmt: skip
def test_vocabularies_that_cannot_be(content, word, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(DataError, match=word):
        load_tokenizer(tmp_path)


def test_other_word_pieces_are_refused(tmp_path):
    content = TOKENIZER.to_json() | {"pre_tokenizer": {"type": "Whitespace"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="BertPreTokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("lowercase", [True, False])
def test_hugging_face_agrees(lowercase):
    reference = pytest.importorskip("tokenizers")
    tokenizer = WordPieceTokenizer(VOCAB, lowercase)
    other = reference.Tokenizer.from_str(json.dumps(tokenizer.to_json()))
    for text in (ODD, "the", ""):
        assert other.encode(text).ids == tokenizer.encode(text)
        both = other.encode(text, "Unwant")
        assert (both.ids, both.type_ids) == (tokenizer.encode(text, "Unwant"), tokenizer.token_type_ids(text, "Unwant"))
        for skip in (True, False):
            assert other.decode(both.ids, skip_special_tokens=skip) == tokenizer.decode(both.ids, skip)
