"""The Trainer's arguments: Lightning's names, checked by type and range."""

import inspect
from datetime import timedelta

import pytest

from expkit.errors import ConfigError, DeviceError
from expkit.registry import signature_of
from expkit.tensor import float64
from expkit.tensor.devices import is_available
from expkit.trainer import Trainer
from expkit.trainer.triggers import Every, batch_limit, seconds

LIGHTNING = (
    "accelerator strategy devices num_nodes precision logger callbacks fast_dev_run max_epochs min_epochs max_steps "
    "min_steps max_time limit_train_batches limit_val_batches limit_test_batches limit_predict_batches overfit_batches "
    "val_check_interval check_val_every_n_epoch num_sanity_val_steps log_every_n_steps enable_checkpointing "
    "enable_progress_bar enable_model_summary accumulate_grad_batches gradient_clip_val gradient_clip_algorithm "
    "deterministic detect_anomaly profiler default_root_dir compile"
)


def test_the_signature_is_lightnings_and_compile():
    assert list(inspect.signature(Trainer).parameters) == LIGHTNING.split()
    assert {argument.name: argument.type for argument in signature_of(Trainer).arguments}["max_epochs"] == "int or None"


WRONG = {
    "max_epochs": ["ten", 1.5, -2, True],
    "min_epochs": [-1],
    "max_steps": [-2, None],
    "limit_train_batches": [1.5, -1, "all", True],
    "limit_val_batches": [-0.1],
    "overfit_batches": [2.5],
    "val_check_interval": [0, 0.0, 1.5],
    "check_val_every_n_epoch": [0],
    "num_sanity_val_steps": [-2],
    "accumulate_grad_batches": [0],
    "gradient_clip_val": [-1.0, "big"],
    "gradient_clip_algorithm": ["nrom"],
    "precision": ["16-moxed", "8-true", 8],
    "accelerator": ["tpu"],
    "strategy": ["ddp"],
    "devices": [2, [0, 1], "0,1"],
    "num_nodes": [2],
    "max_time": ["1h", {"huors": 1}, "01:00:00"],
    "profiler": ["simple"],
    "fast_dev_run": [-1, "yes"],
    "log_every_n_steps": [-1],
    "compile": ["atuo", "yes", 2, None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_names_the_argument(name, value):
    with pytest.raises(ConfigError) as caught:
        Trainer(**{name: value})
    assert name in str(caught.value)


def test_arguments_that_contradict_each_other():
    with pytest.raises(ConfigError, match=r"val_check_interval=0\.5"):
        Trainer(check_val_every_n_epoch=None, val_check_interval=0.5)


def test_defaults_are_lightnings():
    trainer = Trainer(logger=False)
    assert (trainer.max_epochs, trainer.max_steps, trainer.log_every_n_steps) == (1000, -1, 50)
    assert (trainer.limit_train_batches, trainer.val_check_interval, trainer.num_sanity_val_steps) == (1.0, 1.0, 2)
    assert trainer.precision == "32-true"
    assert Trainer(max_steps=3).max_epochs is None
    assert Trainer(precision=64).dtype is float64


@pytest.mark.skipif(is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_a_clear_error():
    with pytest.raises(DeviceError, match="cuda"):
        Trainer(accelerator="gpu")


def test_callbacks_must_be_callbacks():
    with pytest.raises(ConfigError, match="int is no Callback"):
        Trainer(callbacks=[3])


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (None, None),
        ("01:02:03:04", 93784.0),
        (timedelta(hours=1), 3600.0),
        ({"minutes": 2}, 120.0),
        ("00:00:00:00", 0.0),
    ],
)
def test_durations(time, expected):
    assert seconds(time) == expected


@pytest.mark.parametrize(
    ("limit", "length", "expected"),
    [(1.0, 10, 10), (0.25, 10, 2), (3, 10, 3), (30, 10, 10), (0, 10, 0), (0.0, 10, 0), (3, None, 3), (1.0, None, None)],
)
def test_batch_limits(limit, length, expected):
    assert batch_limit(limit, length, "limit_train_batches") == expected


@pytest.mark.parametrize(("limit", "length"), [(0.01, 10), (0.5, None)])
def test_impossible_shares_are_refused(limit, length):
    with pytest.raises(ConfigError, match="limit_val_batches"):
        batch_limit(limit, length, "limit_val_batches")


def test_every():
    assert [count for count in range(7) if Every(3)(count)] == [3, 6]
    assert not any(map(Every(0), range(5)))
