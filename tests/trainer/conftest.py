"""Tiny models and data for the trainer's tests."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import nn
from expkit.autograd import handle
from expkit.data import DataLoader, TensorDataset
from expkit.tensor import devices, from_numpy, manual_seed
from expkit.trainer import Trainer
from tests import fake_device


def arrays(n: int = 48, features: int = 4, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Separable inputs (n, features) float32 and classes (n,) int64."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)).astype(np.float32)
    return x, (x @ rng.normal(size=(features, classes))).argmax(1)


def loader(
    n: int = 48, batch_size: int = 8, *, shuffle: bool = False, regression: bool = False, **how: Any
) -> DataLoader:
    x, y = arrays(n, **how)
    target = (x[:, 0] - x[:, 1]).astype(np.float32) if regression else y
    return DataLoader(TensorDataset(from_numpy(x), from_numpy(target)), batch_size=batch_size, shuffle=shuffle)


def net(seed: int = 0, *, inputs: int = 4, outputs: int = 3, dropout: float = 0.0) -> nn.Module:
    manual_seed(seed)
    hidden = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), *hidden, nn.Linear(8, outputs))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests kill processes, not machines."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """A Trainer that says nothing and writes to a folder of its own."""

    def make(**arguments: Any) -> Trainer:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": str(tmp_path / "run")}
        return Trainer(**{"max_epochs": 1, **quiet, **arguments})

    return make


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[devices.device]:
    """The stand-in takes CuPy's place."""
    monkeypatch.setitem(sys.modules, "cupy", fake_device.MODULE)
    yield devices.device("cuda")
    devices.ARRAY_LIBRARIES.pop(fake_device.FakeArray, None)
    handle.install(raw_types=frozenset(devices.ARRAY_LIBRARIES))
