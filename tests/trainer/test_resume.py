"""Resuming is exact: a run that was killed and resumed has the same bits as one that went through."""

import contextlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expkit import nn
from expkit.errors import CheckpointError
from expkit.optim import SGD, Adam
from expkit.optim.schedulers import CosineAnnealingLR, ReduceLROnPlateau, StepLR
from expkit.serialization import codec
from expkit.tensor import rand
from expkit.trainer import (
    Callback,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    SupervisedTask,
    Trainer,
    checkpoint,
    seed_everything,
)
from tests.trainer.adversarial import Adversarial
from tests.trainer.conftest import loader, net


class Killed(BaseException):
    """Stands for a SIGKILL: nothing gets a chance to save."""


def dropout_task(optimizer: Callable[..., Any] = Adam, scheduler: Any = None) -> SupervisedTask:
    model = nn.Sequential(net(dropout=0.3), nn.BatchNorm1d(3))
    return SupervisedTask(model, nn.CrossEntropyLoss(), lambda params: optimizer(params, lr=0.01), scheduler)


class Noisy(SupervisedTask):
    """Draws random numbers in training and validation."""

    def training_step(self, batch, batch_idx):
        return super().training_step((batch[0] + rand(4) * 0.1, batch[1]), batch_idx)

    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch[0] + rand(4) * 0.1, batch[1]), batch_idx)


# task, and arguments of the trainer; six batches an epoch
SETTINGS: dict[str, tuple[Callable[[], SupervisedTask], dict[str, Any]]] = {
    "adam": (dropout_task, {}),
    "momentum and steps": (
        lambda: dropout_task(lambda params, lr: SGD(params, lr=lr, momentum=0.9), lambda o: StepLR(o, 2)), {}),
    "cosine by steps": (
        lambda: dropout_task(scheduler=lambda o: {"scheduler": CosineAnnealingLR(o, 36), "interval": "step"}), {}),
    "plateau": (
        lambda: dropout_task(scheduler=lambda o: ReduceLROnPlateau(o, patience=0)), {}),
    "accumulation": (dropout_task, {"accumulate_grad_batches": 4}),
    "validation inside of epochs": (dropout_task, {"val_check_interval": 2}),
    "random steps": (lambda: Noisy(net(), nn.CrossEntropyLoss()), {"val_check_interval": 3}),
    "double": (dropout_task, {"precision": "64-true"}),
    "two optimizers": (lambda: Adversarial(clip=1.0), {}),
    "two optimizers with a scaled loss": (Adversarial, {"precision": "16-mixed", "val_check_interval": 2}),
}  # fmt: skip


def bits(tree: Any) -> tuple[str, dict[str, bytes]]:
    """A nested state in a form that can be compared, whatever the order of its keys."""
    plain, arrays = codec.encode(tree)
    return json.dumps(plain, sort_keys=True), {name: array.tobytes() for name, array in arrays.items()}


def outcome(trainer: Trainer) -> dict[str, Any]:
    """Everything that must be the same."""
    lines = [json.loads(line) for line in (trainer.run_dir / "metrics.jsonl").read_text().splitlines()]
    logged: dict[str, dict[int, float]] = {}
    for line in lines:
        for name, value in line.get("metrics", {}).items():
            logged.setdefault(name, {})[line["step"]] = value
    [stopping] = [callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping)]
    return {
        "weights": {name: value.numpy().tobytes() for name, value in trainer.task.state_dict().items()},
        "optimizers": bits([optimizer.state_dict() for optimizer in trainer.optimizers]),
        "schedules": bits([schedule.scheduler.state_dict() for schedule in trainer.schedules]),
        "metrics": trainer.callback_metrics,
        "logged": logged,
        "stopping": stopping.state_dict(),
        "best": (Path(trainer.checkpoint_callback.best_model_path).name, trainer.checkpoint_callback.best_model_score),
        "step": trainer.global_step,
    }


def kill_after(batches: int) -> Callback:
    count = itertools.count(1)

    def look(trainer, task, batch, batch_idx):
        if next(count) > batches:
            raise Killed

    return LambdaCallback(on_train_batch_start=look)


def session(run_dir: Path, setting: str, *more: Callback, ckpt_path: Any = None, every: int | None = 1) -> Trainer:
    """One process: fits for six epochs unless a callback kills it."""
    make, arguments = SETTINGS[setting]
    seed_everything(7)
    task = make()
    kept = ModelCheckpoint(monitor="val/loss", save_last=True, save_top_k=2)
    steps = [ModelCheckpoint(every_n_train_steps=every, dirpath=run_dir / "steps")] if every else []
    trainer = Trainer(
        max_epochs=6, default_root_dir=str(run_dir), enable_progress_bar=False, enable_model_summary=False,
        log_every_n_steps=1, callbacks=[kept, *steps, EarlyStopping("val/loss", patience=5), *more], **arguments,
    )  # fmt: skip
    with contextlib.suppress(Killed):
        trainer.fit(task, loader(shuffle=True), loader(20), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("setting", SETTINGS)
def test_killed_twice_in_the_middle_of_epochs_equals_straight_through(tmp_path, setting):
    whole = outcome(session(tmp_path / "whole", setting))
    run = tmp_path / "parts"
    session(run, setting, kill_after(9))
    session(run, setting, kill_after(7), ckpt_path=run / "steps")
    parts = outcome(session(run, setting, ckpt_path=run / "steps"))
    for what, value in whole.items():
        assert parts[what] == value, what


@pytest.mark.parametrize("batches", [1, 5, 6, 7, 12, 13])
def test_killed_anywhere_equals_straight_through(tmp_path, batches):
    whole = outcome(session(tmp_path / "whole", "adam", every=None))
    run = tmp_path / "parts"
    session(run, "adam", kill_after(batches), every=None)
    started = (run / "checkpoints" / "last.json").is_file()
    assert started == (batches >= 6)
    parts = outcome(session(run, "adam", ckpt_path=run if started else None, every=None))
    for what, value in whole.items():
        assert parts[what] == value, what


def test_a_finished_run_goes_on_when_there_is_more_to_do(tmp_path):
    def fit(epochs: int, run: str, **how: Any) -> Trainer:
        seed_everything(7)
        task = dropout_task()
        trainer = Trainer(max_epochs=epochs, default_root_dir=str(tmp_path / run), enable_progress_bar=False,
                          enable_model_summary=False)  # fmt: skip
        trainer.fit(task, loader(shuffle=True), loader(20), **how)
        return trainer

    whole = fit(4, "whole")
    fit(2, "parts")
    parts = fit(4, "parts", ckpt_path=tmp_path / "parts")
    same = fit(4, "parts", ckpt_path="last")
    for trainer in (parts, same):
        assert trainer.global_step == 24
        assert [value.numpy().tobytes() for value in trainer.task.state_dict().values()] == [
            value.numpy().tobytes() for value in whole.task.state_dict().values()
        ]
    assert len(list((tmp_path / "parts" / "checkpoints").iterdir())) == 2  # one checkpoint and the pointer


def other(model=None, optimizer=Adam, scheduler=None, loss=None):
    return SupervisedTask(
        net() if model is None else model,
        loss or nn.CrossEntropyLoss(),
        lambda params: optimizer(params, lr=0.01),
        scheduler,
    )


MISFITS = {
    "another size": (
        lambda: other(nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))),
        "size mismatch for 0.weight",
    ),
    "more layers": (lambda: other(nn.Sequential(*net(), nn.Linear(3, 3))), "Missing key.*3.weight"),
    "fewer layers": (lambda: other(nn.Sequential(nn.Linear(4, 3))), "Unexpected key.*2.weight"),
    "another optimizer": (lambda: other(optimizer=SGD), "optimizer Adam, this run has SGD"),
    "another schedule": (lambda: other(scheduler=lambda o: StepLR(o, 1)), "scheduler none, this run has StepLR"),
    "another loss": (lambda: other(loss=nn.CrossEntropyLoss(weight=[1.0, 1.0, 2.0])), "made with another loss"),
}


@pytest.mark.parametrize(("make", "said"), MISFITS.values(), ids=MISFITS.keys())
def test_a_checkpoint_that_does_not_fit_says_so(trainer, tmp_path, make, said):
    trainer(default_root_dir=str(tmp_path / "first")).fit(other(), loader())
    with pytest.raises(CheckpointError, match=said) as caught:
        trainer(default_root_dir=str(tmp_path / "second")).fit(make(), loader(), ckpt_path=tmp_path / "first")
    assert str(tmp_path / "first" / "checkpoints") in str(caught.value)


def test_another_data_set_says_so(trainer, tmp_path):
    run = tmp_path / "run"
    keep = ModelCheckpoint(every_n_train_steps=5)
    with pytest.raises(Killed):
        trainer(callbacks=[keep, kill_after(5)]).fit(other(), loader())
    with pytest.raises(CheckpointError, match="5 batches of epoch 0 were handed out, but an epoch has 2"):
        trainer().fit(other(), loader(16), ckpt_path=run)


def test_weights_alone_cannot_be_resumed_but_tested(trainer, tmp_path):
    model = net(seed=3)
    path = checkpoint.save(tmp_path / "weights", {"state_dict": model.state_dict()})
    with pytest.raises(CheckpointError, match=r"cannot be resumed: it lacks progress"):
        trainer().fit(net(), loader(), ckpt_path=path)
    fresh = net()
    trainer().test(fresh, loader(), ckpt_path=path, verbose=False)
    assert fresh[0].weight.tolist() == model[0].weight.tolist()


def test_a_new_run_from_another_runs_checkpoint_leaves_that_run_alone(trainer, tmp_path):
    trainer(default_root_dir=str(tmp_path / "first"), max_epochs=2).fit(other(), loader(), loader(8))
    before = sorted((tmp_path / "first" / "checkpoints").rglob("*"))
    ours = trainer(default_root_dir=str(tmp_path / "second"), max_epochs=4)
    ours.fit(other(), loader(), loader(8), ckpt_path=tmp_path / "first")
    assert sorted((tmp_path / "first" / "checkpoints").rglob("*")) == before
    assert ours.global_step == 24


@pytest.mark.parametrize("which", ["best", "last"])
def test_best_and_last_need_checkpoints(trainer, which):
    ours = trainer(enable_checkpointing=False)
    with pytest.raises(CheckpointError, match="keeps no checkpoints"):
        ours.test(net(), loader(), ckpt_path=which)


def test_best_before_anything_was_saved(trainer):
    with pytest.raises(CheckpointError, match="no checkpoint has been saved yet"):
        trainer().test(net(), loader(), ckpt_path="best")
