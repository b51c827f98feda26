"""Averaged weights: the figures are torch.optim.swa_utils', and they are what is validated, tested and kept."""

import os
import signal
from typing import Any

import numpy as np
import pytest

from expkit import nn
from expkit.errors import CheckpointError, ConfigError
from expkit.optim import SGD
from expkit.optim.schedulers import StepLR
from expkit.registry import build
from expkit.trainer import (
    Callback,
    EMAWeightAveraging,
    LambdaCallback,
    ModelCheckpoint,
    StochasticWeightAveraging,
    SupervisedTask,
    WeightAveraging,
    checkpoint,
    seed_everything,
)  # fmt: skip
from tests.trainer.adversarial import Adversarial
from tests.trainer.conftest import loader, net

torch = pytest.importorskip("torch")
swa_utils = torch.optim.swa_utils


def task(*, norm: bool = True, scheduler: Any = None) -> SupervisedTask:
    seed_everything(3)
    model = nn.Sequential(net(dropout=0.2), nn.BatchNorm1d(3)) if norm else net()
    return SupervisedTask(model, nn.CrossEntropyLoss(), lambda p: SGD(p, lr=0.1, momentum=0.9), scheduler)


def values(module: Any) -> list[np.ndarray]:
    return [np.array(x.detach().numpy()) for x in (*module.parameters(), *module.buffers())]


class Steps(Callback):
    """The weights after each step, and at each validation."""

    def __init__(self) -> None:
        self.steps: list[list[np.ndarray]] = []
        self.epochs: list[list[np.ndarray]] = []
        self.validated: list[list[np.ndarray]] = []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.steps.append(values(task))

    def on_train_epoch_end(self, trainer, task):
        self.epochs.append(values(task))

    def on_validation_batch_start(self, trainer, task, batch, batch_idx):
        if not self.validated or not trainer.sanity_checking:
            self.validated.append(values(task))


def torchs(history: list[list[np.ndarray]], buffers: bool = True, **how: Any) -> list[np.ndarray]:
    """What torch.optim.swa_utils.AveragedModel makes of these weights, one after the other."""
    model = torch.nn.Module()
    for n, x in enumerate(history[0]):
        kept = torch.tensor(x)
        trained = kept.is_floating_point()
        (model.register_parameter if trained else model.register_buffer)(
            f"x{n}", torch.nn.Parameter(kept) if trained else kept
        )
    mean = swa_utils.AveragedModel(model, use_buffers=buffers, **how)
    for now in history:
        model.load_state_dict({f"x{n}": torch.tensor(x) for n, x in enumerate(now)})
        mean.update_parameters(model)
    return [mean.module.state_dict()[f"x{n}"].numpy() for n in range(len(history[0]))]


def assert_close(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)


EMA = swa_utils.get_ema_multi_avg_fn
CASES = {
    "mean": (WeightAveraging, {}, slice(None), {}),
    "ema": (EMAWeightAveraging, {"decay": 0.7}, slice(None), {"multi_avg_fn": EMA(0.7)}),
    "ema of every third step": (
        EMAWeightAveraging, {"decay": 0.5, "update_every_n_steps": 3}, slice(0, None, 3), {"multi_avg_fn": EMA(0.5)}),
    "ema from a step on": (
        EMAWeightAveraging, {"decay": 0.9, "update_starting_at_step": 7}, slice(7, None), {"multi_avg_fn": EMA(0.9)}),
}  # fmt: skip


@pytest.mark.parametrize("compile", [False, "auto"])
@pytest.mark.parametrize(("kind", "arguments", "which", "how"), CASES.values(), ids=CASES.keys())
def test_the_average_is_torchs(trainer, compile, kind, arguments, which, how):
    seen, model = Steps(), task()
    ours = trainer(max_epochs=2, callbacks=[seen, kind(**arguments)], compile=compile)
    ours.fit(model, loader(), loader(16))
    assert_close(values(model), torchs(seen.steps[which], **how))
    assert_close(seen.validated[-1], values(model))  # the last validation saw the average
    raw = np.stack([seen.steps[-1][0], values(model)[0]])
    assert np.abs(raw[0] - raw[1]).max() > 1e-4


def test_what_is_kept_is_the_average_and_tests_as_it_was_validated(trainer):
    model = task()
    ours = trainer(max_epochs=3, callbacks=[EMAWeightAveraging(decay=0.8), ModelCheckpoint(monitor="val/loss")])
    ours.fit(model, loader(), loader(16))
    best = checkpoint.read_manifest(ours.checkpoint_callback.best_model_path)["metrics"]["val/loss"]
    fresh = task()
    [result] = ours.test(fresh, loader(16), ckpt_path="best", verbose=False)
    assert result["test/loss"] == pytest.approx(best, rel=1e-6)


def test_training_itself_is_not_changed(trainer):
    plain, averaged = Steps(), Steps()
    trainer(max_epochs=2, callbacks=plain).fit(task(), loader(), loader(16))
    trainer(max_epochs=2, callbacks=[averaged, EMAWeightAveraging()]).fit(task(), loader(), loader(16))
    for a, b in zip(plain.steps, averaged.steps, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


RESUMED = {
    "ema": lambda: EMAWeightAveraging(decay=0.7, update_every_n_steps=2),
    "swa": lambda: StochasticWeightAveraging(0.05, swa_epoch_start=2, annealing_epochs=2),
}


@pytest.mark.parametrize(("name", "steps"), [("ema", 3), ("ema", 12), ("swa", 8), ("swa", 14)])
def test_resuming_is_exact(trainer, tmp_path, name, steps):
    make = RESUMED[name]

    class Killed(BaseException):
        pass

    def kill(trainer, task, batch, batch_idx):
        if trainer.global_step == steps:
            raise Killed

    def fit(name, *more, **how):
        kept = ModelCheckpoint(every_n_train_steps=1, every_n_epochs=1)
        ours = trainer(max_epochs=4, callbacks=[make(), kept, *more], default_root_dir=str(tmp_path / name))
        model = task(scheduler=lambda o: StepLR(o, 1, 0.5))
        ours.fit(model, loader(shuffle=True), loader(16), **how)
        return ours, values(model)

    whole, expected = fit("whole")
    with pytest.raises(Killed):
        fit("parts", LambdaCallback(on_train_batch_start=kill))
    parts, found = fit("parts", ckpt_path=tmp_path / "parts")
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    assert parts.callback_metrics == whole.callback_metrics


def test_a_finished_run_that_goes_on_equals_one_that_went_through(trainer, tmp_path):
    def fit(epochs, name, **how):
        model = task()
        ema = EMAWeightAveraging(decay=0.7)
        ours = trainer(max_epochs=epochs, callbacks=ema, default_root_dir=str(tmp_path / name))
        ours.fit(model, loader(), loader(16), **how)
        return values(model)

    whole = fit(3, "whole")
    fit(2, "parts")
    assert all(np.array_equal(a, b) for a, b in zip(whole, fit(3, "parts", ckpt_path="last"), strict=True))


def test_a_failing_validation_leaves_the_weights_of_training(trainer):
    class Mine(SupervisedTask):
        def validation_step(self, batch, batch_idx):
            if not self.trainer.sanity_checking and self.global_step == 12:
                raise ZeroDivisionError
            return super().validation_step(batch, batch_idx)

    seen, model = Steps(), Mine(net(), nn.CrossEntropyLoss())
    with pytest.raises(ZeroDivisionError):
        trainer(max_epochs=2, callbacks=[seen, EMAWeightAveraging(decay=0.5)]).fit(model, loader(), loader(16))
    assert_close(values(model), seen.steps[-1])


def test_another_models_average_is_refused(trainer, tmp_path):
    trainer(callbacks=EMAWeightAveraging()).fit(task(), loader())
    callback = EMAWeightAveraging()
    callback.setup(None, task(norm=False), "fit")
    state = checkpoint.load(tmp_path / "run")["callbacks"]["EMAWeightAveraging"]
    with pytest.raises(CheckpointError, match="another model"):
        callback.load_state_dict(state)


# --- SWA -------------------------------------------------------------------------------------------------------------


def test_swa_averages_the_ends_of_epochs_with_fresh_statistics(trainer):
    seen, model = Steps(), task()
    swa = StochasticWeightAveraging(0.05, swa_epoch_start=0.5, annealing_epochs=2)
    ours = trainer(max_epochs=4, callbacks=[seen, swa], num_sanity_val_steps=0)
    ours.fit(model, loader(), loader(16))
    mean = torchs([step for number, step in enumerate(seen.steps, 1) if number in (12, 18, 24)], buffers=False)
    count = len(list(model.parameters()))
    assert_close(values(model)[:count], mean[:count])
    assert_close(seen.validated[-1], values(model))
    assert model.model[1].num_batches_tracked.item() == 6


def test_swa_statistics_are_those_of_the_training_data(trainer):
    def plain():
        return SupervisedTask(nn.Sequential(net(), nn.BatchNorm1d(3)), nn.CrossEntropyLoss(), lambda p: SGD(p, lr=0.1))

    model = plain()
    trainer(max_epochs=3, callbacks=StochasticWeightAveraging(0.05, 2)).fit(model, loader(), loader(16))
    outputs = [model.model[0](x).detach().numpy() for x, _ in loader()]
    norm = model.model[1]
    mean = np.mean([x.mean(0) for x in outputs], 0)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    variance = np.mean([x.var(0, ddof=1) for x in outputs], 0)
    np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-5)


def test_swa_takes_the_learning_rate_over(trainer):
    rates = []
    look = Callback()
    look.on_train_batch_start = lambda trainer, task, batch, batch_idx: rates.append(
        trainer.optimizer.param_groups[0]["lr"]
    )
    swa = StochasticWeightAveraging(0.05, swa_epoch_start=3, annealing_epochs=2, annealing_strategy="linear")
    trainer(max_epochs=6, callbacks=[swa, look]).fit(task(scheduler=lambda o: StepLR(o, 1, 0.5)), loader(8))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.025)
    schedule = swa_utils.SWALR(optimizer, 0.05, anneal_epochs=2, anneal_strategy="linear")
    expected = [0.1, 0.05]
    for _ in range(4):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(expected)


def test_swa_that_is_cut_short_still_keeps_the_average(trainer, tmp_path):
    model = task()
    ours = trainer(max_epochs=9, max_steps=20, callbacks=StochasticWeightAveraging(0.05, 1))
    ours.fit(model, loader(), loader(16))
    kept = checkpoint.load_weights(tmp_path / "run")
    assert all(np.array_equal(kept[name].numpy(), x.numpy()) for name, x in model.model.state_dict().items())


WRONG = [
    ("ema_weight_averaging", {"decay": 1.5}, "decay=1.5"),
    ("ema_weight_averaging", {"update_every_n_steps": 0}, "update_every_n_steps=0"),
    ("stochastic_weight_averaging", {"swa_lrs": -1.0}, "swa_lrs=-1.0"),
    ("stochastic_weight_averaging", {"swa_lrs": 0.1, "swa_epoch_start": 0}, "swa_epoch_start=0"),
    ("stochastic_weight_averaging", {"swa_lrs": 0.1, "swa_epoch_start": 1.5}, "swa_epoch_start=1.5"),
    ("stochastic_weight_averaging", {"swa_lrs": 0.1, "annealing_epochs": -1}, "annealing_epochs=-1"),
]


@pytest.mark.parametrize(("name", "arguments", "said"), WRONG)
def test_wrong_arguments_are_refused(name, arguments, said):
    with pytest.raises(ConfigError, match=said):
        build("callback", {"name": name, **arguments})


def test_swa_of_unknown_epochs_or_groups_is_refused(trainer):
    with pytest.raises(ConfigError, match="a generator does not allow"):
        trainer(callbacks=StochasticWeightAveraging(0.1)).fit(task(), (batch for batch in loader()))
    with pytest.raises(ConfigError, match="share of max_epochs"):
        trainer(max_epochs=-1, max_steps=3, callbacks=StochasticWeightAveraging(0.1)).fit(task(), loader())
    with pytest.raises(ConfigError, match="2 numbers for 1"):
        trainer(callbacks=StochasticWeightAveraging([0.1, 0.2])).fit(task(), loader())


@pytest.mark.parametrize("epochs", [3, 4])
def test_swa_that_is_interrupted_in_its_last_validation_goes_on_with_the_average(trainer, tmp_path, epochs):
    """With one more epoch the weights of training go on after it."""

    def interrupt(trainer, task, outputs, batch, batch_idx):
        if trainer.current_epoch == 2 and trainer.max_epochs == 3:
            os.kill(os.getpid(), signal.SIGINT)

    def fit(name, epochs, *more, **how):
        swa = StochasticWeightAveraging(0.05, swa_epoch_start=2, annealing_epochs=2)
        ours = trainer(
            max_epochs=epochs, callbacks=[swa, *more], default_root_dir=str(tmp_path / name), num_sanity_val_steps=0
        )
        model = task()
        ours.fit(model, loader(shuffle=True), loader(16), **how)
        return model, ours

    model, whole = fit("whole", epochs)
    with pytest.raises(KeyboardInterrupt):
        fit("parts", 3, LambdaCallback(on_validation_batch_end=interrupt))
    resumed, parts = fit("parts", epochs, ckpt_path="last")
    assert all(np.array_equal(a, b) for a, b in zip(values(model), values(resumed), strict=True))
    assert whole.callback_metrics == parts.callback_metrics


def test_swa_of_a_task_that_makes_its_steps_itself_is_refused(trainer):
    with pytest.raises(ConfigError, match="makes its steps itself"):
        trainer(callbacks=StochasticWeightAveraging(0.1)).fit(Adversarial(), loader())


@pytest.mark.parametrize("first", [True, False])
def test_all_hooks_of_a_validation_see_the_average(trainer, first):
    seen = []

    def look(trainer, task):
        seen.append(np.array_equal(next(task.parameters()).detach().numpy(), averages[-1]))

    def update(trainer, task, outputs, batch, batch_idx):
        averages.append(ema.average.module.parameter0.detach().numpy().copy())

    averages: list[Any] = []
    ema = EMAWeightAveraging(decay=0.7)
    looking = LambdaCallback(on_validation_epoch_start=look, on_validation_epoch_end=look)
    callbacks = [*([looking, ema] if first else [ema, looking]), LambdaCallback(on_train_batch_end=update)]
    trainer(max_epochs=2, callbacks=callbacks, num_sanity_val_steps=0).fit(task(), loader(), loader(16))
    assert seen == [True] * 4
