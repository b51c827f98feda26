"""Bad input, through the command: one clear message (what, where, close match or what is legal), exit code 2, no
traceback, no run left RUNNING.

A row: the overrides, files to write first (name -> text), and fragments that the message must contain.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

GOOD_CSV = "a,b,c\n" + "".join(f"{i},{i % 7},{'yes' if i % 2 else 'no'}\n" for i in range(60))
MARK = {"conf/.expkit": ""}


class Row(NamedTuple):
    argv: list[str]
    said: list[str]
    files: Mapping[str, str | bytes] = MappingProxyType({})


# Found while composing and validating: nothing is loaded, no run directory is made.
CONFIG = {
    "unknown option": Row(["model=mpl"], ["override 'model=mpl'", "no model 'mpl'", "Did you mean 'mlp'?", "cnn, "]),
    "unknown group": Row(["modle=mlp"], ["override 'modle=mlp'", "no key 'modle'", "Did you mean 'model'"]),
    "unknown experiment": Row(["experiment=digits_cn"], ["no experiment 'digits_cn'", "Did you mean 'digits_cnn'"]),
    "mistyped key": Row(["model.hiden=[64]"], ["override 'model.hiden=[64]'", "no key 'hiden' in model", "'hidden'"]),
    "mistyped key of the optimizer": Row(["optim.l=0.1"], ["override 'optim.l=0.1'", "Did you mean 'lr'"]),
    "unknown argument of a model": Row(
        ["+model.hiden=[64]"],
        ["override '+model.hiden=[64]'", "not an argument of model 'mlp'", "hidden (list of int)"],
    ),
    "unknown argument in a file": Row(
        ["model=mine"],
        ["conf/model/mine.yaml: 'hiden' is not an argument of model 'mlp'", "Did you mean 'hidden'"],
        MARK | {"conf/model/mine.yaml": "name: mlp\nhiden: [64]\n"},
    ),
    "unknown name in a file": Row(
        ["model=mine"],
        ["conf/model/mine.yaml: there is no model 'mpl'", "'mlp'"],
        MARK | {"conf/model/mine.yaml": "name: mpl\n"},
    ),
    "wrong type": Row(["model.hidden=wide"], ["override 'model.hidden=wide'", "expected list of int", "'wide' (str)"]),
    "wrong type of the trainer's": Row(
        ["trainer.max_epochs=ten"], ["'max_epochs' of the trainer", "int", "'ten' (str)"]
    ),
    "number in quotes": Row(["optim.lr='0.1'"], ["expected float", "Write 0.1 without quotes"]),
    "no way to compile": Row(["trainer.compile=atuo"], ["'compile' of the trainer", "'auto'", "Did you mean 'auto'"]),
    "illegal choice": Row(["trainer.gradient_clip_algorithm=nrom"], ["'norm' or 'value'", "Did you mean 'norm'"]),
    "missing required value": Row(["data=csv"], ["conf/data/csv.yaml", "'data.path' must be given", "data.path=VALUE"]),
    "bad interpolation": Row(["optim.lr=${optim.rate}"], ["'optim.lr' refers to ${optim.rate}", "no 'optim.rate'"]),
    "bad interpolation in a file": Row(
        ["optim=mine"],
        ["conf/optim/mine.yaml: 'optim.lr' refers to ${vars.rate}"],
        MARK | {"conf/optim/mine.yaml": "name: adam\nlr: ${vars.rate}\n"},
    ),
    "unknown derived value": Row(["seed=${derived:num_clases}"], ["'seed'", "Did you mean 'num_classes'"]),
    "no override": Row(["model", "mlp"], ["'model' is not an override", "model=cnn"]),
    "unreadable override": Row(["model.hidden=[64"], ["override 'model.hidden=[64'", "A bracket is not closed"]),
    "several values": Row(["optim.lr=0.1,0.2"], ["gives several values", "Add -m", "optim.lr=[0.1,0.2]"]),
    "plus on an existing key": Row(["+seed=3"], ["override '+seed=3'", "leave out the '+'"]),
    "nothing to remove": Row(
        ["~callbacks.early_stoping"], ["override '~callbacks.early_stoping'", "nothing to remove"]
    ),
    "unknown flag": Row(["--multi"], ["'--multi' is not understood", "Did you mean '--multirun'"]),
    "unknown folder": Row(["-cd", "nowhere"], ["-cd nowhere: there is no such folder"]),
    "unknown primary config": Row(["-cn", "confg"], ["-cn confg", "Did you mean 'config'"]),
    "broken YAML": Row(
        ["model=mine"],
        ["conf/model/mine.yaml, line 2", "not valid YAML"],
        MARK | {"conf/model/mine.yaml": "name: mlp\n\thidden: 3\n"},
    ),
    "an unmarked conf folder": Row(
        ["model=mine"],
        ["conf/model/mine.yaml is not searched", "touch conf/.expkit"],
        {"conf/model/mine.yaml": "name: mlp\n"},
    ),
    "unknown plugin": Row(["plugins=[no_such_plugin]"], ["plugin 'no_such_plugin' cannot be imported"]),
    "broken plugin": Row(
        ["plugins=[broken_plugin]"],
        ["'broken_plugin' fails", "ZeroDivisionError", "line 2"],
        {"broken_plugin.py": "\n1 / 0\n"},
    ),
    "something to execute": Row(["+model._target_=os.system"], ["'_target_' has no effect"]),
    "unknown root key": Row(["+sede=3"], ["'sede' is not a key of the config", "Did you mean 'seed'"]),
    "conflicting device": Row(["device=cpu", "trainer.accelerator=gpu"], ["accelerator=gpu contradicts device=cpu"]),
    "several devices": Row(["trainer.devices=2"], ["does not name one device", "distributed=none"]),
    "a strategy": Row(["trainer.strategy=ddp"], ["trainer.strategy=ddp", "distributed=none"]),
    "unknown device": Row(["device.name=tpu"], ["there is no device 'tpu'", "cuda"]),
    "unknown callback argument": Row(
        ["+callbacks.early_stopping.patiense=3"],
        ["'patiense' is not an argument of callback", "Did you mean 'patience'"],
    ),
    "unknown logger": Row(["logger=mlfow"], ["no logger 'mlfow'", "Did you mean 'mlflow'"]),
}

# Found once the data, the model or a checkpoint is there.
RUN = {
    "no GPU": Row(["device=cuda"], ["cuda"]),
    "no such data file": Row(["data=csv", "data.path=none.csv"], ["none.csv"]),
    "data file without rows": Row(["data=csv", "data.path=d.csv"], ["d.csv"], {"d.csv": "a,b,c\n"}),
    "data file with a bad number": Row(
        ["data=csv", "data.path=d.csv"],
        ["d.csv", "line 31", "oops"],
        {"d.csv": GOOD_CSV.replace("29,1,yes", "oops,1,yes")},
    ),
    "data file with a short line": Row(
        ["data=csv", "data.path=d.csv"], ["d.csv", "line 31"], {"d.csv": GOOD_CSV.replace("29,1,yes", "29,1")}
    ),
    "unknown target column": Row(
        ["data=csv", "data.path=d.csv", "data.target=d"], ["d.csv", "'d'"], {"d.csv": GOOD_CSV}
    ),
    "not an npz file": Row(["data=npz", "data.path=d.npz"], ["d.npz"], {"d.npz": b"PK\x03\x04 torn"}),
    "unknown monitor": Row(["callbacks.early_stopping.monitor=val/los"], ["val/los", "Did you mean 'val/loss'"]),
    "unknown checkpoint monitor": Row(["callbacks.model_checkpoint.monitor=val/accuracy"], ["val/accuracy", "val/acc"]),
    "shapes that do not fit": Row(["model=cnn", "data=wine"], ["cnn", "13"]),
    "a binary loss for three classes": Row(["data=wine", "loss=bce_with_logits"], ["loss/bce_with_", "output_size 3"]),
    "loss and task that do not fit": Row(["data=diabetes", "loss=cross_entropy"], ["cross_entropy", "regression"]),
    "no such checkpoint": Row(["ckpt_path=none.ckpt"], ["none.ckpt"]),
    "foreign checkpoint": Row(["ckpt_path=weights.pt"], ["weights.pt"], {"weights.pt": b"\x80\x02}q\x00."}),
    "negative learning rate": Row(["optim.lr=-1"], ["lr", "-1"]),
    "epochs out of range": Row(["trainer.max_epochs=-5"], ["max_epochs", "-5"]),
    "unknown metric to rank by": Row(
        ["optimized_metric=val/accuracy"], ["optimized_metric", "val/accuracy", "val/acc"]
    ),
    "zero batch size": Row(["data.batch_size=0"], ["override 'data.batch_size=0'"]),
    "no memory for it": Row(["model.hidden=[8, 100000000000]"], ["override 'model.hidden=", "too big", "100000000000"]),
}

SMALL = [
    "logger=none",
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=false",
]


@pytest.fixture
def refused(expkit: Callable, workdir: Path):
    """Runs `expkit train` on a row and checks everything that all rows have in common; gives the message."""

    def check(row: Row, *more: str) -> str:
        for name, content in row.files.items():
            (workdir / name).parent.mkdir(parents=True, exist_ok=True)
            (workdir / name).write_bytes(content.encode() if isinstance(content, str) else content)
        code, _, err = expkit("train", *row.argv, *more)
        assert code == 2, err
        assert not [fragment for fragment in row.said if fragment not in err], err
        assert "Traceback" not in err
        assert len(re.findall(r"^\w+Error: ", err, re.MULTILINE)) == 1, err
        return err

    return check


@pytest.mark.parametrize("row", CONFIG.values(), ids=CONFIG.keys())
def test_refused_before_anything_is_loaded(refused, workdir, row):
    refused(row)
    assert not (workdir / "outputs").exists()


@pytest.mark.parametrize("row", RUN.values(), ids=RUN.keys())
def test_refused_before_or_at_the_first_step(refused, workdir, row):
    refused(row, *[setting for setting in SMALL if setting.split("=")[0] not in " ".join(row.argv)])
    assert unfinished(workdir / "outputs") == []


def unfinished(outputs: Path) -> list[str]:
    """Run directories whose journal began and did not end."""
    journals = {path.parent: path.read_text().splitlines() for path in outputs.rglob("metrics.jsonl")}
    return [
        str(path) for path, lines in journals.items() if lines and not any("end" in json.loads(row) for row in lines)
    ]


def test_there_are_enough_rows():
    assert len(CONFIG) + len(RUN) >= 30
