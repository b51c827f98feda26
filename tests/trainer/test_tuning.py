"""Tuning: what is found, and that looking for it leaves no trace."""

import json
import math

import numpy as np
import pytest

from expkit import nn
from expkit.data import DataLoader, DataModule, TensorDataset
from expkit.errors import ConfigError
from expkit.optim import SGD
from expkit.optim.schedulers import CosineAnnealingLR, OneCycleLR, StepLR
from expkit.registry import build
from expkit.tensor import from_numpy
from expkit.trainer import (
    BatchSizeFinder,
    Callback,
    LearningRateFinder,
    ModelCheckpoint,
    SupervisedTask,
    Tuner,
    seed_everything,
)
from expkit.trainer.tuning import LRFinder, batch_size
from tests.trainer.conftest import arrays, loader, net


def task(lr=0.05, scheduler=None, **how):
    model = nn.Sequential(net(dropout=0.2), nn.BatchNorm1d(3))
    return SupervisedTask(model, nn.CrossEntropyLoss(), lambda p: SGD(p, lr=lr, momentum=0.9, **how), scheduler)


def bits(model):
    return [x.detach().numpy().tobytes() for x in (*model.parameters(), *model.buffers())]


# --- the learning rate -----------------------------------------------------------------------------------------------


def curve(losses, mode="exponential", rates=(1e-4, 1.0)):
    found = LRFinder(mode, *rates, len(losses))
    found.results = {"lr": [found.rate(k) for k in range(len(losses))], "loss": list(losses)}
    return found


def test_the_suggestion_is_where_the_loss_falls_most_steeply():
    x = np.linspace(-4, 0, 81)
    losses = 2 - np.tanh(3 * (x + 2)) + np.where(x > -0.5, 40 * (x + 0.5) ** 2, 0)
    assert curve(losses).suggestion() == pytest.approx(1e-2, rel=0.15)
    losses[38:43] = np.nan  # the places of the others stay what they are
    found = curve(losses).suggestion()
    assert 0.005 < found < 0.02
    assert curve([3.0, 2.0, 1.0]).suggestion() is None
    assert curve([3.0, 2.9, 1.0, 0.9, 0.9]).suggestion(skip_begin=0) == pytest.approx(1e-4 * 1e4**0.25)


def test_rates_grow_from_one_end_to_the_other():
    np.testing.assert_allclose([LRFinder("linear", 0.1, 0.5, 5).rate(k) for k in range(5)], [0.1, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_allclose([LRFinder("exponential", 1e-3, 10, 5).rate(k) for k in range(5)], np.logspace(-3, 1, 5))


@pytest.mark.parametrize("compile", [False, "auto"])
def test_losses_are_those_of_steps_at_these_rates(trainer, compile):
    """Beside a plain loop in NumPy: linear regression, of which every gradient is a formula."""
    x, _ = arrays(64)
    y = (x[:, :1] * 2 - 1).astype(np.float32)
    data = DataLoader(TensorDataset(from_numpy(x), from_numpy(y)), batch_size=16)
    model = nn.Linear(4, 1)
    w, b = model.weight.detach().numpy().astype(np.float64).copy(), float(model.bias.item())
    mine = SupervisedTask(model, nn.MSELoss(), lambda p: SGD(p, lr=1.0), task="regression")
    found = Tuner(trainer(compile=compile)).lr_find(mine, data, min_lr=1e-3, max_lr=0.3, num_training=12)
    mean, expected = 0.0, []
    for k in range(12):
        xs, ys = (part[16 * (k % 4) :][:16].astype(np.float64) for part in (x, y))
        error = xs @ w.T + b - ys
        mean = 0.98 * mean + 0.02 * (error**2).mean()
        expected.append(mean / (1 - 0.98 ** (k + 1)))
        rate = 1e-3 * 300 ** (k / 11)
        w, b = w - rate * 2 * (error.T @ xs) / 16, b - rate * 2 * error.mean()
    np.testing.assert_allclose(found.results["loss"], expected, rtol=1e-4)


def test_each_step_has_a_loss_where_an_epoch_ends_with_fewer_batches(trainer):
    task = SupervisedTask(net(), nn.CrossEntropyLoss())
    found = Tuner(trainer(accumulate_grad_batches=2)).lr_find(task, loader(40), num_training=6, max_lr=1e-3)
    assert len(found.results["loss"]) == 6


def test_a_learning_rate_of_0_has_no_proportions(trainer):
    task = SupervisedTask(net(), nn.CrossEntropyLoss(), lambda p: SGD(p, lr=0.0))
    with pytest.raises(ConfigError, match="first parameter group is 0"):
        Tuner(trainer()).lr_find(task, loader())


def test_it_ends_where_the_loss_has_grown(trainer):
    mine = SupervisedTask(nn.Linear(4, 1), nn.MSELoss(), lambda p: SGD(p, lr=1.0), task="regression")
    data = loader(regression=True)
    found = Tuner(trainer()).lr_find(mine, data, min_lr=0.1, max_lr=1e6, num_training=50)
    losses = found.results["loss"]
    assert len(losses) < 25
    assert losses[-1] > 4 * min(losses)
    endless = Tuner(trainer()).lr_find(mine, data, min_lr=0.1, max_lr=1e12, num_training=60, early_stop_threshold=None)
    assert len(losses) < len(endless.results["loss"]) < 60  # the loss became infinite
    assert all(math.isfinite(p.item()) for p in mine.parameters() if p.numel() == 1)


TUNED = {
    "lr_find": lambda tuner, mine, data: tuner.lr_find(mine, data, num_training=15),
    "scale_batch_size": lambda tuner, mine, data: tuner.scale_batch_size(mine, data, max_trials=2),
    "a test that fails": lambda tuner, mine, data: tuner.lr_find(mine, data, max_lr=1e9, num_training=15),
}


@pytest.mark.parametrize("tune", TUNED.values(), ids=TUNED.keys())
def test_training_after_it_equals_training_without(trainer, tmp_path, tune):
    def fit(tuned):
        seed_everything(4)
        mine, data = task(scheduler=lambda o: StepLR(o, 1, 0.5)), loader(shuffle=True)
        mine.number = 3
        ours = trainer(max_epochs=2, default_root_dir=str(tmp_path / str(tuned)))
        if tuned:
            tune(Tuner(ours), mine, data)
            assert mine.training
            assert all(p.grad is None for p in mine.parameters())
        ours.fit(mine, data, loader(16))
        return bits(mine), ours.callback_metrics

    assert fit(True) == fit(False)


def test_an_attribute_of_a_task_is_set(trainer):
    class Mine(SupervisedTask):
        lr = 0.1

        def configure_optimizers(self):
            return SGD(self.parameters(), lr=self.lr)

    mine = Mine(net(), nn.CrossEntropyLoss())
    found = Tuner(trainer()).lr_find(mine, loader(), num_training=40, max_lr=10.0)
    assert mine.lr == found.suggestion()
    Tuner(trainer()).lr_find(other := Mine(net(), nn.CrossEntropyLoss()), loader(), num_training=20, update_attr=False)
    assert other.lr == 0.1
    with pytest.raises(ConfigError, match="attr_name='rate'"):
        Tuner(trainer()).lr_find(mine, loader(), attr_name="rate")


def test_the_finder_sets_an_attribute_and_configures_optimizers_anew(trainer):
    class Mine(SupervisedTask):
        def __init__(self, *args):
            super().__init__(*args)
            self.learning_rate = 0.1

        def configure_optimizers(self):
            optimizer = SGD(self.parameters(), lr=self.learning_rate)
            return [optimizer], [OneCycleLR(optimizer, max_lr=self.learning_rate, total_steps=9)]

        def train_dataloader(self):
            return loader()

    finder, mine = LearningRateFinder(num_training_steps=30, max_lr=10.0), Mine(net(), nn.CrossEntropyLoss())
    ours = trainer(callbacks=finder)
    ours.fit(mine)
    assert mine.learning_rate == finder.optimal_lr.suggestion() != 0.1
    assert ours.schedules[0].scheduler.max_lrs == [mine.learning_rate]
    assert len(Tuner(trainer()).lr_find(mine, num_training=12).results["lr"]) == 12


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_train_epoch_start(self, trainer, task):
        self.seen.append([group["lr"] for group in trainer.optimizer.param_groups])


@pytest.mark.parametrize(
    "scheduler", [None, lambda o: StepLR(o, 1, 0.5), lambda o: CosineAnnealingLR(o, 4)], ids=["none", "step", "cosine"]
)
def test_the_finder_starts_training_with_what_is_suggested(trainer, tmp_path, scheduler):
    def groups(lr):
        def make(params):
            params = list(params)
            return SGD([{"params": params[:2]}, {"params": params[2:], "lr": lr / 4}], lr=lr)

        return make

    def fit(lr, *callbacks):
        seed_everything(2)
        seen, mine = Rates(), SupervisedTask(net(), nn.CrossEntropyLoss(), groups(lr), scheduler)
        ours = trainer(max_epochs=3, callbacks=[*callbacks, seen], default_root_dir=str(tmp_path / str(len(callbacks))))
        ours.fit(mine, loader(shuffle=True))
        return seen.seen, bits(mine)

    finder = LearningRateFinder(min_lr=1e-5, max_lr=10, num_training_steps=30)
    rates, weights = fit(0.3, finder)
    suggested = finder.optimal_lr.suggestion()
    [kept] = (tmp_path / "1").rglob("lr_find.json")
    assert json.loads(kept.read_text()) == {**finder.optimal_lr.results, "suggestion": suggested}
    assert kept.with_name("lr_find.png").is_file()
    expected, same = fit(suggested)
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert rates[0] == pytest.approx([suggested, suggested / 4])
    for a, b in zip(weights, same, strict=True):
        np.testing.assert_allclose(np.frombuffer(a, np.float32), np.frombuffer(b, np.float32), rtol=1e-4, atol=1e-6)


def test_a_schedule_that_says_all_rates_is_refused(trainer):
    mine = task(scheduler=lambda o: OneCycleLR(o, max_lr=0.1, total_steps=6))
    with pytest.raises(ConfigError, match="OneCycleLR sets the rates itself"):
        trainer(callbacks=LearningRateFinder(num_training_steps=30)).fit(mine, loader())


def test_a_plot(tmp_path):
    pytest.importorskip("matplotlib")
    figure = curve(2 - np.tanh(np.linspace(-4, 4, 40))).plot(tmp_path / "lr.png")
    assert (tmp_path / "lr.png").read_bytes()[:4] == b"\x89PNG"
    [axes] = figure.axes
    assert axes.get_xscale() == "log"
    assert "suggestion" in axes.get_legend().get_texts()[0].get_text()


# --- the batch size --------------------------------------------------------------------------------------------------

FOUND = {
    "doubled": ("power", 2, 25, 100, 37, 32),
    "from three": ("power", 3, 25, 100, 37, 24),
    "between": ("binsearch", 2, 25, 100, 37, 37),
    "all of it": ("binsearch", 2, 25, 30, 37, 30),
    "all of it, doubled": ("power", 2, 25, 30, 37, 30),
    "few trials": ("power", 2, 3, 100, 37, 8),
    "the first one is too much": ("power", 64, 25, 100, 37, None),
    "the first one is too much, and then less": ("binsearch", 64, 25, 100, 37, 37),
    "one": ("binsearch", 1, 25, 100, 1, 1),
}


@pytest.mark.parametrize(("mode", "first", "trials", "most", "limit", "found"), FOUND.values(), ids=FOUND.keys())
def test_sizes_that_are_tried(mode, first, trials, most, limit, found):
    tried = []
    assert batch_size.search(lambda n: tried.append(n) or n <= limit, mode, first, trials, most) == found
    assert len(tried) <= trials
    assert len(set(tried)) == len(tried)


class Hungry(SupervisedTask):
    """Has memory for 37 samples."""

    def training_step(self, batch, batch_idx):
        if batch[0].shape[0] > 37:
            raise MemoryError
        return super().training_step(batch, batch_idx)


def data_module(n=90):
    x, y = arrays(n)
    return DataModule(
        TensorDataset(from_numpy(x), from_numpy(y)), task="classification", output_size=3, batch_size=10
    )


@pytest.mark.parametrize(("mode", "size"), [("power", 32), ("binsearch", 37)])
def test_the_largest_size_that_works(trainer, mode, size):
    data, mine = data_module(), Hungry(net(), nn.CrossEntropyLoss())
    before = bits(mine)
    assert Tuner(trainer(compile=False)).scale_batch_size(mine, datamodule=data, mode=mode) == size
    assert data.batch_size == size
    assert bits(mine) == before


def test_memory_that_does_not_suffice_for_the_first_size(trainer):
    data, mine = data_module(), Hungry(net(), nn.CrossEntropyLoss())
    with pytest.raises(MemoryError, match="not even a batch of 64"):
        Tuner(trainer(compile=False)).scale_batch_size(mine, datamodule=data, init_val=64)
    assert data.batch_size == 10


def test_the_plan_of_memory_bounds_it(trainer, monkeypatch):
    wide = nn.Sequential(nn.Linear(4, 20_000), nn.ReLU(), nn.Linear(20_000, 3))
    mine = SupervisedTask(wide, nn.CrossEntropyLoss(), lambda p: SGD(p, lr=0.1))
    [small, large] = [_planned(trainer(compile=False), mine, monkeypatch, room) for room in (8e6, 16e6)]
    assert 10 < small < large < 90
    monkeypatch.setattr(batch_size, "free_memory", lambda: 8e6)
    tuner = Tuner(trainer(compile=False))
    assert tuner.scale_batch_size(mine, datamodule=data_module(), mode="binsearch", steps_per_trial=1) == small
    assert all(np.isfinite(p.detach().numpy()).all() for p in mine.parameters())  # the plan was made of a copy


def _planned(ours, mine, monkeypatch, room):
    monkeypatch.setattr(batch_size, "free_memory", lambda: room)
    return batch_size.planned_most(ours, mine, data_module().train, 90)


def test_the_finder_trains_with_the_size_that_it_found(trainer, tmp_path):
    ours = trainer(callbacks=[BatchSizeFinder(max_val=24), ModelCheckpoint()], compile=False)
    ours.fit(task(), loader(shuffle=True))
    assert (ours.num_training_batches, ours.global_step) == (2, 2)
    again = trainer(max_epochs=2, callbacks=[BatchSizeFinder(max_val=8), ModelCheckpoint()], compile=False)
    again.fit(task(), loader(shuffle=True), ckpt_path="last")
    assert again.global_step == 4


def test_a_size_that_would_change_the_schedule_is_refused(trainer):
    mine = task(scheduler=lambda o: {"scheduler": StepLR(o, 1), "interval": "step"})
    with pytest.raises(ConfigError, match="counts steps"):
        trainer(callbacks=BatchSizeFinder()).fit(mine, loader())


WRONG = [
    ("learning_rate_finder", {"min_lr": 0.0}, "min_lr=0.0"),
    ("learning_rate_finder", {"min_lr": 1.0, "max_lr": 0.1}, "max_lr=0.1"),
    ("learning_rate_finder", {"num_training_steps": 1}, "num_training=1"),
    ("learning_rate_finder", {"mode": "cubic"}, "'exponential' or 'linear'"),
    ("batch_size_finder", {"mode": "cubic"}, "'power' or 'binsearch'"),
    ("batch_size_finder", {"steps_per_trial": 0}, "steps_per_trial=0"),
    ("batch_size_finder", {"init_val": 0}, "init_val=0"),
    ("batch_size_finder", {"init_val": 8, "max_val": 4}, "max_val=4"),
]


@pytest.mark.parametrize(("name", "arguments", "said"), WRONG)
def test_wrong_arguments_are_refused(name, arguments, said):
    with pytest.raises(ConfigError, match=said):
        build("callback", {"name": name, **arguments})


def test_what_cannot_be_tuned_says_so(trainer):
    tuner = Tuner(trainer())
    with pytest.raises(ConfigError, match="batch size of list cannot be changed"):
        tuner.scale_batch_size(task(), list(loader()))
    with pytest.raises(ConfigError, match="has no 'size'"):
        tuner.scale_batch_size(task(), datamodule=data_module(), batch_arg_name="size")
    with pytest.raises(ConfigError, match="one training loader"):
        tuner.lr_find(task())
