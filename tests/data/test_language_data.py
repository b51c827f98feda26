"""Windows of tokens, texts of one's own, and the source text of the standard library."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import expkit as ek
from expkit import registry
from expkit.data.datasets.pystdlib import shared_out, source_files
from expkit.data.text import ByteLevelBPE, TokenWindows, cache
from expkit.data.text.files import save_tokenizer
from expkit.errors import ConfigError, DataError
from expkit.registry import build


@pytest.fixture(autouse=True)
def own_cache(workdir, monkeypatch):
    """Trained tokenizers are kept in this test's folder alone."""
    monkeypatch.setenv("EXPKIT_TOKENIZER_CACHE", str(workdir / "tokenizers"))


def make(name, **arguments):
    return build("data", {"name": name, **arguments})


# ---------------------------------------------------------------------- windows


@pytest.mark.parametrize(("n", "size", "stride", "starts"), [
    (11, 5, None, [0, 5]), (10, 5, None, [0]), (12, 5, 3, [0, 3, 6]), (7, 6, None, [0]), (4, 1, None, [0, 1, 2]),
])  # fmt: skip
def test_windows_are_shifted_by_one(n, size, stride, starts):
    windows = TokenWindows(np.arange(100, 100 + n), size, stride)
    assert len(windows) == len(starts)
    x, y = windows.batch(np.arange(len(starts)))
    assert (x.dtype, y.dtype, x.shape) == (ek.int64, ek.int64, (len(starts), size))
    np.testing.assert_array_equal(x.numpy(), np.array(starts)[:, None] + 100 + np.arange(size))
    np.testing.assert_array_equal(y.numpy(), x.numpy() + 1)
    assert all((a == b).all() for a, b in zip(windows.tensors, (x, y), strict=True))
    one = windows[-1]
    assert (one[0].tolist(), one[1].tolist()) == (x[-1].tolist(), y[-1].tolist())
    with pytest.raises(IndexError):
        windows[len(windows)]


@pytest.mark.parametrize(("size", "stride", "word"), [(0, None, "block_size=0"), (3, 0, "stride=0"), (9, None, "more")])
def test_windows_that_cannot_be(size, stride, word):
    with pytest.raises(ConfigError, match=word):
        TokenWindows(np.arange(9), size, stride)


# ---------------------------------------------------------------------- a text file


def test_a_text_is_cut_in_order(workdir):
    text = "".join(chr(97 + n % 26) for n in range(1000))
    (workdir / "a.txt").write_text(text)
    module = make("text", path="a.txt", block_size=10, val_fraction=0.2, test_fraction=0.1)
    assert (module.task, module.input_shape, module.output_size) == ("language_modeling", (10,), 26)
    assert module.derived["num_classes"] is None
    parts = [module.tokenizer.decode(part.tokens) for part in (module.train, module.val, module.test)]
    assert [len(part) for part in parts] == [700, 200, 100]
    assert "".join(parts) == text
    x, y = next(iter(module.train_dataloader()))
    assert (x.shape, y.shape) == ((64, 10), (64, 10))


def test_a_bpe_learns_from_the_training_part_alone_and_is_kept(workdir, monkeypatch):
    (workdir / "a.txt").write_text("abc abc abd " * 50 + "xyz xyz " * 20)
    how = {"path": "a.txt", "tokenizer": "bpe", "vocab_size": 270, "block_size": 8, "val_fraction": 0}
    how["test_fraction"] = 0.25
    module = make("text", **how)
    assert module.val is None
    assert not any("x" in "".join(pair) for pair in module.tokenizer.merges)
    [kept] = (workdir / "tokenizers").iterdir()
    content = kept.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(ByteLevelBPE, "train", None)  # it must not be trained again
        assert make("text", **how).tokenizer.vocab == module.tokenizer.vocab
    kept.write_text(content[:100])
    assert make("text", **how).tokenizer.vocab == module.tokenizer.vocab
    assert kept.read_text() == content
    assert not [path for path in (workdir / "tokenizers").iterdir() if path.name.startswith(".")]


def test_nothing_is_kept_where_that_is_switched_off(workdir, monkeypatch):
    monkeypatch.setenv("EXPKIT_TOKENIZER_CACHE", "off")
    assert cache.kept(["a"], {}, lambda: {"made": 1}) == {"made": 1}
    monkeypatch.setenv("EXPKIT_TOKENIZER_CACHE", str(workdir / "a.txt" / "x"))
    (workdir / "a.txt").write_text("")
    assert cache.kept(["a"], {}, lambda: {"made": 1}) == {"made": 1}
    monkeypatch.delenv("EXPKIT_TOKENIZER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir))
    assert cache.folder() == workdir / "expkit" / "tokenizers"


def test_a_tokenizer_of_a_file(workdir):
    (workdir / "a.txt").write_text("abc abc abd " * 50)
    tokenizer = ByteLevelBPE.train(["abc abd"], 260)
    save_tokenizer(tokenizer, workdir)
    for path in (".", "tokenizer.json"):
        module = make("text", path="a.txt", tokenizer=path, block_size=8)
        assert module.output_size == tokenizer.vocab_size
        assert module.train.tokens[-1] == tokenizer.vocab["<|endoftext|>"]


@pytest.mark.parametrize(("content", "how", "error", "words"), [
    (None, {}, DataError, ["a.txt", "cannot be read"]),
    (b"", {}, DataError, ["a.txt is empty"]),
    (b"ab\ncd\xff", {}, DataError, ["a.txt, line 2", "byte 5", "0xff", "iconv"]),
    (b"abc", {}, ConfigError, ["train", "block_size=128", "more text"]),
    (b"abc" * 100, {"block_size": 50}, ConfigError, ["val", "block_size=50", "30"]),
    (b"abc" * 100, {"val_fraction": 0.5, "test_fraction": 0.5}, ConfigError, ["leave no text"]),
    (b"abc" * 100, {"val_fraction": -0.1}, ConfigError, ["val_fraction=-0.1"]),
    (b"abc" * 100, {"tokenizer": "cha"}, ConfigError, ["tokenizer='cha'", "Did you mean 'char'"]),
    (b"abc" * 100, {"tokenizer": "bpe", "vocab_size": 9}, ConfigError, ["vocab_size=9"]),
])  # fmt: skip
def test_texts_that_cannot_be(workdir, content, how, error, words):
    if content is not None:
        (workdir / "a.txt").write_bytes(content)
    with pytest.raises(error) as caught:
        make("text", path="a.txt", **how)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_line_ends_are_those_of_unix(workdir):
    (workdir / "a.txt").write_bytes("\ufeffab\r\ncd\re\n".encode() * 40)
    assert "\r" not in make("text", path="a.txt", block_size=4).tokenizer.vocab


# ---------------------------------------------------------------------- the standard library


def test_the_standard_library_is_the_same_each_time():
    how = {"modules": ["json", "email", "ast"], "max_chars": 120_000, "val_fraction": 0.2, "test_fraction": 0.2}
    first, again, other = make("pystdlib", **how), make("pystdlib", **how), make("pystdlib", **how, seed=1)
    assert first.files == again.files
    assert first.files != other.files
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(first, part).tokens, getattr(again, part).tokens)
    tokens = [len(getattr(first, part).tokens) for part in ("train", "val", "test")]
    assert sum(tokens) == 120_000
    assert all(0 < size <= 24_000 for size in tokens[1:])
    source = "".join(first.tokenizer.decode(first.train.tokens))
    assert "def " in source
    assert "import" in source


def test_files_are_in_order_and_without_tests():
    files = source_files()
    assert files == sorted(set(files), key=files.index)
    names = {path.name for path in files}
    assert {"argparse.py", "decoder.py", "__init__.py"} <= names
    assert not [path for path in files if {"test", "site-packages", "__pycache__"} & set(path.parts[-3:-1])]
    names = [path.name for path in source_files(["json"])]
    assert names == sorted(names)
    assert {"__init__.py", "decoder.py", "encoder.py"} < set(names)


def test_files_are_shared_out_whole():
    parts = shared_out(["c" * 30, "a" * 10, "b" * 5, "d" * 5], 0.1, 0.2)
    assert [[text[0] for text in part] for part in parts] == [["c", "d"], ["b"], ["a"]]
    parts = shared_out(["c" * 30, "a" * 10, "b" * 5], 0.01, 0.01)
    assert [[text[0] for text in part] for part in parts] == [["c"], ["a"], ["b"]]
    assert shared_out(["a", "b"], 0.0, 0.0) == (["a", "b"], [], [])
    with pytest.raises(DataError, match="too few"):
        shared_out(["a", "b"], 0.4, 0.4)


@pytest.mark.parametrize(("how", "word"), [
    ({"modules": ["jsn"]}, "Did you mean 'json'"), ({"max_chars": 0}, "max_chars=0"),
    ({"tokenizer": "word"}, "tokenizer='word'"),
])  # fmt: skip
def test_standard_libraries_that_cannot_be(how, word):
    with pytest.raises(ConfigError, match=re.escape(word)):
        make("pystdlib", **how)


def test_configs_state_the_defaults():
    for name in ("pystdlib", "text"):
        entry = {a.name: a.default for a in registry.describe("data", name).arguments}
        lines = (line.partition("#")[0] for line in config_of("data", name).splitlines()[1:])
        stated = {key: json_value(value) for key, _, value in (line.partition(":") for line in lines)}
        assert stated.pop("name") == name
        assert stated == {key: "???" if key == "path" else value for key, value in entry.items()}


def config_of(group, name):
    return (Path(__file__).parents[2] / "conf" / group / f"{name}.yaml").read_text()


def json_value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()
