"""Callbacks on a device that is not the CPU, here the strict stand-in for CuPy."""

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.optim import SGD
from expkit.trainer import (
    EMAWeightAveraging,
    LearningRateFinder,
    ModelCheckpoint,
    PredictionWriter,
    StochasticWeightAveraging,
    SupervisedTask,
    ThroughputMonitor,
    checkpoint,
)  # fmt: skip
from tests.trainer.conftest import loader, net


def task() -> SupervisedTask:
    model = nn.Sequential(net(), nn.BatchNorm1d(3))
    return SupervisedTask(model, nn.CrossEntropyLoss(), lambda p: SGD(p, lr=0.05, momentum=0.9))


CALLBACKS = {
    "ema": lambda: EMAWeightAveraging(decay=0.7),
    "ema on the cpu": lambda: EMAWeightAveraging(decay=0.7, device="cpu"),
    "swa": lambda: StochasticWeightAveraging(0.02, 2),
    "finder": lambda: LearningRateFinder(min_lr=1e-4, num_training_steps=20),
}


@pytest.mark.parametrize("make", CALLBACKS.values(), ids=CALLBACKS.keys())
def test_results_equal_the_cpus(trainer, cuda, tmp_path, make):
    found = []
    for accelerator in ("cpu", "gpu"):
        ek.manual_seed(1)
        callbacks = [make(), ModelCheckpoint(monitor="val/loss"), ThroughputMonitor()]
        ours = trainer(
            max_epochs=3, accelerator=accelerator, callbacks=callbacks, default_root_dir=str(tmp_path / accelerator)
        )
        ours.fit(task(), loader(shuffle=True), loader(16))
        kept = checkpoint.load_weights(ours.checkpoint_callback.best_model_path)
        found.append({name: x.numpy() for name, x in kept.items()})
    cpu, gpu = found
    assert cpu.keys() == gpu.keys()
    for name, value in cpu.items():
        np.testing.assert_allclose(gpu[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_predictions_are_written_from_there(trainer, cuda, tmp_path):
    trainer(accelerator="gpu", callbacks=PredictionWriter(tmp_path / "out")).predict(net(), loader(8))
    assert (tmp_path / "out" / "loader0_batch00000.npz").is_file()
