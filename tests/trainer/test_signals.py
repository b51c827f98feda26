"""SIGINT and SIGTERM: the step is finished, the state saved, and nothing of ours stays behind."""

import os
import signal
import threading

import pytest

from expkit import nn
from expkit.trainer import Interrupted, LambdaCallback, SupervisedTask, checkpoint
from expkit.trainer.signals import SIGNALS, signals
from tests.trainer.conftest import loader, net


@pytest.fixture(autouse=True)
def handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


def send(number: int, times: int = 1, at: int = 3, hook: str = "on_train_batch_start") -> LambdaCallback:
    calls = []

    def look(trainer, task, *args):
        calls.append(1)
        if len(calls) == at and not trainer.sanity_checking:
            for _ in range(times):
                os.kill(os.getpid(), number)

    return LambdaCallback(**{hook: look if hook.endswith("epoch_start") else _with_batch(look)})


def _with_batch(look):
    return lambda trainer, task, batch, batch_idx: look(trainer, task)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_step_is_finished_and_saved(trainer, number, code):
    ours = trainer(callbacks=send(number))
    with pytest.raises(Interrupted) as caught:
        ours.fit(net(), loader())
    assert caught.value.exit_code == code
    assert ours.global_step == 3
    last = checkpoint.last(ours.run_dir / "checkpoints")
    assert caught.value.saved == str(last)
    assert checkpoint.load(last)["progress"]["batch"] == 3
    resumed = trainer()
    resumed.fit(net(), loader(), ckpt_path="last")
    assert resumed.global_step == 6


def test_gradients_that_are_gathered_are_used_first(trainer):
    ours = trainer(callbacks=send(signal.SIGINT), accumulate_grad_batches=4)
    with pytest.raises(Interrupted):
        ours.fit(net(), loader())
    assert (ours.global_step, ours.progress.batch) == (1, 4)


@pytest.mark.parametrize("gather", [1, 4])
def test_a_validation_that_was_cut_short_is_done_on_resume(trainer, tmp_path, gather):
    def fit(run, *callbacks, **how):
        ours = trainer(
            max_epochs=2, val_check_interval=2, callbacks=list(callbacks), default_root_dir=str(tmp_path / run),
            accumulate_grad_batches=gather)  # fmt: skip
        ours.fit(SupervisedTask(net(), nn.CrossEntropyLoss()), loader(shuffle=True), loader(24), **how)
        return ours

    whole = fit("whole")
    # The sanity check takes two batches, the first validation three: the signal comes in the second of those.
    with pytest.raises(Interrupted):
        fit("parts", send(signal.SIGTERM, at=4, hook="on_validation_batch_start"))
    assert checkpoint.load(tmp_path / "parts")["progress"]["unfinished"] is True
    parts = fit("parts", ckpt_path=tmp_path / "parts")
    assert parts.callback_metrics == whole.callback_metrics
    assert [value.numpy().tobytes() for value in parts.task.state_dict().values()] == [
        value.numpy().tobytes() for value in whole.task.state_dict().values()
    ]


def test_a_second_signal_interrupts_at_once(trainer):
    ours = trainer(callbacks=send(signal.SIGINT, times=2))
    with pytest.raises(Interrupted) as caught:
        ours.fit(net(), loader())
    assert caught.value.saved is None
    assert ours.global_step == 2
    assert not (ours.run_dir / "checkpoints").exists()


def test_without_checkpoints_nothing_is_saved(trainer):
    ours = trainer(callbacks=send(signal.SIGINT), enable_checkpointing=False)
    with pytest.raises(Interrupted) as caught:
        ours.fit(net(), loader())
    assert caught.value.saved is None


def test_the_next_fit_is_not_stopped_by_an_old_signal(trainer):
    with pytest.raises(Interrupted):
        trainer(callbacks=send(signal.SIGINT)).fit(net(), loader())
    ours = trainer()
    ours.fit(net(), loader())
    assert ours.global_step == 6


def test_outside_of_the_loop_the_first_signal_interrupts():
    with pytest.raises(Interrupted), signals:
        os.kill(os.getpid(), signal.SIGTERM)
    with signals, pytest.raises(Interrupted), signals:
        os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_install_no_handlers(trainer):
    failures: list[BaseException] = []

    def fit():
        try:
            trainer().fit(net(), loader())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert failures == []


def test_handlers_are_ours_only_while_fitting(trainer):
    seen = []
    trainer(callbacks=LambdaCallback(on_train_start=lambda t, task: seen.append(signal.getsignal(signal.SIGINT)))).fit(
        net(), loader()
    )
    assert seen == [signals._handle]
