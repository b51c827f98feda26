"""Hooks: all of Lightning's are called, in its order and with its arguments; a misspelt one is refused."""

import inspect

import pytest

from expkit.errors import HookError
from expkit.nn import CrossEntropyLoss
from expkit.tensor import manual_seed
from expkit.trainer import Callback, LambdaCallback, SupervisedTask, Task
from expkit.trainer.hooks import HOOKS, REFUSED
from tests.trainer.conftest import loader, net

WRONG = {
    "misspelt": ("on_train_ebd", lambda self, trainer, task: None, "Did you mean 'on_train_end'"),
    "unknown": ("on_something_else", lambda self: None, "is not a hook"),
    "too few arguments": ("on_train_end", lambda self: None, "it is called as on_train_end(trainer, task)"),
    "too many arguments": ("on_train_end", lambda self, trainer, task, more: None, "wrong arguments"),
    "of older versions": ("training_epoch_end", lambda self, outputs: None, "write on_train_epoch_end"),
    "never called here": ("on_validation_model_eval", lambda self: None, "the trainer calls eval()"),
    "of the trainer's step": ("optimizer_step", lambda self: None, "automatic_optimization = False"),
    "no batch": ("on_train_batch_start", lambda self, trainer, task: None, "(trainer, task, batch, batch_idx)"),
}


@pytest.mark.parametrize(("name", "method", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_hook_is_refused(trainer, name, method, said):
    callback = type("Mine", (Callback,), {name: method})()
    with pytest.raises(HookError) as caught:
        trainer(callbacks=callback)
    assert f"Mine.{name}" in str(caught.value)
    assert said in str(caught.value)


def test_a_wrong_hook_of_a_task_is_refused(trainer):
    class Mine(Task):
        def on_train_epoch_strat(self):
            pass

    with pytest.raises(HookError, match="Did you mean 'on_train_epoch_start'"):
        trainer().fit(Mine(), loader())


def test_a_lambda_callback_is_checked_too(trainer):
    with pytest.raises(HookError, match="Did you mean 'on_train_end'"):
        LambdaCallback(on_train_ned=print)
    with pytest.raises(HookError, match="write on_train_epoch_end"):
        LambdaCallback(on_epoch_end=print)
    with pytest.raises(HookError, match="wrong arguments"):
        trainer(callbacks=LambdaCallback(on_train_end=lambda: None))
    said = []
    trainer(callbacks=LambdaCallback(on_train_end=lambda trainer, task: said.append(trainer.global_step))).fit(
        net(), loader()
    )
    assert said == [6]


def test_defaults_have_the_documented_signature():
    signature = inspect.signature(Callback.on_train_batch_end)  # type: ignore[attr-defined]
    assert list(signature.parameters) == ["self", "trainer", "task", "outputs", "batch", "batch_idx"]
    Callback().on_train_end(None, None)  # type: ignore[attr-defined]  # and may be called by super()


class Recorder(Callback):
    """Notes every hook by name."""

    def __init__(self, names: list[str], prefix: str = "") -> None:
        self.names, self.prefix = names, prefix


def _recording(name: str):
    def hook(self, trainer, task, *args):
        assert len(args) == len(HOOKS[name])
        self.names.append(self.prefix + name)

    hook.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(p, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for p in ("self", "trainer", "task", *HOOKS[name])
        ]
    )
    return hook


for _name in HOOKS:
    setattr(Recorder, _name, _recording(_name))


BATCH = [
    "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_train_batch_end",
]  # fmt: skip
VALIDATION = [
    "on_validation_start", "on_validation_epoch_start", "on_validation_batch_start", "on_validation_batch_end",
    "on_validation_epoch_end", "on_validation_end",
]  # fmt: skip


def test_fit_calls_them_in_order(trainer):
    names: list[str] = []
    trainer(callbacks=Recorder(names), num_sanity_val_steps=1).fit(net(), loader(16), loader(8))
    assert names == [
        "setup", "on_fit_start", "on_sanity_check_start", *VALIDATION, "on_sanity_check_end", "on_train_start",
        "on_train_epoch_start", *BATCH, *BATCH, *VALIDATION, "on_train_epoch_end", "on_save_checkpoint", "on_train_end",
        "on_fit_end", "teardown",
    ]  # fmt: skip


def test_test_and_predict_call_theirs(trainer):
    names: list[str] = []
    ours = trainer(callbacks=Recorder(names))
    ours.test(net(), loader(8), verbose=False)
    stage = [name.replace("validation", "test") for name in VALIDATION]
    assert names == ["setup", *stage, "teardown"]
    names.clear()
    outputs = ours.predict(net(), loader(16))
    assert names[1:3] == ["on_predict_start", "on_predict_epoch_start"]
    assert [output.shape for output in outputs] == [(8, 3), (8, 3)]


def test_callbacks_come_before_the_task_and_late_ones_after(trainer):
    names: list[str] = []
    late = Recorder(names, "late ")
    late.late = True

    class Mine(Task):
        def on_train_epoch_end(self):
            names.append("task on_train_epoch_end")

        def training_step(self, batch):
            return self.model(batch[0]).sum()

        def configure_optimizers(self):
            from expkit.optim import SGD

            return SGD(self.parameters(), lr=0.0)

    task = Mine()
    task.model = net()
    trainer(callbacks=[late, Recorder(names)]).fit(task, loader(8))
    ends = [name for name in names if name.endswith("on_train_epoch_end")]
    assert ends == ["on_train_epoch_end", "task on_train_epoch_end", "late on_train_epoch_end"]


def test_an_exception_is_told_and_raised(trainer):
    told = []

    def fail(trainer, task, batch, batch_idx):
        raise ZeroDivisionError("mine")

    callbacks = [
        LambdaCallback(on_train_batch_start=fail),
        LambdaCallback(on_exception=lambda trainer, task, exception: told.append(exception)),
        LambdaCallback(teardown=lambda trainer, task, stage: told.append(stage)),
    ]
    with pytest.raises(ZeroDivisionError, match="mine"):
        trainer(callbacks=callbacks).fit(net(), loader())
    assert [str(item) for item in told] == ["mine", "fit"]


def test_evaluation_hooks_may_leave_out_the_loader_index(trainer):
    manual_seed(0)
    seen = []

    class Mine(Callback):
        def on_validation_batch_end(self, trainer, task, outputs, batch, batch_idx):
            seen.append(batch_idx)

    trainer(callbacks=Mine(), num_sanity_val_steps=0).fit(net(), loader(8), loader(16))
    assert seen == [0, 1]


def test_minus_one_leaves_out_the_rest_of_the_epoch(trainer):
    names: list[str] = []

    class Mine(Callback):
        def on_train_batch_start(self, trainer, task, batch, batch_idx):
            names.append(f"{trainer.current_epoch}.{batch_idx}")
            return -1 if batch_idx == 2 and trainer.current_epoch == 0 else None

        def on_validation_end(self, trainer, task):
            names.append("validated")

        def on_train_epoch_end(self, trainer, task):
            names.append("end")

    ours = trainer(callbacks=Mine(), max_epochs=2, num_sanity_val_steps=0, accumulate_grad_batches=2)
    ours.fit(net(), loader(24 + 8), loader(8))
    assert names == ["0.0", "0.1", "0.2", "validated", "end", "1.0", "1.1", "1.2", "1.3", "validated", "end"]
    assert ours.global_step == 3


# Lightning's hooks of version 2.5, of Callback and of LightningModule
LIGHTNINGS = set(
    """
setup teardown on_fit_start on_fit_end on_sanity_check_start on_sanity_check_end on_train_start on_train_end
on_train_epoch_start on_train_epoch_end on_train_batch_start on_train_batch_end on_validation_start on_validation_end
on_validation_epoch_start on_validation_epoch_end on_validation_batch_start on_validation_batch_end on_test_start
on_test_end on_test_epoch_start on_test_epoch_end on_test_batch_start on_test_batch_end on_predict_start on_predict_end
on_predict_epoch_start on_predict_epoch_end on_predict_batch_start on_predict_batch_end on_exception on_save_checkpoint
on_load_checkpoint on_before_backward on_after_backward on_before_optimizer_step on_before_zero_grad
on_validation_model_eval on_validation_model_train on_test_model_eval on_test_model_train on_predict_model_eval
on_predict_model_train on_validation_model_zero_grad
transfer_batch_to_device configure_sharded_model
""".split()  # noqa: SIM905
)


def test_each_of_lightnings_hooks_is_called_or_refused_with_a_reason():
    assert LIGHTNINGS - set(HOOKS) - set(REFUSED) == set()
    assert set(HOOKS) & set(REFUSED) == set()
    assert all(len(instead.split()) > 1 for instead in REFUSED.values())


def test_a_task_may_bring_its_data(trainer):
    class Mine(SupervisedTask):
        def train_dataloader(self):
            return loader(16)

        def val_dataloader(self):
            return loader(8)

        test_dataloader = val_dataloader

    ours = trainer()
    ours.fit(Mine(net(), CrossEntropyLoss()))
    assert ours.global_step == 2
    assert "val/loss" in ours.callback_metrics
    assert ours.validate(verbose=False)[0].keys() >= {"val/loss"}
    assert set(ours.test(verbose=False)[0]) >= {"test/loss"}
