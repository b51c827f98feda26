"""Freezing and unfreezing: what is trained when, at which learning rate, and after a resume."""

import numpy as np
import pytest

from expkit import nn
from expkit.errors import ConfigError, ExpkitError
from expkit.optim import SGD
from expkit.optim.schedulers import LambdaLR, StepLR
from expkit.registry import build
from expkit.tensor import manual_seed
from expkit.trainer import (
    BackboneFinetuning,
    BaseFinetuning,
    Callback,
    LambdaCallback,
    ModelCheckpoint,
    SupervisedTask,
)
from tests.trainer.conftest import loader


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        manual_seed(1)
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.backbone(x))


def task(scheduler=None):
    return SupervisedTask(Net(), nn.CrossEntropyLoss(), lambda p: SGD(p, lr=0.1, momentum=0.9), scheduler)


class Look(Callback):
    """After each epoch: the learning rates of the groups, and a weight of the backbone and of the head."""

    def __init__(self):
        self.rates, self.backbone, self.head = [], [], []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        if batch_idx == 0:
            self.rates.append([group["lr"] for group in trainer.optimizer.param_groups])

    def on_train_epoch_end(self, trainer, task):
        self.backbone.append(task.model.backbone[0].weight.detach().numpy().copy())
        self.head.append(task.model.head.weight.detach().numpy().copy())


def test_an_optimizer_of_all_parameters_keeps_its_learning_rate(trainer, caplog):
    class Whole(SupervisedTask):
        def configure_optimizers(self):
            return SGD(self.parameters(), lr=0.1)

    look = Look()
    ours = trainer(max_epochs=4, callbacks=[BackboneFinetuning(1), look])
    ours.fit(Whole(Net(), nn.CrossEntropyLoss()), loader())
    assert look.rates == [[0.1]] * 4
    assert not np.array_equal(look.backbone[0], look.backbone[1])
    assert caplog.text.count("is in the optimizer already") == 1


@pytest.mark.parametrize("compile", [False, "auto"])
def test_the_backbone_is_frozen_and_then_trained(trainer, compile):
    look, model = Look(), task()
    initial = model.model.backbone[0].weight.detach().numpy().copy()
    finetuning = BackboneFinetuning(2, backbone_initial_ratio_lr=0.2, train_bn=False)
    trainer(max_epochs=6, callbacks=[finetuning, look], compile=compile).fit(model, loader())
    assert [np.array_equal(w, initial) for w in look.backbone] == [True, True, False, False, False, False]
    assert not np.array_equal(look.head[0], look.head[1])
    assert look.rates[:2] == [[0.1], [0.1]]
    np.testing.assert_allclose(look.rates[2:], [[0.1, 0.02], [0.1, 0.04], [0.1, 0.08], [0.1, 0.1]])


def test_compiled_and_plain_give_the_same(trainer):
    ends = []
    for compile in (False, True):
        model = task()
        trainer(max_epochs=3, callbacks=BackboneFinetuning(1), compile=compile).fit(model, loader())
        ends.append(model.model.backbone[0].weight.detach().numpy())
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-4, atol=1e-6)


SCHEDULES = {"steps": lambda o: StepLR(o, 1, 0.5), "functions": lambda o: LambdaLR(o, lambda epoch: 0.9**epoch)}


@pytest.mark.parametrize("scheduler", [None, *SCHEDULES.values()], ids=["none", *SCHEDULES])
@pytest.mark.parametrize("epoch", [1, 3])
def test_resuming_is_exact(trainer, tmp_path, scheduler, epoch):
    class Killed(BaseException):
        pass

    def kill(trainer, task, batch, batch_idx):
        if trainer.current_epoch == epoch and batch_idx == 3:
            raise Killed

    def fit(name, *more, **how):
        model = task(scheduler)
        callbacks = [BackboneFinetuning(2, train_bn=False), ModelCheckpoint(every_n_train_steps=1), *more]
        trainer(max_epochs=4, callbacks=callbacks, default_root_dir=str(tmp_path / name)).fit(model, loader(), **how)
        return [x.detach().numpy() for x in (*model.parameters(), *model.buffers())]

    whole = fit("whole")
    with pytest.raises(Killed):
        fit("parts", LambdaCallback(on_train_batch_start=kill))
    parts = fit("parts", ckpt_path=tmp_path / "parts")
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_batch_norms_are_trained_unless_said_otherwise():
    model = Net()
    BaseFinetuning.freeze(model.backbone)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "backbone.1.weight", "backbone.1.bias", "head.weight", "head.bias"]  # fmt: skip
    BaseFinetuning.freeze([model.backbone], train_bn=False)
    assert not model.backbone[1].track_running_stats
    assert len(list(BaseFinetuning.filter_params(model))) == 2
    BaseFinetuning.make_trainable(model)
    assert model.backbone[1].track_running_stats
    assert len(list(BaseFinetuning.filter_params(model, train_bn=False))) == 4


def test_two_of_them_need_keys_of_their_own(trainer):
    with pytest.raises(ExpkitError, match="config_key"):
        trainer(callbacks=[BackboneFinetuning(1), BackboneFinetuning(2)])


def test_a_backbone_may_be_named(trainer):
    model, finetuning = task(), BackboneFinetuning(1, backbone="backbone.0")
    trainer(callbacks=finetuning).fit(model, loader(8))
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == [
        "model.backbone.0.weight", "model.backbone.0.bias"]  # fmt: skip
    with pytest.raises(ConfigError, match=r"no module 'body'.*Modules: model, model.backbone"):
        trainer(callbacks=BackboneFinetuning(1, backbone="body")).fit(task(), loader(8))
    with pytest.raises(ConfigError, match="unfreeze_backbone_at_epoch=0"):
        build("callback", {"name": "backbone_finetuning", "unfreeze_backbone_at_epoch": 0})
