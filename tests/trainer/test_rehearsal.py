"""What is found before the first step: monitors that nobody logs, shapes that do not fit; and nothing is touched."""

from collections import deque

import pytest

from expkit import nn
from expkit.errors import ConfigError, DataError, HookError, ShapeError
from expkit.optim import SGD
from expkit.optim.schedulers import ReduceLROnPlateau
from expkit.tensor import get_rng_state, manual_seed, no_grad, zeros
from expkit.trainer import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint, SupervisedTask, Task
from expkit.trainer.feed import move
from tests.trainer.conftest import loader, net

UNKNOWN = {
    "a slip": (
        EarlyStopping("val/los"),
        True,
        ["EarlyStopping.monitor=val/los", "Did you mean 'val/loss'", "train/loss"],
    ),
    "an unknown one": (
        ModelCheckpoint(monitor="val/accuracy"),
        True,
        ["ModelCheckpoint.monitor", "Did you mean 'val/acc'"],
    ),
    "no validation": (EarlyStopping("val/loss"), False, ["there is no validation", "Metrics: lr-Adam, train/acc"]),
    "a learning rate": (EarlyStopping("lr-SGD"), True, ["lr-SGD"]),
}


@pytest.mark.parametrize(("callback", "validate", "said"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_monitor_is_found_before_the_first_step(trainer, callback, validate, said):
    ours = trainer(callbacks=[callback, LearningRateMonitor()])
    with pytest.raises(ConfigError) as caught:
        ours.fit(net(), loader(), loader(16) if validate else None)
    assert not [fragment for fragment in said if fragment not in str(caught.value)], str(caught.value)
    assert ours.global_step == 0
    assert not (ours.run_dir / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "name", ["train/loss", "train/loss_step", "train/loss_epoch", "train/acc", "val/f1", "lr-Adam"]
)
def test_every_name_that_is_offered_can_be_monitored(trainer, name):
    ours = trainer(callbacks=[EarlyStopping(name), LearningRateMonitor()])
    ours.fit(net(), loader(), loader(16))
    assert name in ours.callback_metrics


def test_the_config_key_and_its_origin_are_named(trainer):
    callback = EarlyStopping("val/los")
    callback.config_key = "callbacks.early_stopping"
    ours = trainer(callbacks=callback)
    ours.origin = lambda key: f"<origin of {key}>"
    with pytest.raises(
        ConfigError, match=r"^<origin of callbacks\.early_stopping\.monitor>: callbacks\.early_stopping"
    ):
        ours.fit(net(), loader(), loader(16))


def test_a_monitor_may_be_unknown_where_that_is_asked_for(trainer):
    trainer(callbacks=EarlyStopping("val/los", strict=False)).fit(net(), loader(), loader(16))


def test_the_monitor_of_a_schedule_is_checked_too(trainer):
    def schedule(optimizer):
        return {"scheduler": ReduceLROnPlateau(optimizer), "monitor": "val/lss"}

    task = SupervisedTask(net(), nn.CrossEntropyLoss(), scheduler=schedule)
    with pytest.raises(ConfigError, match=r"scheduler\.monitor=val/lss"):
        trainer().fit(task, loader(), loader(16))


class Own(Task):
    def __init__(self):
        super().__init__()
        self.model = net()

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        self.log("mine", loss)
        return loss

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=0.1)


def test_the_names_of_ones_own_task_are_known_too(trainer):
    with pytest.raises(ConfigError, match="Did you mean 'mine'"):
        trainer(callbacks=EarlyStopping("min")).fit(Own(), loader())


def test_what_hooks_log_is_not_refused(trainer):
    class Late(Own):
        def on_train_epoch_end(self):
            self.log("late", 1.0, on_epoch=True)

    ours = trainer(callbacks=EarlyStopping("late"), max_epochs=2)
    ours.fit(Late(), loader())
    assert ours.callback_metrics["late"] == 1.0


@pytest.mark.parametrize("validate", [True, False])
def test_the_monitor_of_a_schedule_is_checked_after_an_epoch_where_hooks_log(trainer, validate):
    class Late(Own):
        def validation_step(self, batch, batch_idx):
            self.log("val_mine", 1.0)

        def on_train_epoch_end(self):
            self.log("late", 1.0, on_epoch=True)

        def configure_optimizers(self):
            optimizer = SGD(self.parameters(), lr=0.1)
            return {"optimizer": optimizer, "lr_scheduler": ReduceLROnPlateau(optimizer), "monitor": self.watched}

    task = Late()
    for task.watched in ("late", *(["val_mine"] if validate else [])):
        trainer(max_epochs=2, check_val_every_n_epoch=2).fit(task, loader(), loader(16) if validate else None)
    task.watched = "lat"
    with pytest.raises(ConfigError, match=r"scheduler\.monitor=lat: .* Did you mean 'late'"):
        trainer(max_epochs=2).fit(task, loader(), loader(16) if validate else None)


def test_it_leaves_no_trace(trainer):
    model = nn.Sequential(net(dropout=0.5), nn.BatchNorm1d(3))
    manual_seed(3)
    state = get_rng_state()
    before = {name: value.tolist() for name, value in model.state_dict().items()}

    class Stop(Callback):
        def on_fit_start(self, trainer, task):
            assert get_rng_state() == state
            assert {name: value.tolist() for name, value in model.state_dict().items()} == before
            assert all(param.grad is None for param in model.parameters())
            assert all(metric._total is None for _, metric in task.named_metrics())
            assert model.training
            raise StopIteration

    with pytest.raises(StopIteration):
        trainer(callbacks=Stop()).fit(model, loader(shuffle=True), loader(16))


class Keeping(Task):
    """Keeps what its steps made in attributes, as Lightning's users do."""

    def __init__(self):
        super().__init__()
        self.model = net()
        self.count, self.seen = 0, []
        self.losses = {"train": [], "val": deque()}
        self.total = zeros(())
        self.register_buffer("mean", zeros(()))

    def _step(self, batch, stage):
        loss = self.model(batch[0]).square().mean()
        self.losses[stage].append(loss.detach())
        self.total += loss.detach()
        self.count, self.mean = self.count + 1, 0.9 * self.mean + 0.1 * loss.detach()
        return loss

    def training_step(self, batch, batch_idx):
        return self._step(batch, "train")

    def validation_step(self, batch, batch_idx):
        self._step(batch, "val")

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("manual", [False, True])
def test_it_leaves_no_trace_in_attributes(trainer, manual):
    task = Keeping()
    task.automatic_optimization = not manual
    trainer(max_epochs=1, num_sanity_val_steps=0).fit(task, loader(), loader(16))
    losses = [float(loss) for kept in task.losses.values() for loss in kept]
    assert (len(task.losses["train"]), len(task.losses["val"])) == (len(loader()), len(loader(16)))
    assert task.count == len(losses)
    assert float(task.total) == pytest.approx(sum(losses))
    mean = 0.0
    for loss in losses:
        mean = 0.9 * mean + 0.1 * loss
    assert float(task.mean) == pytest.approx(mean)


def test_lazy_layers_may_be_made_in_it(trainer):
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    trainer(max_epochs=1).fit(SupervisedTask(model, nn.CrossEntropyLoss()), loader(), loader(16))
    assert type(model[1]) is nn.Linear
    assert model[1].in_features == model[1].weight.shape[1]


def test_a_generator_of_batches_loses_none(trainer):
    ours = trainer(callbacks=EarlyStopping("train/nothing"))
    task = SupervisedTask(net(), nn.CrossEntropyLoss())
    ours.fit(task, iter(list(loader())))
    assert ours.global_step == 6


MISFITS = {
    "inputs": (lambda: net(inputs=5), r"model\.0 \(Linear"),
    "layers": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(9, 3)), r"model\.1 \(Linear"),
}


@pytest.mark.parametrize(("make", "said"), MISFITS.values(), ids=MISFITS.keys())
def test_shapes_that_do_not_fit_name_the_layer(trainer, make, said):
    ours = trainer()
    with pytest.raises(ShapeError, match=said):
        ours.fit(make(), loader(), loader(16))
    assert ours.global_step == 0


def test_classes_beyond_the_outputs_are_found(trainer):
    with pytest.raises(DataError, match="class index 2 is out of range"):
        trainer().fit(net(outputs=2), loader(), loader(16))


def test_validation_is_rehearsed_too(trainer):
    class Mine(SupervisedTask):
        def validation_step(self, batch, batch_idx):
            raise ShapeError("validation only")

    with pytest.raises(ShapeError, match="validation only"):
        trainer().fit(Mine(net(), nn.CrossEntropyLoss()), loader(), loader(16))


NO_LOSS = {
    "a string": ("loss", "returned str as its loss"),
    "a vector": (None, r"a tensor of shape \(8,\)"),
    "no loss in the dict": ({"los": 1}, "returned NoneType as its loss"),
}


@pytest.mark.parametrize(("value", "said"), NO_LOSS.values(), ids=NO_LOSS.keys())
def test_what_is_no_loss_is_refused(trainer, value, said):
    class Mine(Own):
        def training_step(self, batch):
            return (
                nn.functional.cross_entropy(self.model(batch[0]), batch[1], reduction="none")
                if value is None
                else value
            )

    with pytest.raises(HookError, match=said):
        trainer().fit(Mine(), loader())


def test_steps_that_are_missing_or_take_too_much_are_named(trainer):
    with pytest.raises(HookError, match="Task has no configure_optimizers"):
        trainer().fit(Task(), loader())

    class Greedy(Own):
        def training_step(self, batch, batch_idx, optimizer_idx):
            return None

    with pytest.raises(HookError, match=r"called as training_step\(batch, batch_idx\)"):
        trainer().fit(Greedy(), loader())


def test_batches_keep_their_structure_when_moved():
    with no_grad():
        x, y = next(iter(loader()))
    moved = move({"pair": (x, [y]), "name": "a", "array": x.numpy()}, x.device, x.dtype)
    assert isinstance(moved["pair"], tuple)
    assert moved["name"] == "a"
    assert moved["array"].tolist() == x.tolist()
    assert moved["pair"][1][0].dtype is y.dtype
