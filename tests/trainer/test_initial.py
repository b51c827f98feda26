"""Weights to begin with, from all kinds of files, and frozen parameters."""

import numpy as np
import pytest

from expkit import nn
from expkit.config.initial import WeightsEntry, frozen_of, weights_of
from expkit.errors import CheckpointError, ConfigError
from expkit.serialization import tensorfile
from expkit.trainer import SupervisedTask
from expkit.trainer.initial import begin_with, freeze, take_weights
from tests.trainer.compiling import adam
from tests.trainer.conftest import loader, net


def dump(path, model, **changes):
    named = {name: value.numpy() for name, value in model.state_dict().items()} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tensorfile.dump({name: value for name, value in named.items() if value is not None}))
    return str(path)


def same(first, second):
    return all(np.array_equal(x.numpy(), second.state_dict()[name].numpy()) for name, x in first.state_dict().items())


def test_weights_come_from_files_folders_checkpoints_and_runs(trainer, tmp_path):
    source = net(1)
    ours = trainer(default_root_dir=str(tmp_path / "run"))
    file, folder = dump(tmp_path / "mine.safetensors", source), dump(tmp_path / "hf" / "model.safetensors", source)
    ours.fit(source, loader())
    trained = net(1)
    checkpoint = next(iter((tmp_path / "run" / "checkpoints").glob("*/manifest.json"))).parent
    fresh = [(file, trained), (folder, trained), (tmp_path / "hf", trained)]
    fitted = [(tmp_path / "run", source), (checkpoint, source), (checkpoint / "model.safetensors", source)]
    for path, expected in fresh + fitted:
        model = net(2)
        assert take_weights(model, WeightsEntry(path=str(path))).endswith("4 of 4 tensors")
        assert same(expected, model), path


def test_what_fits_is_taken_and_the_rest_told(tmp_path):
    changes = {"0.bias": None, "2.weight": np.zeros((5, 8), np.float32), "more": np.zeros(2, np.float32)}
    path = dump(tmp_path / "part.safetensors", net(1), **changes)
    model, before = net(2), net(2)
    said = take_weights(model, WeightsEntry(path=path, strict=False))
    assert said.partition(": ")[2] == (
        "2 of 4 tensors; not in the file: 0.bias; not in the model: more; of another shape: 2.weight (5, 8) for (3, 8)"
    )
    kept = {name for name, x in model.state_dict().items() if np.array_equal(x.numpy(), before.state_dict()[name])}
    assert kept == {"0.bias", "2.weight"}
    with pytest.raises(CheckpointError, match=r"not in the file: 0.bias; .* weights.strict=false takes what fits"):
        take_weights(model, WeightsEntry(path=path))


def test_a_prefix_is_stripped_or_suggested(tmp_path):
    path = dump(tmp_path / "wrapped.safetensors", nn.Sequential(net(1)))
    with pytest.raises(CheckpointError, match=r"All but a prefix fits: weights.strip=0\.$"):
        take_weights(net(2), WeightsEntry(path=path, strict=False))
    model = net(2)
    take_weights(model, WeightsEntry(path=path, strip="0."))
    assert same(net(1), model)


def test_pickled_files_are_not_read(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="Pickled files of other tools are not read"):
        take_weights(net(), WeightsEntry(path=str(tmp_path / "model.bin")))


@pytest.mark.parametrize("compile", [False, True])
def test_frozen_parameters_stay(trainer, compile):
    model = net(1)
    task = SupervisedTask(model, nn.CrossEntropyLoss(), adam)
    begin_with(model, None, ["0.*"], "here")
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    trainer(compile=compile).fit(task, loader())
    moved = {name for name, value in model.state_dict().items() if not np.array_equal(value.numpy(), before[name])}
    assert moved == {"2.weight", "2.bias"}


def test_patterns_that_freeze_nothing_or_everything_are_refused():
    with pytest.raises(ConfigError, match=r"here: freeze: no parameter is called 'frist.\*'.*0.weight"):
        freeze(net(), ["frist.*"], "here")
    with pytest.raises(ConfigError, match="nothing to train"):
        freeze(net(), ["*"], "here")


WRONG = {
    "weights": (weights_of, {"weights": 3}, "weights is a path or"),
    "a key": (weights_of, {"weights": {"path": "x", "stricct": True}}, "Did you mean 'strict'"),
    "no path": (weights_of, {"weights": {"strict": True}}, "'path'"),
    "freeze": (frozen_of, {"freeze": {"a": 1}}, "freeze is a list of patterns"),
}


@pytest.mark.parametrize(("read", "config", "said"), WRONG.values(), ids=WRONG.keys())
def test_wrong_entries(read, config, said):
    with pytest.raises(ConfigError, match=said):
        read(config, lambda key: f"conf/config.yaml: {key}")


def test_entries():
    assert weights_of({"weights": "a"}, str) == WeightsEntry(path="a")
    assert weights_of({}, str) is None
    assert frozen_of({"freeze": "a.*"}, str) == ["a.*"]
