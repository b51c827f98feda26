"""Checkpoint directories: whole or not there, damage found, foreign things refused with a word on what to do."""

import contextlib
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from expkit.errors import CheckpointError
from expkit.serialization import codec
from expkit.tensor import tensor
from expkit.trainer import checkpoint

NAN = float("nan")
TREE = {
    "epoch": 3, "global_step": 12, "none": None, "yes": True, "text": "é", "float": 0.1, "nan": NAN,
    "inf": -float("inf"),
    "list": [1, [2.5, "x"]], "tuple": (1, (2, 3)), "ints": {0: "a", 1: {"b": 2}}, "like ours": {"__tensor__": "x"},
    "path": Path("a/b"), "empty": {}, "array": np.arange(3), "big": 2**80,
    "state": {0: {"step": tensor(2.0), "exp_avg": tensor([[1.0, -0.0]])}},
}  # fmt: skip
STATE = {"layers.0.weight": tensor([[1.0, 2.0]]), "layers.0.bias": tensor([NAN])}


def same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "numpy"):
        a, b = a.numpy(), b.numpy()
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return type(a) is type(b) and (a == b or a != a)


@pytest.fixture
def saved(tmp_path):
    return checkpoint.save(
        tmp_path / "best", {**TREE, "state_dict": STATE}, config={"seed": 1}, metrics={"val/loss": NAN}
    )


def test_everything_comes_back(saved):
    loaded = checkpoint.load(saved)
    weights = loaded.pop("state_dict")
    assert same(loaded, TREE)
    assert {name: value.numpy().tobytes() for name, value in weights.items()} == {
        name: value.numpy().tobytes() for name, value in STATE.items()
    }
    assert same(dict(sorted(checkpoint.load_weights(saved).items())), dict(sorted(STATE.items())))


def test_the_manifest_says_what_is_inside(saved):
    manifest = checkpoint.read_manifest(saved)
    assert (manifest["format"], manifest["epoch"], manifest["global_step"]) == ("expkit-checkpoint", 3, 12)
    assert manifest["tensors"]["layers.0.weight"] == ["float32", [1, 2]]
    assert manifest["config"] == {"seed": 1}
    assert sorted(path.name for path in saved.iterdir()) == sorted([*checkpoint.FILES, checkpoint.MANIFEST])


def test_nothing_temporary_is_left(saved):
    checkpoint.save(saved, {"epoch": 4, "state_dict": STATE})
    assert [path.name for path in saved.parent.iterdir()] == ["best"]
    assert checkpoint.load(saved)["epoch"] == 4


@pytest.mark.parametrize(
    "value", [object(), {1, object()}, lambda: 0, range(3)], ids=["object", "set", "function", "range"]
)
def test_what_cannot_be_kept_is_refused(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"callbacks.mine.* cannot hold"):
        checkpoint.save(tmp_path / "c", {"callbacks": {"mine": value}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*checkpoint.FILES, checkpoint.MANIFEST])
@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "empty", "remove"])
def test_damage_is_found(saved, name, damage):
    file = saved / name
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        data[len(data) // 2] ^= 1
        changed = {"flip": bytes(data), "truncate": bytes(data[:-3]), "extend": bytes(data) + b" x", "empty": b""}
        file.write_bytes(changed[damage])
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(saved)
    assert str(saved) in str(caught.value)


def test_every_single_bit_counts(saved):
    rng = random.Random(0)
    for name in (*checkpoint.FILES, checkpoint.MANIFEST):
        good = (saved / name).read_bytes()
        for _ in range(12):
            bad = bytearray(good)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            (saved / name).write_bytes(bad)
            with pytest.raises(CheckpointError):
                checkpoint.load(saved)
        (saved / name).write_bytes(good)
    checkpoint.load(saved)


def test_another_version_is_named(saved):
    manifest = json.loads((saved / checkpoint.MANIFEST).read_text())
    (saved / checkpoint.MANIFEST).write_text(json.dumps({**manifest, "version": 99, "expkit": "9.9"}))
    with pytest.raises(CheckpointError, match=r"version 99, written by expkit 9\.9"):
        checkpoint.load(saved)


FOREIGN = {
    "nothing": (lambda path: None, "does not exist"),
    "pickle": (lambda path: path.write_bytes(b"\x80\x02}q\x00."), "Pickled checkpoints of other tools are not read"),
    "safetensors": (lambda path: path.with_suffix(".safetensors").write_bytes(b""), "does not exist"),
    "empty folder": (lambda path: path.mkdir(), "it has no manifest.json"),
    "other manifest": (
        lambda path: (path.mkdir(), (path / "manifest.json").write_text('{"name": "app"}')),
        "does not say",
    ),
    "manifest of a list": (lambda path: (path.mkdir(), (path / "manifest.json").write_text("[1]")), "does not say"),
}


@pytest.mark.parametrize(("make", "said"), FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_things_are_refused(tmp_path, make, said):
    make(tmp_path / "thing")
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(tmp_path / "thing")


def test_saving_never_replaces_what_is_no_checkpoint(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("x")
    with pytest.raises(CheckpointError, match="refusing to replace"):
        checkpoint.save(tmp_path / "data", {"state_dict": {}})
    assert (tmp_path / "data" / "precious").exists()


def test_last_and_run_directories_are_found(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    path = checkpoint.save(folder / "one", {"state_dict": STATE})
    with pytest.raises(CheckpointError, match=r"has no last\.json.* Checkpoints in .*: one"):
        checkpoint.resolve(folder / "last")
    checkpoint.point_last(path)
    for name in (path, folder / "last", folder / "last.json", folder, tmp_path / "run"):
        assert checkpoint.resolve(name) == path


@pytest.mark.parametrize(
    "text", ['{"checkpoint": "../../etc"}', '{"checkpoint": 3}', "[]", "{", '{"checkpoint": ".."}']
)
def test_a_bad_pointer_is_refused(tmp_path, text):
    (tmp_path / "last.json").write_text(text)
    with pytest.raises(CheckpointError):
        checkpoint.resolve(tmp_path)


def dying(monkeypatch, module, name, at):
    """Lets the `at`-th call of module.name raise, as if the process had died there."""
    real, calls = getattr(module, name), []

    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, call)
    return calls


@pytest.mark.parametrize("name", ["fsync", "open"])
@pytest.mark.parametrize("at", range(1, 7))
def test_whenever_a_save_dies_the_old_checkpoint_is_good(tmp_path, monkeypatch, name, at):
    path = checkpoint.save(tmp_path / "c", {"epoch": 1, "state_dict": STATE})
    dying(monkeypatch, os, name, at)
    with contextlib.suppress(KeyboardInterrupt):
        checkpoint.save(path, {"epoch": 2, "state_dict": STATE})
    monkeypatch.undo()
    checkpoint.clean(tmp_path)
    assert checkpoint.load(path)["epoch"] in (1, 2)
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_a_replacement_that_died_between_its_renames_is_undone(tmp_path):
    path = checkpoint.save(tmp_path / "c", {"epoch": 1, "state_dict": STATE})
    path.rename(tmp_path / ".old-c")
    assert checkpoint.load(path)["epoch"] == 1


def test_cleaning_leaves_the_living_alone(tmp_path):
    for name in (f".tmp-{os.getpid()}-aa-c", ".tmp-999999999-aa-c", ".tmp-odd", "c"):
        (tmp_path / name).mkdir()
    checkpoint.clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".tmp-{os.getpid()}-aa-c", "c"]


@pytest.mark.parametrize("text", [b"NaN", b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000, b"Infinity"])
def test_json_is_strict(text):
    with pytest.raises(CheckpointError, match="x is not valid JSON"):
        codec.loads(text, "x")


def test_a_state_that_refers_to_nothing_is_refused():
    with pytest.raises(CheckpointError, match="'gone'"):
        codec.decode({"a": {"__tensor__": "gone"}}, {})
