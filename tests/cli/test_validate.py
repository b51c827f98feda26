"""`expkit validate`: all problems at once, exit codes, JSON; nothing is run."""

import json
import re

import pytest


def numbered(out: str) -> list[str]:
    return re.findall(r"^\d+\. (.*)", out, re.MULTILINE)


def test_a_sound_config(expkit, workdir):
    code, out, err = expkit("validate", "experiment=wine_mlp", "model.dropout=0.2")
    assert (code, err) == (0, "")
    assert "no problems" in out
    assert "val/acc" in out
    assert list(workdir.iterdir()) == []


def test_as_json(expkit):
    code, out, _ = expkit("validate", "data=diabetes", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["valid"]
    assert found["problems"] == []
    assert found["data"]["input_shape"] == [10]
    assert found["choices"]["data"] == "diabetes"
    assert "val/mae" in found["metrics"]


PLANTED = {
    "modle=x": "Did you mean 'model'",
    "+model.hiden=3": "Did you mean 'hidden'",
    "optim.lr=fast": "expected float, got 'fast'",
    "trainer.max_epochs=ten": "'max_epochs' of the trainer",
    "data.batch_size=0": "batch_size=0 cannot be",
    "+callbacks.early_stopping.patiense=3": "Did you mean 'patience'",
    "seed=a": "'seed' of the config",
}


@pytest.mark.parametrize("count", [1, 2, len(PLANTED)])
def test_every_mistake_is_found_once(expkit, count):
    planted = dict(list(PLANTED.items())[-count:])
    code, out, _ = expkit("validate", *planted)
    found = numbered(out)
    assert code == 1
    assert len(found) == count, out
    assert not [said for said in planted.values() if said not in out], out
    assert out.rstrip().endswith(f"{count} problem{'s' if count > 1 else ''}")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["data=wine", "model=cnn"], "needs images"),
        (["data=digits", "loss=mse"], "is for"),
        (["data=csv", "data.path=none.csv"], "there is no such file"),
        (["data=csv"], "'data.path' must be given"),
        (["callbacks.early_stopping.monitor=val/los"], "Did you mean 'val/loss'"),
        (["optimized_metric=val/accuracy"], "no such metric will be logged"),
        (["model.hidden=[0]"], "model"),
        (["callbacks.early_stopping.patience=-1"], "patience"),
        (["ckpt_path=none.ckpt"], "none.ckpt"),
        (["data.val_fraction=1.5"], "val_fraction=1.5 cannot be"),
        (["data.val_fraction=0.6", "data.test_fraction=0.4"], "leave no training samples"),
        (["plugins=[no_such_plugin]"], "plugin 'no_such_plugin' cannot be imported"),
        (["experiment=digits_cn"], "there is no experiment 'digits_cn'"),
        (["model=mpl", "optim=adm"], "2 problems"),
        (["optim.lr=${optim.rate}"], "no 'optim.rate'"),
        (["device=cpu", "trainer.accelerator=gpu"], "contradicts device=cpu"),
    ],
    ids=str,
)
def test_what_is_found(expkit, argv, said):
    code, out, _ = expkit("validate", *argv)
    assert code == 1
    assert said in out


def test_a_primary_config_that_is_not_there(expkit):
    code, out, _ = expkit("validate", "-cn", "confg")
    assert code == 1
    assert "Did you mean 'config'" in out


def test_flags_are_refused_as_everywhere(expkit):
    code, _, err = expkit("validate", "--jsn")
    assert code == 2
    assert "Did you mean '--json'" in err
