"""Callbacks that look and keep: throughput, devices, states of failed runs, predictions."""

import contextlib
import json

import numpy as np
import pytest

from expkit import nn
from expkit.data import DataLoader, TensorDataset
from expkit.errors import ConfigError
from expkit.optim import SGD
from expkit.registry import build
from expkit.tensor import from_numpy, no_grad
from expkit.trainer import (
    BasePredictionWriter,
    DeviceStatsMonitor,
    LambdaCallback,
    OnExceptionCheckpoint,
    PredictionWriter,
    SupervisedTask,
    Task,
    ThroughputMonitor,
    checkpoint,
)  # fmt: skip
from expkit.trainer.callbacks import throughput
from tests.trainer.conftest import loader, net


def logged(trainer):
    found = {}
    for line in (trainer.run_dir / "metrics.jsonl").read_text().splitlines():
        line = json.loads(line)
        for name, value in line.get("metrics", {}).items():
            found.setdefault(name, []).append((line["step"], value))
    return found


def test_throughput_is_what_the_clock_says(trainer, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(throughput, "monotonic", lambda: clock[0])

    def tick(trainer, task, batch, batch_idx):
        clock[0] += 0.5

    def validate(trainer, task):
        clock[0] += 30.0

    ticking = LambdaCallback(on_train_batch_start=tick, on_validation_end=validate)
    slow = LambdaCallback(on_validation_start=validate)
    monitor = ThroughputMonitor(window_size=3)
    ours = trainer(
        max_epochs=2, callbacks=[ticking, monitor, slow], log_every_n_steps=2, num_sanity_val_steps=0, compile=False
    )
    task = SupervisedTask(net(), nn.CrossEntropyLoss())
    task.flops_per_batch = 1000
    ours.fit(task, loader(), loader(16))
    values = logged(ours)
    assert values["train/samples"] == [(step, 8.0 * step) for step in (2, 4, 6, 8, 10, 12)]
    assert [value for _, value in values["train/device/batches_per_sec"][:3]] == pytest.approx([2.0, 2.0, 2.0])
    assert [value for _, value in values["train/device/samples_per_sec"][:3]] == pytest.approx([16.0, 16.0, 16.0])
    assert values["train/device/flops_per_sec"][0][1] == pytest.approx(2000.0)
    assert values["validate/samples"] == [(6, 16.0), (12, 16.0)]
    assert "train/device/items_per_sec" not in values


def test_operations_are_counted_in_the_compiled_step(trainer):
    width = 64
    x = np.random.default_rng(0).normal(size=(64, width)).astype(np.float32)
    data = DataLoader(TensorDataset(from_numpy(x), from_numpy(x)), batch_size=16)
    monitor = ThroughputMonitor()
    ours = trainer(callbacks=monitor, log_every_n_steps=1, compile=True)
    task = SupervisedTask(
        nn.Linear(width, width), nn.MSELoss(), lambda p: SGD(p, lr=0.1), task="regression", metrics=dict
    )
    ours.fit(task, data)
    products = 2 * 16 * width * width * 2  # x @ W.T and its gradient to W; x needs none
    [program] = throughput.whole_steps(ours)
    assert products < throughput.operations(program) < 1.2 * products
    assert "train/device/flops_per_sec" in logged(ours)


@pytest.mark.parametrize("samples", [48, 41])
def test_operations_of_a_sample_are_the_same_when_the_last_batch_is_smaller(trainer, samples):
    monitor = ThroughputMonitor()
    ours = trainer(max_epochs=2, callbacks=monitor, log_every_n_steps=1, compile=True)
    ours.fit(SupervisedTask(net(), nn.CrossEntropyLoss()), loader(samples))
    values = logged(ours)
    rates = dict(values["train/device/samples_per_sec"])
    each = [value / rates[step] for step, value in values["train/device/flops_per_sec"]]
    assert each == pytest.approx([max(map(throughput.operations, throughput.whole_steps(ours))) / 8] * len(each))


def test_the_step_that_ends_an_epoch_is_logged(trainer):
    callbacks = [ThroughputMonitor(), DeviceStatsMonitor()]
    ours = trainer(callbacks=callbacks, accumulate_grad_batches=2, log_every_n_steps=3)
    ours.fit(net(), loader(40))
    assert [step for step, _ in logged(ours)["train/samples"]] == [3]
    assert [step for step, _ in logged(ours)["device/process_memory_megabytes"]] == [3]


def test_tokens_are_counted_where_inputs_are_whole_numbers():
    ids = from_numpy(np.zeros((4, 7), np.int64))
    assert throughput.tokens((ids, ids)) == 7
    assert throughput.tokens((from_numpy(np.zeros((4, 7), np.float32)), ids)) == 0


def test_device_stats(trainer):
    ours = trainer(callbacks=DeviceStatsMonitor(), log_every_n_steps=3)
    ours.fit(net(), loader())
    values = logged(ours)
    assert [step for step, _ in values["device/process_cpu_percent"]] == [3, 6]
    assert 10 < values["device/process_memory_megabytes"][0][1] < 1e6
    assert 0 < values["device/system_memory_usage_percentage"][0][1] <= 100
    quiet = DeviceStatsMonitor(cpu_stats=False)
    quiet.on_train_start(ours, None)
    assert set(quiet.values(ours)) == {"process_cpu_percent", "process_memory_megabytes"}


def failing(step, hook="on_train_batch_start"):
    def fail(trainer, task, batch, batch_idx):
        if trainer.progress.batches == step:
            raise ZeroDivisionError

    return LambdaCallback(**{hook: fail})


def test_the_state_of_a_failed_run_can_be_gone_on_from(trainer, tmp_path):
    def weights(*callbacks, **how):
        task = SupervisedTask(net(), nn.CrossEntropyLoss())
        ours = trainer(callbacks=list(callbacks), max_epochs=2, enable_checkpointing=False)
        with contextlib.suppress(ZeroDivisionError):
            ours.fit(task, loader(), **how)
        return [p.tolist() for p in task.parameters()]

    whole = weights()
    weights(failing(8), OnExceptionCheckpoint(tmp_path / "kept"))
    assert weights(ckpt_path=tmp_path / "kept" / "on_exception") == whole


@pytest.mark.parametrize(("batches", "gather"), [(0, 1), (3, 2)])
def test_half_a_step_is_not_kept(trainer, tmp_path, batches, gather):
    keep = OnExceptionCheckpoint(tmp_path / "kept")
    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[failing(batches), keep], accumulate_grad_batches=gather).fit(net(), loader())
    assert not (tmp_path / "kept").exists()


def test_predictions_are_written(trainer, tmp_path):
    model = net()
    writer = PredictionWriter(tmp_path / "out", "batch_and_epoch")
    trainer(callbacks=writer).predict(model, [loader(20), loader(8)])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "loader0.npz", "loader0_batch00000.npz", "loader0_batch00001.npz", "loader0_batch00002.npz",
        "loader1.npz", "loader1_batch00000.npz"]  # fmt: skip
    with no_grad():
        expected = np.concatenate([model(x).numpy() for x, _ in loader(20)])
    found = np.load(tmp_path / "out" / "loader0.npz")
    np.testing.assert_allclose(found["prediction"], expected, rtol=1e-6)
    assert found["index"].tolist() == list(range(20))
    last = np.load(tmp_path / "out" / "loader0_batch00002.npz")
    np.testing.assert_allclose(last["prediction"], expected[16:], rtol=1e-6)
    assert last["index"].tolist() == [16, 17, 18, 19]


def test_predictions_that_are_no_tensors_are_refused(trainer, tmp_path):
    class Mine(Task):
        def predict_step(self, batch, batch_idx):
            return {"scores": batch[0], "text": "mine"}

    with pytest.raises(ConfigError, match=r"prediction.text is str"):
        trainer(callbacks=PredictionWriter(tmp_path)).predict(Mine(), loader(8))


def test_a_writer_of_ones_own(trainer):
    seen = []

    class Mine(BasePredictionWriter):
        def write_on_epoch_end(self, trainer, task, predictions, batch_indices):
            seen.append(([len(batches) for batches in predictions], batch_indices))

    assert trainer(callbacks=Mine("epoch")).predict(net(), loader(12), return_predictions=False) == []
    assert seen == [([2], [[list(range(8)), [8, 9, 10, 11]]])]


WRONG = [
    ("throughput_monitor", {"window_size": 1}, "window_size=1"),
    ("on_exception_checkpoint", {"filename": "a/b"}, "no name of a file"),
    ("prediction_writer", {"write_interval": "step"}, "write_interval"),
]


@pytest.mark.parametrize(("name", "arguments", "said"), WRONG)
def test_wrong_arguments_are_refused(name, arguments, said):
    with pytest.raises(ConfigError, match=said):
        build("callback", {"name": name, **arguments})


def test_a_failed_run_says_where_its_state_is(trainer, caplog):
    ours = trainer(callbacks=[failing(2), OnExceptionCheckpoint()])
    with pytest.raises(ZeroDivisionError):
        ours.fit(net(), loader())
    assert f"saved {ours.run_dir / 'checkpoints' / 'on_exception'}" in caplog.text
    assert checkpoint.load(ours.run_dir / "checkpoints" / "on_exception")["global_step"] == 2
