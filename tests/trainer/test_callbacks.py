"""Callbacks: a row for each registered one, and what the two that matter most decide."""

import io
import math
import re
from pathlib import Path
from typing import Any

import pytest

from expkit.errors import ConfigError, ExpkitError
from expkit.nn import CrossEntropyLoss
from expkit.optim import Adam
from expkit.optim.schedulers import StepLR
from expkit.registry import build, names
from expkit.trainer import (
    Callback,
    EarlyStopping,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    RichModelSummary,
    RichProgressBar,
    SupervisedTask,
    Timer,
    checkpoint,
    console,
)  # fmt: skip
from tests.trainer.conftest import loader, net
from tests.trainer.table_callbacks import EFFECTS, WRONG, kept, rows


@pytest.mark.parametrize(
    ("name", "arguments", "holds"), [(name, *row) for name, found in EFFECTS.items() for row in found],
)  # fmt: skip
def test_effect(trainer, name, arguments, holds):
    callback = build("callback", {"name": name, **arguments})
    ours = trainer(
        max_epochs=2, callbacks=callback, log_every_n_steps=4, enable_progress_bar=True, enable_model_summary=True
    )
    ours.fit(net(), loader(), loader(16))
    assert callback in ours.callbacks
    assert holds(ours)


def test_every_registered_callback_has_a_row():
    assert set(EFFECTS) == set(names("callback")) - {"sample_text"}  # which needs tokens: test_language.py


@pytest.mark.parametrize(("name", "arguments", "said"), WRONG)
def test_wrong_arguments_are_refused(name, arguments, said):
    with pytest.raises(ConfigError) as caught:
        build("callback", {"name": name, **arguments})
    assert said in str(caught.value)


# --- ModelCheckpoint and EarlyStopping, driven by a scripted metric ------------------------------------------------


def scripted(trainer: Any, values: list[float], *callbacks: Callback, **arguments: Any) -> Any:
    """Fits with one batch an epoch, whose validation logs the next of `values` as val/x."""
    rest = iter(values)

    class Mine(SupervisedTask):
        def validation_step(self, batch, batch_idx):
            self.log("val/x", 0.0 if self.trainer.sanity_checking else next(rest))

    ours = trainer(max_epochs=len(values), callbacks=list(callbacks), num_sanity_val_steps=0, **arguments)
    ours.fit(Mine(net(), CrossEntropyLoss()), loader(8), loader(8))
    return ours


NAN = float("nan")
BEST = {
    "lowest": ([3, 1, 2], "min", 1, {"epoch_001-step_000002"}, 1),
    "highest": ([3, 1, 2], "max", 1, {"epoch_000-step_000001"}, 3),
    "two lowest": ([3, 1, 2], "min", 2, {"epoch_001-step_000002", "epoch_002-step_000003"}, 1),
    "all": ([3, 1], "min", -1, {"epoch_000-step_000001", "epoch_001-step_000002"}, 1),
    "ties stay with the first": ([1, 1, 1], "min", 1, {"epoch_000-step_000001"}, 1),
    "NaN is never better": ([2, NAN, 1, NAN], "min", 1, {"epoch_002-step_000003"}, 1),
    "anything is better than NaN": ([NAN, 5], "min", 1, {"epoch_001-step_000002"}, 5),
    "infinity counts": ([math.inf, 5], "max", 1, {"epoch_000-step_000001"}, math.inf),
}


@pytest.mark.parametrize(("values", "mode", "top", "names", "score"), BEST.values(), ids=BEST.keys())
def test_the_best_are_kept(trainer, values, mode, top, names, score):
    callback = ModelCheckpoint(monitor="val/x", mode=mode, save_top_k=top, save_last=False)
    ours = scripted(trainer, values, callback)
    assert kept(ours) == names
    assert callback.best_model_score == score
    manifest = checkpoint.read_manifest(callback.best_model_path)
    assert manifest["metrics"]["val/x"] == (score if math.isfinite(score) else {"__float__": "inf"})


def test_last_is_kept_beside_the_best_and_pointed_to(trainer):
    callback = ModelCheckpoint(monitor="val/x", save_last=True)
    ours = scripted(trainer, [1, 2, 3, 4], callback)
    assert kept(ours) == {"epoch_000-step_000001", "epoch_003-step_000004"}
    assert checkpoint.last(ours.run_dir / "checkpoints").name == "epoch_003-step_000004"


def test_no_top_k_keeps_the_last_only(trainer):
    ours = scripted(trainer, [3, 2, 1], ModelCheckpoint(monitor="val/x", save_top_k=0, save_last=True))
    assert kept(ours) == {"epoch_002-step_000003"}


def test_one_name_for_all_keeps_versions_apart(trainer):
    ours = scripted(trainer, [3, 2, 1], ModelCheckpoint(monitor="val/x", save_top_k=2, filename="best"))
    assert kept(ours) == {"best-v1", "best-v2"}


def test_checkpoints_of_others_are_never_replaced_or_removed(trainer, tmp_path):
    other = checkpoint.save(tmp_path / "run" / "checkpoints" / "best", {"state_dict": {}})
    scripted(trainer, [3, 2, 1], ModelCheckpoint(monitor="val/x", filename="best"))
    assert checkpoint.load(other) == {"state_dict": {}}


def test_a_save_that_fails_leaves_the_older_ones(trainer, monkeypatch):
    calls = []

    def save(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(path, *args, **kwargs)

    real = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", save)
    callback = ModelCheckpoint(monitor="val/x", save_last=True)
    with pytest.raises(OSError, match="No space"):
        scripted(trainer, [3, 2, 1], callback)
    assert checkpoint.load(callback.dirpath / "last")["epoch"] == 2


def test_a_stale_metric_does_not_count_again(trainer):
    callback = ModelCheckpoint(monitor="val/loss", save_top_k=-1, save_last=False)
    trainer(max_epochs=4, check_val_every_n_epoch=2, callbacks=callback).fit(net(), loader(8), loader(8))
    assert {Path(path).name[:9] for path in callback.best_k_models} == {"epoch_001", "epoch_003"}


STOPS = {
    "patience": ([3, 2, 2, 2, 2], {"patience": 2}, 4),
    "improvement starts anew": ([3, 4, 2, 4, 4, 1], {"patience": 2}, 5),
    "min_delta": ([3, 2.9, 2.8, 2.7], {"patience": 2, "min_delta": 0.5}, 3),
    "highest": ([1, 2, 3, 3, 3], {"patience": 2, "mode": "max"}, 5),
    "NaN": ([3, NAN, 1], {}, 2),
    "NaN is let pass": ([3, NAN, 1], {"check_finite": False}, 3),
    "threshold": ([3, 1, 0.5, 0.1], {"stopping_threshold": 0.7}, 3),
    "divergence": ([3, 1, 9, 0.1], {"divergence_threshold": 5.0}, 3),
    "no patience": ([3, 3], {"patience": 0}, 2),
}


@pytest.mark.parametrize(("values", "arguments", "epochs"), STOPS.values(), ids=STOPS.keys())
def test_early_stopping(trainer, values, arguments, epochs):
    assert scripted(trainer, values, EarlyStopping("val/x", **arguments)).current_epoch == epochs


def test_min_epochs_outlast_early_stopping(trainer):
    ours = scripted(trainer, [1, 2, 3, 4], EarlyStopping("val/x", patience=1), min_epochs=3)
    assert ours.current_epoch == 3


def test_a_stopped_run_goes_on_with_more_patience_only(trainer):
    values = [1, 2, 3, 4, 5]
    scripted(trainer, values, EarlyStopping("val/x", patience=2))

    def resumed(patience: int) -> int:
        ours = trainer(max_epochs=5, callbacks=EarlyStopping("val/x", patience=patience), num_sanity_val_steps=0)

        class Mine(SupervisedTask):
            def validation_step(self, batch, batch_idx):
                self.log("val/x", values[self.current_epoch])

        ours.fit(Mine(net(), CrossEntropyLoss()), loader(8), loader(8), ckpt_path="last")
        return ours.current_epoch

    assert resumed(2) == 3
    assert resumed(4) == 5


def test_the_state_is_saved_when_training_fails(trainer):
    def fail(trainer, task, batch, batch_idx):
        if trainer.global_step == 4:
            raise ZeroDivisionError

    callback = ModelCheckpoint(save_on_exception=True, save_top_k=0, save_weights_only=True)
    ours = trainer(callbacks=[LambdaCallback(on_train_batch_start=fail), callback])
    with pytest.raises(ZeroDivisionError):
        ours.fit(net(), loader())
    assert kept(ours) == {"epoch_000-step_000004"}
    again = trainer(callbacks=callback)
    again.fit(net(), loader(), ckpt_path=callback.last_model_path)
    assert again.global_step == 6


def test_a_timer_keeps_the_time(trainer):
    timer = Timer({"hours": 1})
    assert timer.start_time() is None
    ours = trainer(callbacks=timer)
    ours.fit(net(), loader(), loader(8))
    assert 0 < timer.time_elapsed("validate") < timer.time_elapsed() < 3600
    assert timer.time_remaining() == pytest.approx(3600 - timer.time_elapsed())
    assert timer.time_elapsed("test") == 0


def test_two_callbacks_of_a_kind_need_keys_of_their_own(trainer):
    with pytest.raises(ExpkitError, match="config_key"):
        trainer(callbacks=[ModelCheckpoint(), ModelCheckpoint()])


def test_learning_rates_follow_a_schedule_of_steps(trainer):
    task = SupervisedTask(
        net(), CrossEntropyLoss(), lambda params: Adam(params, lr=1.0),
        lambda optimizer: {"scheduler": StepLR(optimizer, 1, 0.5), "interval": "step"},
    )  # fmt: skip
    ours = trainer(callbacks=LearningRateMonitor(), log_every_n_steps=1)
    ours.fit(task, loader())
    assert dict(rows(ours, "lr-Adam")) == {step: 0.5**step for step in range(6)}


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_without_a_terminal_each_epoch_is_one_line(trainer, caplog):
    trainer(max_epochs=2, enable_progress_bar=True).fit(net(), loader(), loader(16))
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("epoch ")]
    assert [line.split("  ")[0] for line in lines] == ["epoch 0/1", "epoch 1/1"]
    assert all("train/loss" in line and "val/acc" in line for line in lines)


def test_in_a_terminal_there_are_a_bar_and_a_table(trainer, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(console.console, "_file", screen)  # the property would stay set afterwards
    monkeypatch.setattr(console.console, "_force_terminal", True)
    monkeypatch.setattr(console.console, "_width", 140)
    ours = trainer(
        callbacks=[RichProgressBar(leave=True), RichModelSummary()], enable_progress_bar=True, enable_model_summary=True
    )
    ours.fit(net(), loader(), loader(16))
    ours.test(dataloaders=loader(16))
    shown = screen.getvalue()
    assert "Linear(" in shown
    assert "8x4" in shown
    assert "6/6" in shown
    assert "test/acc" in shown


def test_in_a_narrow_terminal_metrics_are_cut_off_and_nothing_else(trainer, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(console.console, "_file", screen)
    monkeypatch.setattr(console.console, "_force_terminal", True)
    monkeypatch.setattr(console.console, "_width", 80)
    ours = trainer(max_epochs=2, callbacks=RichProgressBar(leave=True), enable_progress_bar=True)
    task = SupervisedTask(net(), CrossEntropyLoss())
    ours.fit(task, loader(), loader(16))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    lines = [line for line in plain.splitlines() if "batches/s" in line]
    assert any("epoch 1/1" in line and "━━━" in line and "6/6" in line and "val/loss" in line for line in lines)


def test_loggers_hear_of_the_end_when_a_teardown_fails(trainer):
    class Logger:
        ended = None

        def log_metrics(self, metrics, step, epoch):
            pass

        def finalize(self, status):
            self.ended = status

    def fail(trainer, task, stage):
        raise RuntimeError("here")

    logger = Logger()
    with pytest.raises(RuntimeError, match="here"):
        trainer(logger=logger, callbacks=LambdaCallback(teardown=fail)).fit(net(), loader())
    assert logger.ended == "FINISHED"


def test_parameters_are_counted(trainer, caplog):
    model = net()
    model[0].requires_grad_(False)
    trainer(enable_model_summary=True).fit(model, loader())
    assert "model: 67 parameters, 40 of them fixed" in caplog.text


def test_max_time_adds_a_timer(trainer):
    ours = trainer(max_epochs=-1, max_time={"seconds": 0})
    ours.fit(net(), loader())
    assert ours.global_step == 1
    assert any(isinstance(callback, Timer) for callback in ours.callbacks)


def test_two_optimizers_of_a_kind_are_told_apart():
    class Trainer:
        optimizers = [Adam(net().parameters(), lr=lr) for lr in (0.1, 0.2)]  # noqa: RUF012

    assert LearningRateMonitor().metric_names(Trainer()) == ["lr-Adam", "lr-Adam-1"]


def test_lambda_callbacks_may_be_many(trainer):
    said: list[int] = []
    both = [LambdaCallback(on_fit_end=lambda trainer, task, n=n: said.append(n)) for n in (1, 2)]
    trainer(callbacks=both).fit(net(), loader(8))
    assert said == [1, 2]


def test_the_step_that_ends_an_epoch_counts(trainer):
    """5 batches, 2 of them a step: the third step has one."""
    ours = trainer(accumulate_grad_batches=2, callbacks=ModelCheckpoint(every_n_train_steps=3, save_last=False))
    ours.fit(net(), loader(40))
    assert kept(ours) == {"epoch_000-step_000003"}


def test_both_time_limits_hold(trainer):
    ours = trainer(max_epochs=-1, max_steps=50, max_time={"seconds": 0}, callbacks=Timer({"hours": 1}))
    ours.fit(net(), loader())
    assert ours.global_step == 1


def test_a_timer_knows_when_stages_began_and_ended(trainer):
    def fail(trainer, task):
        if not trainer.sanity_checking:
            raise RuntimeError("here")

    timer = Timer()
    with pytest.raises(RuntimeError, match="here"):
        trainer(callbacks=[timer, LambdaCallback(on_validation_epoch_end=fail)]).fit(net(), loader(), loader(8))
    for stage in ("train", "validate"):
        assert timer.start_time(stage) < timer.end_time(stage)
        assert timer.time_elapsed(stage) == timer.time_elapsed(stage)  # it stands still
    assert timer.time_elapsed() == pytest.approx(timer.end_time() - timer.start_time())


def test_an_error_is_not_hidden_by_what_fails_after_it(trainer, caplog):
    class Fails(Callback):
        def on_exception(self, trainer, task, exception):
            raise OSError(28, "No space left on device")

    def fail(trainer, task, outputs, batch, batch_idx):
        raise RuntimeError("the cause")

    called = []
    last = LambdaCallback(on_exception=lambda trainer, task, exception: called.append(exception))
    with pytest.raises(RuntimeError, match="the cause"):
        trainer(callbacks=[Fails(), LambdaCallback(on_train_batch_end=fail), last]).fit(net(), loader())
    assert len(called) == 1
    assert "on_exception failed as well: OSError" in caplog.text


@pytest.mark.parametrize("make", [ModelCheckpoint, OnExceptionCheckpoint])
def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(trainer, tmp_path, make):
    (tmp_path / "file").write_text("")
    ours = trainer(callbacks=make(dirpath=tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match=f"{make.__name__}: dirpath=.*below.*{tmp_path}/file is not a folder"):
        ours.fit(net(), loader())
    assert ours.global_step == 0


@pytest.mark.parametrize(
    ("field", "said"),
    [("val/los:.3f", "filename=val/los: .* mean 'val/loss'"), ("lr-Adam", ""), ("train/loss_epoch", "")],
)  # fmt: skip
def test_the_fields_of_a_filename_are_checked_before_the_first_step(trainer, field, said):
    kept = ModelCheckpoint(filename="{epoch}-{" + field + "}-{val/acc}", monitor="val/loss")
    ours = trainer(callbacks=[kept, LearningRateMonitor()])
    model = SupervisedTask(net(), CrossEntropyLoss(), lambda p: Adam(p, lr=0.1))
    if not said:
        ours.fit(model, loader(), loader(8))
        return
    with pytest.raises(ConfigError, match=said):
        ours.fit(model, loader(), loader(8))
    assert ours.global_step == 0
