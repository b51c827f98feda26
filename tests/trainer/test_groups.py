"""Parameter groups of a config: which parameters a row takes, what is refused, and whole runs."""

import re

import numpy as np
import pytest

import expkit
from expkit import nn
from expkit.config import compose, validate
from expkit.errors import ConfigError
from expkit.trainer import checkpoint, record
from expkit.trainer.groups import choose


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))


ALL = ["0.bias", "0.weight", "1.bias", "1.weight", "2.0.bias", "2.0.weight", "2.1.bias", "2.1.weight"]
ROWS = [
    ([{"params": "*.bias", "lr": 0}], [["0.bias", "1.bias", "2.0.bias", "2.1.bias"]]),
    ([{"modules": "LayerNorm", "lr": 0}], [["1.bias", "1.weight"]]),
    ([{"modules": ["LayerNorm", "Linear"], "params": "*.weight", "lr": 0}],
     [["0.weight", "1.weight", "2.0.weight", "2.1.weight"]]),
    ([{"params": ["0.*", "1.*"], "lr": 0}], [["0.bias", "0.weight", "1.bias", "1.weight"]]),
    ([{"params": "*.bias", "lr": 0}, {"params": "2.*", "lr": 1}],
     [["0.bias", "1.bias", "2.0.bias", "2.1.bias"], ["2.0.weight", "2.1.weight"]]),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), ROWS)
def test_the_first_row_that_fits_takes_a_parameter(rows, expected):
    m = model()
    chosen = choose(m, rows, "here")
    assert [sorted(name for name, _ in pairs) for pairs, _ in chosen.groups] == expected
    groups = chosen.of(m.parameters())
    taken = {name for names in expected for name in names}
    assert sorted(name for name, _ in groups[0]["params"]) == sorted(set(ALL) - taken)
    assert [group["lr"] for group in groups[1:]] == [row["lr"] for row in rows]
    optimizer = expkit.optim.SGD(groups, lr=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, *(row["lr"] for row in rows)]


def test_frozen_parameters_need_no_gradient_and_stay_out():
    m = model()
    chosen = choose(m, [{"params": "0.*", "freeze": True}], "here")
    assert not m[0].weight.requires_grad
    assert len(chosen.of(p for p in m.parameters() if p.requires_grad)[0]["params"]) == 6
    assert chosen.summary() == ["frozen: 0.weight, 0.bias"]


WRONG = [
    ([{"params": "*.bais", "lr": 0}], r"no parameter is called '\*.bais'.*\.bias"),
    ([{"modules": "Layernorm", "lr": 0}], "no 'Layernorm' with parameters.*LayerNorm"),
    ([{"params": "0.*", "lr": 0}, {"params": "0.bias", "lr": 1}], r"groups\[1\].*earlier rows took all"),
    ([{"params": "0.*", "modules": "LayerNorm", "lr": 0}], "no parameter fits all"),
    ([{"params": "*", "freeze": True}], "nothing to train"),
]


@pytest.mark.parametrize(("rows", "message"), WRONG)
def test_rows_that_fit_nothing_are_refused(rows, message):
    with pytest.raises(ConfigError, match=message):
        choose(model(), rows, "here")


FORMS = [
    ("optim.groups=[{weight_decay: 0}]", "a row is a mapping like"),
    ("optim.groups=[5]", "a row is a mapping like"),
    ("optim.groups=nothing", "is a list of rows"),
    ("optim.groups=[{params: 3, lr: 0}]", "a pattern or a list"),
    ("optim.groups=[{params: a, weigth_decay: 0}]", "Did you mean 'weight_decay'"),
    ("optim.groups=[{params: a, lr: fast}]", "lr"),
    ("optim.groups=[{params: a, freeze: true, lr: 1}]", "`freeze: true` alone"),
    ("optim.groups=[{params: a}]", "sets options"),
    ("optim=lbfgs", "evaluates the loss several times"),
]


@pytest.mark.parametrize(("override", "message"), FORMS)
def test_wrong_forms_are_refused_before_anything_is_built(override, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        validate(compose([override.replace(" ", "")]))


SHORT = ["data=digits", "model=mlp", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=3",
         "trainer.enable_progress_bar=false", "test=false"]  # fmt: skip


def test_a_run_trains_what_the_rows_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "optim.groups=[{params:'layers.0.*',freeze:true},{params:'*.bias',lr:0}]"
    first = expkit.train([*SHORT, "optim=sgd", "optim.lr=0.5", "optim.momentum=0", rows])
    assert "parameter group: 4 tensors" in (first.run_dir / record.LOG).read_text()
    begun = expkit.train([*SHORT, "optim=sgd", "optim.lr=0.0"])
    after, before = (checkpoint.load_weights(run.run_dir) for run in (first, begun))
    changed = {name for name in after if not np.array_equal(after[name].numpy(), before[name].numpy())}
    assert changed
    assert all(name.endswith("weight") and not name.startswith("layers.0.") for name in changed)


def test_a_pattern_that_fits_nothing_ends_the_run_before_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no parameter is called 'encoder"):
        expkit.train([*SHORT, "optim.groups=[{params:'encoder.*',lr:0}]"])
