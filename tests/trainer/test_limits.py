"""Arguments that say how much is trained and evaluated, together with each other and with compiled steps."""

import numpy as np
import pytest

from expkit import nn
from expkit.errors import CheckpointError, ConfigError, DataError
from expkit.optim import SGD
from expkit.trainer import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LambdaCallback,
    SupervisedTask,
    Timer,
    seed_everything,
)
from tests.trainer.conftest import loader, net


def fit(trainer, data=None, val=None, *, lr=0.5, **how):
    seed_everything(3)
    task = SupervisedTask(net(), nn.CrossEntropyLoss(), lambda params: SGD(params, lr=lr))
    ours = trainer(**{"logger": False, "enable_checkpointing": False, **how})
    ours.fit(task, data or loader(), val)
    return ours


def weights(ours):
    return np.concatenate([p.detach().numpy().ravel() for p in ours.task.parameters()])


def by_hand(gathers, data):
    """Epochs whose steps gather so many batches each, in a bare loop."""
    model, loss = net(), nn.CrossEntropyLoss()
    optimizer = SGD(model.parameters(), lr=0.5)
    for gather in gathers:
        found = list(data)
        for index, (x, y) in enumerate(found):
            if index % gather == 0:
                optimizer.zero_grad()
            (loss(model(x), y) / gather).backward()
            if (index + 1) % gather == 0 or index + 1 == len(found):
                optimizer.step()
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


@pytest.mark.parametrize("compile", [False, True])
def test_a_schedule_of_accumulation_is_what_a_loop_by_hand_does(trainer, compile):
    schedule = GradientAccumulationScheduler({1: 2, 2: 4})
    ours = fit(trainer, max_epochs=4, compile=compile, callbacks=[schedule])
    np.testing.assert_allclose(weights(ours), by_hand([1, 2, 4, 4], loader()), rtol=1e-4, atol=1e-6)
    assert ours.global_step == 6 + 3 + 2 + 2


# Six batches an epoch. arguments -> (batches trained, optimizer steps)
STOPPED = {
    "at once": ({}, 2, 2),
    "min_steps": ({"min_steps": 5}, 5, 5),
    "min_steps beyond an epoch": ({"min_steps": 8}, 8, 8),
    "min_steps of gathered batches": ({"min_steps": 2, "accumulate_grad_batches": 2}, 4, 2),
    "min_epochs": ({"min_epochs": 2}, 12, 12),
    "both": ({"min_epochs": 1, "min_steps": 9}, 9, 9),
    "max_steps first": ({"min_steps": 50, "max_steps": 7}, 7, 7),
    "max_epochs first": ({"min_steps": 50, "max_epochs": 3}, 18, 18),
}


@pytest.mark.parametrize(("arguments", "batches", "steps"), STOPPED.values(), ids=STOPPED.keys())
def test_should_stop_waits_for_what_is_wanted_at_least(trainer, arguments, batches, steps):
    def stop(trainer, task, outputs, batch, batch_idx):
        trainer.should_stop = trainer.should_stop or trainer.progress.batches == 2

    ours = fit(trainer, callbacks=[LambdaCallback(on_train_batch_end=stop)], **{"max_epochs": 9, **arguments})
    assert (ours.progress.batches, ours.global_step) == (batches, steps)


def test_early_stopping_waits_for_min_steps(trainer):
    stopping = EarlyStopping("val/loss", patience=0, min_delta=100.0)
    ours = fit(trainer, val=loader(16), max_epochs=9, min_steps=20, callbacks=[stopping])
    assert ours.global_step == 20  # it stopped training after the second epoch, were it not for them


# of six batches of 8 in each stage: limit -> how many are seen
LIMITS = [(0, 0), (1, 1), (2, 2), (99, 6), (0.5, 3), (1.0, 6), (0.0, 0)]


@pytest.mark.parametrize(("limit", "count"), LIMITS, ids=repr)
def test_limits_of_validation_testing_and_prediction(trainer, limit, count):
    seen = {"validation": 0, "test": 0, "predict": 0}

    def counting(stage):
        def count(*args):
            seen[stage] += 1

        return count

    hooks = {f"on_{stage}_batch_end": counting(stage) for stage in seen}
    names = ("limit_val_batches", "limit_test_batches", "limit_predict_batches")
    ours = trainer(callbacks=[LambdaCallback(**hooks)], logger=False, **dict.fromkeys(names, limit))
    task = SupervisedTask(net(), nn.CrossEntropyLoss())
    ours.validate(task, loader(), verbose=False)
    ours.test(task, loader(), verbose=False)
    assert len(ours.predict(task, loader())) == count
    assert seen == {"validation": count, "test": count, "predict": count}


def test_a_share_that_comes_to_no_batch_is_refused(trainer):
    with pytest.raises(ConfigError, match=r"limit_test_batches=0.1: that is no batch of 6. Give at least 0.167"):
        trainer(limit_test_batches=0.1).test(SupervisedTask(net(), nn.CrossEntropyLoss()), loader())


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(("given", "count"), [(2, 2), (0.34, 2), (1, 1)])
def test_overfitting_drives_the_loss_of_these_batches_down(trainer, compile, given, count):
    seen = []

    def note(trainer, task, batch, batch_idx, *rest):
        seen.append(batch[1].numpy().tobytes())

    look = LambdaCallback(on_train_batch_start=note, on_validation_batch_start=note)
    ours = fit(
        trainer,
        loader(shuffle=True),
        loader(20),
        max_epochs=40,
        overfit_batches=given,
        compile=compile,
        callbacks=[look],
    )
    assert len(set(seen)) == count  # validation sees the same ones
    assert ours.global_step == 40 * count
    assert ours.callback_metrics["val/loss"] < 0.1


def test_max_time_ends_training_after_a_whole_step(trainer, monkeypatch):
    clock = iter(range(0, 10**6, 7))
    for module in ("runtime", "trainer"):
        monkeypatch.setattr(f"expkit.trainer.{module}.monotonic", lambda: next(clock))
    ours = fit(trainer, max_epochs=500, max_time="00:00:01:00", accumulate_grad_batches=2)
    assert any(isinstance(callback, Timer) for callback in ours.callbacks)
    assert 0 < ours.progress.batches < 60
    assert ours.progress.batches % 2 == 0


def test_batches_that_can_be_read_only_once_do_for_one_epoch(trainer):
    batches = list(loader())
    ours = trainer(max_epochs=1)
    ours.fit(SupervisedTask(net(), nn.CrossEntropyLoss()), iter(batches))
    assert ours.global_step == len(batches)
    with pytest.raises(DataError, match=r"gave no batch in epoch 1\. A generator can be read only once"):
        trainer(max_epochs=2).fit(SupervisedTask(net(), nn.CrossEntropyLoss()), iter(batches))


@pytest.mark.parametrize("count", [2, 3])
def test_a_run_does_not_go_on_in_an_epoch_that_is_shorter_now(trainer, tmp_path, count):
    ours = trainer(max_steps=3, max_epochs=-1)
    ours.fit(net(), loader())
    path = ours.save_checkpoint(tmp_path / "third")
    with pytest.raises(CheckpointError, match=f"after 3 batches of an epoch, which now has {count}"):
        trainer(max_epochs=2, limit_train_batches=count).fit(net(), loader(), ckpt_path=path)
