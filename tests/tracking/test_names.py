"""Names and values in the form that MLflow accepts. (test_shipping sends such names to MLflow itself.)"""

import pytest

from expkit.tracking import names

KEYS = [
    ("val/acc", "val/acc"),
    ("lr-Adam", "lr-Adam"),
    ("val/acc@5", "val/acc_5"),
    ("größe: x.y z", "größe: x.y z"),
    ("a\nb", "a_b"),
    ("/val//acc/", "val/acc"),
    ("../x/./y", "x/y"),
    ("..", "_"),
    ("", "_"),
    ("+optim[0]", "_optim_0_"),
]


@pytest.mark.parametrize(("name", "legal"), KEYS)
def test_keys(name, legal):
    assert names.key(name) == legal
    assert names.key(legal) == legal


def test_long_keys_stay_different():
    first, second = names.key("a" * 300 + "x"), names.key("a" * 300 + "y")
    assert len(first) == len(second) == names.KEY_LENGTH
    assert first != second
    assert names.key("a" * 250) == "a" * 250


def test_long_values_show_that_they_were_cut():
    assert names.shortened("a" * 10, 10) == "a" * 10
    assert names.shortened("a" * 11, 10) == "a" * 9 + "…"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("http://me:secret@host/x", "http://me:***@host/x"),
        ("x=postgresql://u:p:q@h/db y", "x=postgresql://u:***@h/db y"),
        ("https://:token@host", "https://:***@host"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_passwords_are_hidden(text, hidden):
    assert names.redacted(text) == hidden
    assert names.has_password(text) == (text != hidden)


def test_parameters_are_flattened_to_dotted_names():
    nested = {"optim": {"lr": 0.1, "betas": (0.9, 0.99), "x": {"y": None}}, "hidden": [64], "none": {}, 3: True}
    assert dict(names.flatten(nested)) == {
        "optim.lr": "0.1",
        "optim.betas": "(0.9, 0.99)",
        "optim.x.y": "None",
        "hidden": "[64]",
        "none": "{}",
        "3": "True",
    }


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        ({}, []),
        ({str(n): "v" for n in range(250)}, [100, 100, 50]),
        ({str(n): "v" * 6000 for n in range(100)}, [83, 17]),
        ({str(n): "ü" * 6000 for n in range(20)}, [13, 7]),
        ({"a": "v" * 600_000, "b": "v"}, [1, 1]),
    ],
)
def test_chunks_are_within_count_and_bytes(texts, sizes):
    chunks = list(names.chunks(texts, 100))
    assert [len(chunk) for chunk in chunks] == sizes
    assert {name: text for chunk in chunks for name, text in chunk.items()} == texts
