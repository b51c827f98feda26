"""Training on a device that is not the CPU, here the strict stand-in for CuPy: nothing of the trainer mixes the two."""

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.optim import Adam
from expkit.trainer import LambdaCallback, SupervisedTask
from tests import fake_device
from tests.trainer.conftest import loader, net


def task() -> SupervisedTask:
    model = nn.Sequential(net(dropout=0.3), nn.BatchNorm1d(3))
    loss = nn.CrossEntropyLoss(weight=[1.0, 2.0, 1.0])
    # eps: the gradient of a bias in front of a BatchNorm is nothing but rounding, which Adam would blow up.
    return SupervisedTask(model, loss, lambda params: Adam(params, lr=0.01, eps=1e-4))


def test_training_testing_and_resuming_there_equal_the_cpus(trainer, cuda, tmp_path):
    results = {}
    for accelerator in ("cpu", "gpu"):
        how = {"accelerator": accelerator, "default_root_dir": str(tmp_path / accelerator), "gradient_clip_val": 1.0}
        ek.manual_seed(1)
        trainer(max_epochs=1, **how).fit(task(), loader(shuffle=True), loader(16))
        ours = trainer(max_epochs=3, **how)
        ours.fit(task(), loader(shuffle=True), loader(16), ckpt_path="last")
        assert all(value.device.type == accelerator.replace("gpu", "cuda") for value in ours.task.state_dict().values())
        [tested] = ours.test(dataloaders=loader(16), ckpt_path="best", verbose=False)
        results[accelerator] = {**ours.callback_metrics, **tested}
    assert results["gpu"].keys() == results["cpu"].keys()
    for name, value in results["cpu"].items():
        assert results["gpu"][name] == pytest.approx(value, rel=1e-4), name


def test_what_a_step_copies(trainer, cuda):
    """Up: inputs and targets. Down: the loss (looked at, logged), and what the two metrics need."""
    copies = []

    def note(trainer, task, batch, batch_idx):
        copies.append(dict(fake_device.TRANSFERS))

    trainer(accelerator="gpu", callbacks=LambdaCallback(on_train_batch_start=note)).fit(task(), loader())
    step = {way: copies[3][way] - copies[2][way] for way in ("to_device", "to_host")}
    assert step == {"to_device": 2, "to_host": 6}


def test_predictions_come_back_as_they_were_made(trainer, cuda):
    model = net()
    expected = [output.numpy() for output in trainer(accelerator="cpu").predict(model, loader(16))]
    got = trainer(accelerator="gpu").predict(model, loader(16))
    assert got[0].device == cuda
    np.testing.assert_allclose([output.cpu().numpy() for output in got], expected, rtol=1e-5)
