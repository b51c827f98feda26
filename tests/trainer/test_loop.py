"""The loop: what is trained on, when is validated, when it ends; and that optional arguments do what they say."""

import json
from pathlib import Path

import numpy as np
import pytest

from expkit import nn
from expkit.data import DataLoader
from expkit.errors import ConfigError, DataError
from expkit.optim import SGD
from expkit.optim.schedulers import StepLR
from expkit.tensor import float64, manual_seed, tensor
from expkit.trainer import Callback, LambdaCallback, SupervisedTask, Task
from tests.trainer.conftest import loader, net


class Counter(Callback):
    """Counts batches by stage, and notes after which training batch a validation ran."""

    def __init__(self) -> None:
        self.train = self.sanity = self.test = 0
        self.validated: list[int] = []
        self.val_batches = 0

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.train += 1

    def on_validation_start(self, trainer, task):
        if trainer.sanity_checking:
            self.sanity += 1
        else:
            self.validated.append(self.train)

    def on_validation_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.val_batches += not trainer.sanity_checking

    def on_test_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.test += 1


# Six training batches of 8 and two of validation. arguments -> (training batches, validated after, steps)
SCHEDULES = {
    "one epoch": ({}, 6, [6], 6),
    "three epochs": ({"max_epochs": 3}, 18, [6, 12, 18], 18),
    "no epoch": ({"max_epochs": 0}, 0, [], 0),
    "max_steps": ({"max_epochs": -1, "max_steps": 8}, 8, [6], 8),
    "max_steps first": ({"max_epochs": 2, "max_steps": 4}, 4, [], 4),
    "limit_train_batches": ({"max_epochs": 2, "limit_train_batches": 2}, 4, [2, 4], 4),
    "a share of the batches": ({"limit_train_batches": 0.5}, 3, [3], 3),
    "no validation": ({"limit_val_batches": 0}, 6, [], 6),
    "twice an epoch": ({"max_epochs": 2, "val_check_interval": 0.5}, 12, [3, 6, 9, 12], 12),
    "every 4 batches": ({"max_epochs": 2, "val_check_interval": 4}, 12, [4, 10], 12),
    "every 4 batches of all": (
        {"max_epochs": 2, "val_check_interval": 4, "check_val_every_n_epoch": None}, 12, [4, 8, 12], 12),
    "every other epoch": ({"max_epochs": 4, "check_val_every_n_epoch": 2}, 24, [12, 24], 24),
    "accumulate 2": ({"accumulate_grad_batches": 2}, 6, [6], 3),
    "accumulate 4": ({"max_epochs": 2, "accumulate_grad_batches": 4}, 12, [6, 12], 4),
    "fast_dev_run": ({"max_epochs": 9, "fast_dev_run": True}, 1, [1], 1),
    "fast_dev_run of 3": ({"fast_dev_run": 3}, 3, [3], 3),
    "overfit_batches": ({"max_epochs": 2, "overfit_batches": 2}, 4, [2, 4], 4),
    "min_epochs": ({"max_epochs": 5, "min_epochs": 2}, 30, [6, 12, 18, 24, 30], 30),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "batches", "validated", "steps"), SCHEDULES.values(), ids=SCHEDULES.keys())
def test_how_much_and_when(trainer, arguments, batches, validated, steps):
    counter = Counter()
    ours = trainer(callbacks=counter, enable_checkpointing=False, **arguments)
    ours.fit(net(), loader(), loader(16))
    assert (counter.train, counter.validated, ours.global_step) == (batches, validated, steps)


def test_accumulated_gradients_are_those_of_the_larger_batch(trainer):
    results = []
    for size, gather in ((8, 2), (16, 1)):
        model = net()
        task = SupervisedTask(model, nn.CrossEntropyLoss(), lambda params: SGD(params, lr=0.1))
        trainer(accumulate_grad_batches=gather, enable_checkpointing=False).fit(task, loader(batch_size=size))
        results.append(model[0].weight.detach().numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("algorithm", "bound"), [("norm", 0.01), ("value", 0.002)])
def test_clipping_bounds_the_gradients(trainer, algorithm, bound):
    seen = []

    def look(trainer, task, outputs, batch, batch_idx):
        grads = [param.grad.numpy() for param in task.parameters()]
        norm = np.sqrt(sum((grad**2).sum() for grad in grads))
        seen.append(norm if algorithm == "norm" else max(abs(grad).max() for grad in grads))

    arguments = {"gradient_clip_val": bound, "gradient_clip_algorithm": algorithm}
    trainer(callbacks=LambdaCallback(on_train_batch_end=look), **arguments).fit(net(), loader())
    assert max(seen) == pytest.approx(bound, rel=1e-3)


def test_training_learns_and_the_best_weights_can_be_tested(trainer):
    ours = trainer(max_epochs=30)
    ours.fit(net(), loader(96, seed=1), loader(96, batch_size=32, seed=1))
    assert ours.callback_metrics["train/loss"] < 0.9
    assert ours.callback_metrics["val/acc"] > 0.7
    [result] = ours.test(dataloaders=loader(96, seed=1), ckpt_path="best", verbose=False)
    assert set(result) == {"test/loss", "test/acc", "test/f1"}


def test_the_epoch_mean_weighs_batches_by_their_size(trainer):
    model, data = net(), loader(20, batch_size=8)  # 8, 8, 4
    ours = trainer()
    [result] = ours.validate(model, data, verbose=False)
    x, y = next(iter(loader(20, batch_size=20)))
    assert result["val/loss"] == pytest.approx(nn.functional.cross_entropy(model(x), y).item(), rel=1e-5)


def journal(trainer, name: str) -> list[tuple[int, int, float]]:
    lines = [json.loads(line) for line in Path(trainer.run_dir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["epoch"], line["metrics"][name]) for line in lines if name in line.get("metrics", {})]


def test_what_is_logged_and_when(trainer):
    ours = trainer(max_epochs=2, log_every_n_steps=4)
    ours.fit(net(), loader(), loader(16))
    assert [(step, epoch) for step, epoch, _ in journal(ours, "train/loss")] == [(6, 0), (12, 1)]
    assert [(step, epoch) for step, epoch, _ in journal(ours, "train/loss_step")] == [(4, 0), (8, 1), (12, 1)]
    assert [(step, epoch) for step, epoch, _ in journal(ours, "val/acc")] == [(6, 0), (12, 1)]
    assert journal(ours, "val/loss")[-1][2] == ours.callback_metrics["val/loss"]


def test_hooks_at_the_end_of_an_epoch_know_its_metrics(trainer):
    seen = []

    def note(name):
        return lambda trainer, task: seen.append((trainer.sanity_checking, trainer.callback_metrics.get(name)))

    look = LambdaCallback(on_train_epoch_end=note("train/loss_epoch"), on_validation_epoch_end=note("val/loss"))
    ours = trainer(max_epochs=2, callbacks=look, num_sanity_val_steps=1)
    ours.fit(net(), loader(), loader(16))
    assert [sanity for sanity, _ in seen] == [True, False, False, False, False]
    values = [value for _, value in seen[1:]]
    assert values == [journal(ours, name)[i][2] for i in range(2) for name in ("val/loss", "train/loss")]


def test_what_a_sanity_check_logs_is_forgotten(trainer):
    known = []
    look = LambdaCallback(on_train_start=lambda trainer, task: known.append(dict(trainer.callback_metrics)))
    trainer(callbacks=look, num_sanity_val_steps=1).fit(net(), loader(), loader(16))
    assert known == [{}]


def test_arguments_for_several_processes_make_no_difference(trainer):
    class Mine(SupervisedTask):
        def validation_step(self, batch, batch_idx):
            self.log("a", 1.0, sync_dist=True, rank_zero_only=True)

    ours = trainer()
    ours.fit(Mine(net(), nn.CrossEntropyLoss()), loader(), loader(16))
    assert ours.callback_metrics["a"] == 1.0


def test_several_validation_loaders_keep_apart(trainer):
    ours = trainer()
    ours.fit(net(), loader(), [loader(8), loader(16)])
    assert {"val/loss/dataloader_idx_0", "val/loss/dataloader_idx_1"} <= set(ours.callback_metrics)


def test_double_precision_reaches_model_and_batches(trainer):
    model = net()
    dtypes = []
    look = LambdaCallback(on_train_batch_start=lambda trainer, task, batch, batch_idx: dtypes.append(batch[0].dtype))
    trainer(precision="64-true", callbacks=look).fit(model, loader(8))
    assert dtypes == [float64]
    assert model[0].weight.dtype is float64


def test_overfitting_uses_the_same_batches_in_each_epoch(trainer):
    seen = []
    look = LambdaCallback(
        on_train_batch_start=lambda t, task, batch, batch_idx: seen.append(batch[0].numpy().tobytes())
    )
    trainer(max_epochs=3, overfit_batches=2, callbacks=look).fit(net(), loader(shuffle=True), loader(16))
    assert seen[:2] * 3 == seen


def test_each_epoch_has_an_order_of_its_own(trainer):
    seen = []
    look = LambdaCallback(
        on_train_batch_start=lambda t, task, batch, batch_idx: seen.append(batch[0].numpy().tobytes())
    )
    trainer(max_epochs=2, callbacks=look).fit(net(), loader(shuffle=True))
    assert set(seen[:6]).isdisjoint(seen[6:])


def test_training_is_the_loop_that_one_would_write(trainer):
    """Rehearsal, sanity check and validation leave no trace: parameters, statistics, dropout are the same bits."""

    def model() -> nn.Module:
        return nn.Sequential(net(dropout=0.5), nn.BatchNorm1d(3))

    by_hand, data = model(), loader(shuffle=True)
    manual_seed(5)
    optimizer = SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(2):
        data.set_epoch(epoch)
        for x, y in data:
            optimizer.zero_grad()
            nn.functional.cross_entropy(by_hand(x), y).backward()
            optimizer.step()
    trained = model()
    manual_seed(5)
    task = SupervisedTask(trained, nn.CrossEntropyLoss(), lambda params: SGD(params, lr=0.1, momentum=0.9))
    trainer(max_epochs=2, num_sanity_val_steps=2, compile=False).fit(task, loader(shuffle=True), loader(16))
    expected = {name: value.numpy().tobytes() for name, value in by_hand.state_dict().items()}
    assert {name: value.numpy().tobytes() for name, value in trained.state_dict().items()} == expected


@pytest.mark.parametrize(("interval", "rates"), [("epoch", [0.1, 0.05]), ("step", [0.1, 0.1 / 2**6])])
def test_schedules_are_stepped_by_epoch_or_step(trainer, interval, rates):
    class Mine(SupervisedTask):
        def configure_optimizers(self):
            optimizer = SGD(self.parameters(), lr=0.1)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": StepLR(optimizer, 1, 0.5), "interval": interval},
            }

    seen = []
    look = LambdaCallback(on_train_epoch_start=lambda t, task: seen.append(t.optimizer.param_groups[0]["lr"]))
    trainer(max_epochs=2, callbacks=look).fit(Mine(net(), nn.CrossEntropyLoss()), loader())
    assert seen == pytest.approx(rates)


def test_a_loader_without_length_is_read_to_its_end(trainer):
    class Endless:
        def __iter__(self):
            return iter(loader())

    counter = Counter()
    trainer(max_epochs=2, callbacks=counter).fit(net(), Endless(), loader(8))
    assert (counter.train, counter.validated) == (12, [6, 12])


def test_a_loader_that_promises_too_much_is_an_error(trainer):
    class Liar:
        dataset = ()

        def __len__(self):
            return 9

        def __iter__(self):
            return iter(loader())

    with pytest.raises(DataError, match="promised 9 batches"):
        trainer().fit(net(), Liar())


def test_a_list_of_batches_is_a_loader(trainer):
    ours = trainer()
    ours.fit(net(), list(loader()))
    assert ours.global_step == 6


def test_skipped_batches_make_no_step_of_their_own(trainer):
    class Mine(SupervisedTask):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 0 else super().training_step(batch, batch_idx)

    ours = trainer()
    ours.fit(Mine(net(), nn.CrossEntropyLoss()), loader())
    assert ours.callback_metrics["train/loss"] > 0


NO_DATA = {
    "none": (None, None, "one training loader"),
    "empty": (DataLoader([]), None, "no training batches"),
    "not a loader": (3, None, "int is no loader"),
}


@pytest.mark.parametrize(("train", "val", "said"), NO_DATA.values(), ids=NO_DATA.keys())
def test_data_that_cannot_be_trained_on(trainer, train, val, said):
    with pytest.raises((ConfigError, DataError), match=said):
        trainer().fit(net(), train, val)


def test_an_interval_beyond_the_epoch_is_refused(trainer):
    with pytest.raises(ConfigError, match=r"val_check_interval=7 .*\(6\)"):
        trainer(val_check_interval=7).fit(net(), loader(), loader(8))


def test_a_task_of_ones_own(trainer):
    class Mine(Task):
        def __init__(self):
            super().__init__()
            self.model = net()

        def training_step(self, batch, batch_idx):
            x, y = batch
            loss = nn.functional.cross_entropy(self.model(x), y)
            self.log("train/mine", loss)
            self.log_dict({"train/last": batch_idx, "train/largest": tensor(batch_idx)}, on_epoch=True, reduce_fx="max")
            return {"loss": loss, "more": 1}

        def configure_optimizers(self):
            optimizer = SGD(self.parameters(), lr=0.1)
            return [optimizer], [StepLR(optimizer, 1)]

    ours = trainer(log_every_n_steps=1)
    ours.fit(Mine(), loader())
    assert ours.callback_metrics["train/last"] == ours.callback_metrics["train/largest"] == 5
    assert len(journal(ours, "train/mine")) == 6
