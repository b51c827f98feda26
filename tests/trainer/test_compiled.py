"""trainer.compile: compiled training is the plain one, whatever stands around the step."""

import itertools

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.nn import functional as F
from expkit.optim import SGD, AdamW
from expkit.optim.schedulers import OneCycleLR, StepLR
from expkit.trainer import Accuracy, Callback, LambdaCallback, ModelCheckpoint, SupervisedTask, Task, seed_everything
from tests.trainer.compiling import adam, batches, fit, programs
from tests.trainer.conftest import loader, net


class Recurrent(nn.Module):
    def __init__(self, kind) -> None:
        super().__init__()
        self.cells, self.head = kind(6, 10, batch_first=True), nn.Linear(10, 3)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.block(self.embed(x)).mean(1))


def images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 3),
    )


def sgd(**options):
    return lambda params: SGD(params, **{"lr": 0.05, "momentum": 0.9, **options})


# model, shape of a sample (None: words), optimizer, scheduler, arguments of the trainer, relative tolerance
CASES = {
    "mlp, adam": (lambda: net(dropout=0.3), (4,), adam, None, {}, 1e-4),
    "mlp, adamw, clipped": (net, (4,), lambda p: AdamW(p, lr=0.01), None, {"gradient_clip_val": 0.3}, 1e-4),
    "mlp, values clipped": (
        net, (4,), sgd(), None, {"gradient_clip_val": 0.02, "gradient_clip_algorithm": "value"}, 1e-4),
    "cnn, momentum, schedule": (images, (2, 6, 6), sgd(), lambda o: StepLR(o, 1, 0.5), {}, 1e-4),
    "mlp, schedule of lr and momentum": (
        net, (4,), sgd(),
        lambda o: {"scheduler": OneCycleLR(o, 0.1, total_steps=30), "interval": "step"}, {}, 1e-4),
    "gru": (lambda: Recurrent(nn.GRU), (5, 6), adam, None, {}, 1e-4),
    "lstm, clipped": (lambda: Recurrent(nn.LSTM), (5, 6), adam, None, {"gradient_clip_val": 0.5}, 1e-4),
    "transformer": (Attending, None, lambda p: AdamW(p, lr=0.005), None, {}, 1e-4),
    "accumulation": (images, (2, 6, 6), adam, None, {"accumulate_grad_batches": 2}, 1e-4),
    "accumulation, clipped": (
        net, (4,), sgd(), None, {"accumulate_grad_batches": 3, "gradient_clip_val": 0.3}, 1e-4),
    "bfloat16": (net, (4,), sgd(), None, {"precision": "bf16-mixed"}, 2e-2),
    "float16, scaled": (net, (4,), sgd(), None, {"precision": "16-mixed", "gradient_clip_val": 1.0}, 1e-2),
    "float16, accumulation": (net, (4,), adam, None, {"precision": "16-mixed", "accumulate_grad_batches": 2}, 2e-2),
    "double": (net, (4,), adam, None, {"precision": "64-true"}, 1e-5),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_compiled_training_is_plain_training(trainer, case):
    make, shape, optimizer, scheduler, how, tolerance = CASES[case]
    expected, weights, _ = fit(
        trainer, make, batches(shape), compile=False, optimizer=optimizer, scheduler=scheduler, **how
    )
    losses, got, ours = fit(
        trainer, make, batches(shape), compile=True, optimizer=optimizer, scheduler=scheduler, **how
    )
    assert len(losses) == 18
    np.testing.assert_allclose(losses, expected, rtol=tolerance, atol=tolerance)
    for name, value in weights.items():
        np.testing.assert_allclose(got[name], value, rtol=20 * tolerance, atol=20 * tolerance, err_msg=name)
    gathered = how.get("accumulate_grad_batches", 1)
    # One program for each size of a batch; in accumulation for the first, a middle and the last batch of a step.
    joined = {1: 2, 2: 3, 3: 4}[gathered]
    assert programs(ours) == {"joined": joined}


def test_evaluation_is_compiled_and_the_same(trainer):
    found = []
    for compile in (False, True):
        seed_everything(5)
        ours = trainer(compile=compile, max_epochs=2)
        ours.fit(nn.Sequential(net(dropout=0.2), nn.BatchNorm1d(3)), loader(), loader(20, seed=3))
        found.append(ours.callback_metrics)
        if compile:
            (test,) = ours.test(dataloaders=loader(20, seed=3), verbose=False)
            assert test["test/loss"] == pytest.approx(found[1]["val/loss"], rel=1e-6)
            assert test["test/acc"] == found[1]["val/acc"]
    assert found[0].keys() == found[1].keys()
    assert found[1] == pytest.approx(found[0], rel=1e-3)


HOOKS = ["on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_hooks_run_at_each_step_and_their_gradients_are_used(trainer, hook, precision):
    seen: dict[bool, list] = {False: [], True: []}

    def run(compile):
        def look(trainer, task, *_):
            weight = task.model[0].weight
            seen[compile].append(None if weight.grad is None else weight.grad.numpy().copy())
            if hook in HOOKS[2:]:
                weight.grad.mul_(0.5)

        return fit(trainer, net, loader(), compile=compile, optimizer=sgd(), precision=precision,
                   callbacks=[LambdaCallback(**{hook: look})])  # fmt: skip

    expected, _, _ = run(False)
    losses, _, ours = run(True)
    assert len(seen[True]) == 18
    np.testing.assert_allclose(losses, expected, rtol=1e-2 if precision == "16-mixed" else 1e-4)
    for a, b in zip(seen[True], seen[False], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=0.1, atol=1e-2 * abs(b).max())
    assert ("forward" in programs(ours)) == (hook in HOOKS[:2])


def test_learning_rates_that_change_need_no_new_program(trainer):
    schedule = lambda o: {"scheduler": StepLR(o, 1, 0.9), "interval": "step"}  # noqa: E731
    _, _, ours = fit(trainer, net, loader(), compile=True, optimizer=sgd(), scheduler=schedule)
    assert ours.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.9**18)
    assert programs(ours) == {"joined": 1}


class Annealed(SupervisedTask):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + self.current_epoch)


class Scaled(SupervisedTask):
    scale = 1.0

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * self.scale


def test_the_epoch_may_be_asked_for(trainer, caplog):
    expected, _, _ = fit(trainer, net, loader(), compile=False, kind=Annealed, max_epochs=12)
    losses, _, ours = fit(trainer, net, loader(), compile=True, kind=Annealed, max_epochs=12)
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    assert programs(ours) == {"joined": 1}  # that of the last epoch


def test_attributes_of_the_task_may_change(trainer):
    def change(trainer, task):
        task.scale = 2.0 + trainer.current_epoch

    again = [LambdaCallback(on_train_epoch_start=change)]
    expected, _, _ = fit(trainer, net, loader(), compile=False, kind=Scaled, callbacks=again)
    losses, _, ours = fit(trainer, net, loader(), compile=True, kind=Scaled, callbacks=again)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert programs(ours) == {"joined": 3}


class Logging(Task):
    """A task of its own: a dict, metrics, several kinds of logging, batch_idx that is not used."""

    def __init__(self, model, *_):
        super().__init__()
        self.model, self.metric = model, Accuracy()

    def training_step(self, batch, batch_idx):
        x, y = batch["x"], batch["y"]
        scores = self.model(x)
        loss = F.cross_entropy(scores, y)
        self.metric.update(scores, y)
        self.log("train/acc", self.metric, on_step=True, on_epoch=True)
        self.log_dict({"a": loss * 2, "b": scores.detach().max()}, on_step=True, on_epoch=True, reduce_fx="max")
        return {"loss": loss, "scores": scores, "note": "text"}

    def configure_optimizers(self):
        return SGD([{"params": self.model[0].parameters(), "lr": 0.2}, {"params": self.model[2].parameters()}], lr=0.1)


def test_what_is_logged_is_the_same(trainer):
    found = []
    for compile in (False, True):
        logged = []
        note = LambdaCallback(
            on_train_batch_end=lambda t, task, out, batch, i, to=logged: to.append(
                {**t.callback_metrics, "shape": tuple(out["scores"].shape), "note": out["note"]}
            )
        )
        seed_everything(1)
        data = [{"x": x, "y": y} for x, y in loader(44)]
        ours = trainer(compile=compile, callbacks=[note], max_epochs=2)
        ours.fit(Logging(net()), data)
        found.append((logged, ours.callback_metrics))
    assert programs(ours) == {"joined": 2}
    for a, b in zip(found[0][0], found[1][0], strict=True):
        assert a.keys() == b.keys()
        assert (a.pop("shape"), a.pop("note")) == (b.pop("shape"), b.pop("note"))
        assert b == pytest.approx(a, rel=1e-4)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-4)


class Named(SupervisedTask):
    def training_step(self, batch, batch_idx):
        x, y, names, scale = batch
        assert names is not None
        if self.uses_scale:
            x = x * scale
        return super().training_step((x, y), batch_idx)


@pytest.mark.parametrize("uses_scale", [False, True])
def test_texts_and_floats_of_a_batch_make_no_programs(trainer, caplog, uses_scale):
    Named.uses_scale = uses_scale
    data = [(x, y, [f"sample {k}"], 1.0 + k / 10) for k, (x, y) in enumerate(loader())]
    expected, _, _ = fit(trainer, net, data, compile=False, kind=Named)
    losses, _, ours = fit(trainer, net, data, compile="auto", kind=Named)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    said = [record.getMessage() for record in caplog.records if "eagerly" in record.getMessage()]
    assert len(said) == uses_scale
    if not uses_scale:
        assert programs(ours) == {"joined": 1}


class Freezing(Callback):
    """Changes between steps what a program has taken for granted."""

    def on_train_epoch_start(self, trainer, task):
        task.model[0].requires_grad_(trainer.current_epoch != 1)
        task.model[1].p = 0.1 * trainer.current_epoch
        task.model[1].train(trainer.current_epoch != 2)


def test_layers_may_be_frozen_and_options_changed_between_steps(trainer):
    def model():
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))

    expected, weights, _ = fit(trainer, model, loader(), compile=False, callbacks=[Freezing()])
    losses, got, ours = fit(trainer, model, loader(), compile=True, callbacks=[Freezing()])
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for name, value in weights.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=1e-3)
    assert programs(ours) == {"joined": 3}


class Skipping(SupervisedTask):
    def training_step(self, batch, batch_idx):
        return None if len(batch[0]) < 8 else super().training_step(batch, batch_idx)


def test_a_batch_may_be_skipped(trainer):
    class Weights(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
            self.seen.append(task.model[0].weight.detach().numpy().copy())

    found = []
    for compile in (False, True):
        seed_everything(1)
        weights = Weights()
        task = Skipping(net(), nn.CrossEntropyLoss(), adam)
        trainer(compile=compile, callbacks=[weights], max_epochs=2).fit(task, loader(20))
        found.append(weights.seen)
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


class Spoilt(nn.Module):
    """log of a mean that is negative for one batch alone."""

    def forward(self, x):
        return x + ek.log(x.mean() * 0 + (x.abs().max() < 90).float() * 2 - 1 + 1e-3)


def test_a_loss_that_is_not_finite_leaves_everything_as_it_was(trainer):
    x, y = next(iter(loader(8)))
    data = [(x, y), (x, y), (x, y), (x + 100, y)]
    before = {}

    def keep(trainer, task, batch, batch_idx):
        before["weights"] = {k: v.numpy().tobytes() for k, v in task.state_dict().items()}
        before["moments"] = [v.numpy().tobytes() for s in trainer.optimizer.state.values() for v in s.values()]

    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Sequential(Spoilt(), nn.Linear(4, 3)))
    with ek.no_grad():
        model[0].weight.copy_(ek.eye(4))
    model[1] = Norm(4)
    task = SupervisedTask(model, nn.CrossEntropyLoss(), adam)
    ours = trainer(compile=True, callbacks=[LambdaCallback(on_train_batch_start=keep)])
    with pytest.raises(ek.errors.NonFiniteError, match=r"at step 4.*model\.2\.0 \(Spoilt\(\)\)"):
        ours.fit(task, data)
    assert programs(ours) == {"joined": 1}
    assert {k: v.numpy().tobytes() for k, v in task.state_dict().items()} == before["weights"]
    moments = [v.numpy().tobytes() for s in ours.optimizer.state.values() for v in s.values()]
    assert moments == before["moments"]


class Norm(nn.Module):
    """Counts in a buffer and lets its input through."""

    def __init__(self, size):
        super().__init__()
        self.register_buffer("seen", ek.zeros(size))

    def forward(self, x):
        self.seen.add_(x.detach().mean(0))
        return x


class Killed(BaseException):
    pass


@pytest.mark.parametrize("case", ["mlp, adam", "cnn, momentum, schedule", "accumulation", "float16, scaled"])
@pytest.mark.parametrize("at", [3, 8, 15])
def test_an_interrupted_run_is_the_same_to_the_bit(trainer, tmp_path, case, at):
    """Also where the resumed process meets the smaller last batch, or an epoch, for the first time."""
    make, shape, optimizer, scheduler, how, _ = CASES[case]

    def run(folder, stop=None, ckpt_path=None):
        seed_everything(5)
        count = itertools.count(1)

        def kill(trainer, task, batch, batch_idx):
            if stop is not None and next(count) > stop:
                raise Killed

        keep = ModelCheckpoint(dirpath=tmp_path / folder, every_n_train_steps=1, save_last=True)
        task = SupervisedTask(make(), nn.CrossEntropyLoss(), optimizer, scheduler)
        ours = trainer(compile=True, max_epochs=3, callbacks=[keep, LambdaCallback(on_train_batch_start=kill)], **how)
        try:
            ours.fit(task, batches(shape), batches(shape, 20, 1), ckpt_path=ckpt_path)
        except Killed:
            return None
        return {k: v.numpy().tobytes() for k, v in task.state_dict().items()}, ours.callback_metrics

    whole = run("whole")
    assert run("parts", stop=at) is None
    assert run("parts", ckpt_path=tmp_path / "parts") == whole
