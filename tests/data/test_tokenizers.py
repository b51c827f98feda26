"""Tokenizers: published behaviour, hand-made vocabularies, Hugging Face's implementation where it is installed."""

import json
import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expkit.data.text import ByteLevelBPE, CharTokenizer
from expkit.data.text.bpe import BYTES, CHARACTERS, written
from expkit.data.text.files import from_json, load_tokenizer, save_tokenizer
from expkit.data.text.pretokenize import words
from expkit.errors import ConfigError, DataError

ODD = "Hello'll wörld ²Ⅷ٣ \x1c\x1d x\u3000y\u00a0 中文字 😀 don't   \n\n\t  end  <|endoftext|> a\u0301\u200b_"
SMALL = "low low low low low lower lower newest newest newest newest newest newest widest widest widest"


# ---------------------------------------------------------------------- characters


def test_characters_are_numbered_by_code_point_and_come_back():
    tokenizer = CharTokenizer.train(["banana\n", "cab"])
    assert tokenizer.vocab == {"\n": 0, "a": 1, "b": 2, "c": 3, "n": 4}
    assert tokenizer.encode("cab\n") == [3, 1, 2, 0]
    assert tokenizer.decode([3, 1, 2, 0]) == "cab\n"
    assert tokenizer.vocab_size == 5


def test_an_unknown_character_is_explained():
    with pytest.raises(DataError, match=re.escape("'ф' (U+0444), number 2")) as caught:
        CharTokenizer.train(["ab"]).encode("abфa")
    assert "data.tokenizer=bpe" in str(caught.value)
    with pytest.raises(DataError, match="no token 7"):
        CharTokenizer.train(["ab"]).decode([0, 7])
    with pytest.raises(DataError, match="single characters"):
        CharTokenizer(["a", "bc"])


# ---------------------------------------------------------------------- words


def test_words_are_cut_as_gpt2_cuts_them():
    assert words("I'll don't  stop 2day!?") == ["I", "'ll", " don", "'t", " ", " stop", " 2", "day", "!?"]
    assert words("a\n\n  b \t") == ["a", "\n\n ", " b", " \t"]
    assert words("x_y²Ⅷ a\u0301") == ["x", "_", "y", "²Ⅷ", " a", "\u0301"]
    assert words("\x1c\x1d") == ["\x1c\x1d"]  # separators, but no white space to Unicode


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
def test_words_are_of_one_kind_and_join_to_the_text(text):
    found = words(text)
    assert "".join(found) == text
    space = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
    for word in found:
        core = word[1:] if word[0] == " " and len(word) > 1 else word
        kinds = {"space" if space.match(c) else {"L": "L", "N": "N"}.get(unicodedata.category(c)[0], "") for c in core}
        assert len(kinds) == 1 or re.fullmatch("'(s|t|re|ve|m|ll|d)", word)


# ---------------------------------------------------------------------- byte-level BPE


def test_bytes_are_written_as_in_gpt2s_vocabulary():
    assert (CHARACTERS[ord(" ")], CHARACTERS[ord("\n")], CHARACTERS[0], CHARACTERS[255]) == ("Ġ", "Ċ", "Ā", "ÿ")
    assert (CHARACTERS[127], CHARACTERS[173]) == ("ġ", "Ń")
    assert len(BYTES) == 256
    assert written(" é") == "ĠÃ©"


def test_merges_are_those_of_the_paper():
    """Sennrich et al., 2016: of low, lower, newest, widest the first merges are e s, es t."""
    text = " ".join(["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3)
    assert ByteLevelBPE.train([text], 256 + 2, ()).merges == [("e", "s"), ("es", "t")]


def naive(words_, count):
    """Merges by counting all pairs anew each time, most frequent first, then lowest ids."""
    vocab = sorted(CHARACTERS)
    split = [[vocab.index(c) for c in written(w)] for w in words_]
    merges = []
    for _ in range(count):
        seen = {}
        for ids in split:
            for pair in pairwise(ids):
                seen[pair] = seen.get(pair, 0) + 1
        if not seen or max(seen.values()) < 2:
            break
        best = min(seen, key=lambda pair: (-seen[pair], pair))
        merges.append((vocab[best[0]], vocab[best[1]]))
        vocab.append(vocab[best[0]] + vocab[best[1]])
        for number, ids in enumerate(split):
            made, at = [], 0
            while at < len(ids):
                hit = tuple(ids[at : at + 2]) == best
                made.append(len(vocab) - 1 if hit else ids[at])
                at += 2 if hit else 1
            split[number] = made
    return merges


@pytest.mark.parametrize("text", [SMALL, "aaaa aaaa aaa aa", "abab abab ba ba baab", ODD * 2])
def test_training_is_counting_all_pairs_again_and_again(text):
    assert ByteLevelBPE.train([text], 256 + 12, ()).merges == naive(words(text), 12)


def test_encoding_applies_the_earliest_merge_first():
    vocab = {token: number for number, token in enumerate("abcd")}
    merges = [("b", "c"), ("a", "b"), ("bc", "d"), ("a", "a"), ("aa", "a")]
    vocab |= {token: 4 + number for number, token in enumerate(["bc", "ab", "bcd", "aa", "aaa"])}
    tokenizer = ByteLevelBPE(vocab, merges)

    def tokens(text):
        return [tokenizer.token(number) for number in tokenizer.encode(text)]

    assert tokens("abcd") == ["a", "bcd"]
    assert tokens("abd") == ["ab", "d"]
    assert tokens("aaaaa") == ["aa", "aaa"]
    assert tokens("aaab") == ["aa", "ab"]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_every_text_comes_back(text):
    tokenizer = TRAINED
    assert tokenizer.decode(tokenizer.encode_ordinary(text)) == text.encode("utf-8", "surrogatepass").decode(
        "utf-8", "replace"
    )


TRAINED = ByteLevelBPE.train([SMALL, ODD], 300)


def test_special_tokens_are_found_in_texts():
    ids = TRAINED.encode("low<|endoftext|>low")
    assert ids.count(TRAINED.vocab["<|endoftext|>"]) == 1
    assert TRAINED.decode(ids) == "low<|endoftext|>low"
    assert TRAINED.decode(ids, skip_special_tokens=True) == "lowlow"
    assert TRAINED.vocab["<|endoftext|>"] not in TRAINED.encode_ordinary("low<|endoftext|>low")


def test_half_a_character_is_a_replacement():
    assert TRAINED.decode([TRAINED.vocab["Ã"]]) == "\ufffd"


def test_long_words_are_merged_in_a_moment():
    text = "ab" * 20_000
    assert TRAINED.decode(TRAINED.encode(text)) == text


@pytest.mark.parametrize(
    ("make", "words_"),
    [
        (lambda: ByteLevelBPE.train(["x"], 100), ["vocab_size=100", "257"]),
        (lambda: ByteLevelBPE({"a": 0, "b": 1}, [("a", "b")]), ["'ab'", "does not have"]),
        (lambda: ByteLevelBPE({"a": 0}, [], ["<x>"]), ["'<x>'"]),
        (lambda: ByteLevelBPE({"a": 0, "b": 0}, []), ["same id"]),
        (lambda: ByteLevelBPE({"a": 0}, []).encode("ab"), ["'b'"]),
    ],
)
def test_what_cannot_be_is_refused(make, words_):
    with pytest.raises((DataError, ConfigError)) as caught:
        make()
    assert all(word in str(caught.value) for word in words_)


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("tokenizer", [TRAINED, CharTokenizer.train([ODD])], ids=["bpe", "char"])
def test_tokenizers_survive_their_file(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    again = load_tokenizer(tmp_path)
    assert type(again) is type(tokenizer)
    assert again.vocab == tokenizer.vocab
    assert again.encode(ODD) == tokenizer.encode(ODD)


def test_gpt2s_two_files(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps(TRAINED.vocab))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in TRAINED.merges), ""]
    (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    assert load_tokenizer(tmp_path).encode(ODD) == TRAINED.encode(ODD)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c")
    with pytest.raises(DataError, match=r"merges\.txt, line 2"):
        load_tokenizer(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(DataError, match=r"merges\.txt cannot be read"):
        load_tokenizer(tmp_path)


def test_merges_may_be_written_as_text():
    content = TRAINED.to_json()
    content["model"] = content["model"] | {"merges": [" ".join(pair) for pair in TRAINED.merges]}
    assert from_json(content, "x").encode(ODD) == TRAINED.encode(ODD)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "not JSON"),
        ("[]", "type None"),
        ('{"model": {"type": "Unigram"}}', "'Unigram' is not known"),
        ('{"model": {"type": "BPE", "vocab": {}, "merges": []}}', "byte-level"),
        ('{"model": {"type": "BPE", "vocab": {}}, "pre_tokenizer": {"type": "ByteLevel"}}', "no sound"),
        ('{"model": {"type": "WordLevel", "vocab": {"a": 5}}}', "characters"),
    ],
)
def test_unsound_files_are_refused(content, word, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=word) as caught:
        load_tokenizer(tmp_path)
    assert "tokenizer.json" in str(caught.value)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected tokenizer\.json"):
        load_tokenizer(tmp_path)


# ---------------------------------------------------------------------- the reference


def test_hugging_face_reads_the_files_and_agrees():
    reference = pytest.importorskip("tokenizers")
    for tokenizer in (TRAINED, CharTokenizer.train([ODD])):
        other = reference.Tokenizer.from_str(json.dumps(tokenizer.to_json()))
        for text in (ODD, SMALL, "a" * 100, ""):
            known = text if tokenizer is TRAINED else "".join(c for c in text if c in tokenizer.vocab)
            assert other.encode(known).ids == tokenizer.encode(known)
            assert other.decode(tokenizer.encode(known), skip_special_tokens=False) == known
