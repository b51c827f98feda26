"""Hyperparameters: what is kept of a constructor's arguments, in checkpoints, and tasks made of those again."""

import json

import numpy as np
import pytest

from expkit import nn
from expkit.errors import CheckpointError, ConfigError
from expkit.optim import SGD
from expkit.trainer import Task
from expkit.trainer.checkpoint import load
from tests.trainer.conftest import loader


class Mine(Task):
    def __init__(self, width: int = 8, lr: float = 0.1, shape: tuple[int, ...] = (4,), head: nn.Module | None = None):
        super().__init__()
        self.save_hyperparameters(ignore="head")
        self.net = nn.Sequential(nn.Linear(shape[0], width), head or nn.Linear(width, 3))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return nn.CrossEntropyLoss()(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=self.hparams.lr)


class Derived(Mine):
    """Its own arguments are kept as well, and those given to the base are what the base was given."""

    def __init__(self, depth: int = 2, **rest):
        super().__init__(width=depth * 4, **rest)
        self.save_hyperparameters({"note": "mine"})


class Some(Task):
    def __init__(self, a, b=2, *, c=3):
        super().__init__()
        self.save_hyperparameters("a", "c")


def test_arguments_are_kept_by_name():
    assert Mine(lr=0.5).hparams == {"width": 8, "lr": 0.5, "shape": (4,)}
    assert Derived(3, lr=0.2).hparams == {"width": 12, "lr": 0.2, "shape": (4,), "depth": 3, "note": "mine"}
    assert Some(1).hparams == {"a": 1, "c": 3}
    assert Some(1).hparams.c == 3
    assert "hparams" not in Mine().state_dict()


def test_a_task_is_made_of_its_checkpoint_again(trainer, tmp_path):
    task = Mine(width=5, lr=0.3)
    ours = trainer()
    ours.fit(task, loader())
    path = ours.save_checkpoint(tmp_path / "saved")
    state = json.loads((path / "state.json").read_text())
    assert state["hyper_parameters"]["width"] == 5
    assert load(path)["hyper_parameters"] == {"width": 5, "lr": 0.3, "shape": (4,)}
    for place in (path, ours.run_dir):
        again = Mine.load_from_checkpoint(place)
        assert again.hparams == task.hparams
        for name, value in task.state_dict().items():
            assert np.array_equal(value.numpy(), again.state_dict()[name].numpy())
    assert Mine.load_from_checkpoint(path, lr=0.7).hparams.lr == 0.7


def test_loggers_get_them(trainer):
    ours = trainer()
    ours.fit(Mine(width=5), loader())
    lines = [json.loads(line) for line in (ours.run_dir / "metrics.jsonl").read_text().splitlines()]
    [params] = [line["params"] for line in lines if "params" in line]
    assert {name: str(value) for name, value in params.items()} == {"width": "5", "lr": "0.1", "shape": "(4,)"}


def test_what_a_checkpoint_cannot_give_is_said(trainer, tmp_path):
    ours = trainer()
    ours.fit(Mine(), loader())
    path = ours.save_checkpoint(tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"Mine has no argument 'widht'. Did you mean 'width'"):
        Mine.load_from_checkpoint(path, widht=3)
    with pytest.raises(CheckpointError, match=r"Some needs a, which .* load_from_checkpoint\(path, a=...\)"):
        Some.load_from_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"net\.1"):
        Mine.load_from_checkpoint(path, head=nn.Sequential(nn.Linear(8, 3)))
    loose = Mine.load_from_checkpoint(path, strict=False, head=nn.Sequential(nn.Linear(8, 3)))
    assert np.array_equal(loose.net[0].weight.detach().numpy(), ours.task.net[0].weight.detach().numpy())


class Keeping(Task):
    def __init__(self, value=None, names=(), **how):
        super().__init__()
        self.save_hyperparameters(*names, **how)


WRONG = {
    "a module": (lambda: Keeping(nn.Linear(1, 1)), r"value is Linear, .*save_hyperparameters\(ignore=\['value'\]\)"),
    "a function in a list": (lambda: Keeping([1, len]), r"value\[1\] is builtin_function_or_method"),
    "an unknown name": (lambda: Keeping(1, ["valeu"]), "Keeping has no argument 'valeu'. Did you mean 'value'"),
    "an unknown name to ignore": (lambda: Keeping(1, ignore="valeu"), "Did you mean 'value'"),
    "a number": (lambda: Keeping(1, [3]), "takes names and mappings, got int"),
}


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_kept(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


def test_an_unknown_hyperparameter_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"no hyperparameter 'lrr'. Did you mean 'lr'"):
        _ = Mine().hparams.lrr
