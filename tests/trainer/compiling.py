"""Runs of a few short epochs, to compare compiled training with plain training."""

import numpy as np

from expkit import nn
from expkit.data import DataLoader, TensorDataset
from expkit.optim import Adam
from expkit.tensor import from_numpy
from expkit.trainer import Callback, SupervisedTask, seed_everything
from tests.trainer.conftest import loader


def adam(params):
    return Adam(params, lr=0.01)


def batches(shape, n=44, seed=0, batch_size=8):
    """Five batches of eight and one of four."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 11, (n, 6)) if shape is None else rng.standard_normal((n, *shape)).astype(np.float32)
    return DataLoader(TensorDataset(from_numpy(x), from_numpy(rng.integers(0, 3, n))), batch_size=batch_size)


class Recording(Callback):
    """The loss of each training batch, and whether the step was compiled."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        outputs = outputs["loss"] if isinstance(outputs, dict) else outputs
        self.losses.append(float(outputs))


def programs(ours):
    """The number of programs of each part of the training step that was compiled."""
    step = ours.training_step
    found = {name: getattr(step, name).compiled.entries.values() for name in ("forward", "joined", "update")}
    assert not any(entry.eager for entries in found.values() for entry in entries)
    return {name: sum(len(e.replays) for e in entries) for name, entries in found.items() if entries}


def fit(trainer, make, data, *, compile, optimizer=adam, scheduler=None, kind=SupervisedTask, callbacks=(), **how):
    """(losses, state dict, trainer) of three epochs."""
    seed_everything(5)
    task = kind(make(), nn.CrossEntropyLoss(), optimizer, scheduler)
    seen = Recording()
    arguments = {"max_epochs": 3, "enable_checkpointing": False, "logger": False, **how}
    ours = trainer(compile=compile, callbacks=[*callbacks, seen], **arguments)
    seed_everything(6)
    ours.fit(task, data, loader() if data is None else None)
    return np.array(seen.losses), {k: v.float().numpy() for k, v in task.state_dict().items()}, ours
