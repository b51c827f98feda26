"""The Trainer's precisions: dtypes of model, batches and steps; loss scaling; resumes to the bit."""

import json

import numpy as np
import pytest

from expkit import nn
from expkit import tensor as T
from expkit.optim import SGD
from expkit.trainer import LambdaCallback, ModelCheckpoint, SupervisedTask, checkpoint, seed_everything
from tests.trainer.conftest import loader, net

ROWS = {
    "32-true": ("float32", "float32"),
    "64-true": ("float64", "float64"),
    "16-true": ("float16", "float16"),
    "bf16-true": ("bfloat16", "bfloat16"),
    "16-mixed": ("float32", "float16"),
    "bf16-mixed": ("float32", "bfloat16"),
    "bf16": ("float32", "bfloat16"),
    16: ("float32", "float16"),
    64: ("float64", "float64"),
}


@pytest.mark.parametrize("precision", ROWS)
def test_dtypes_of_parameters_batches_and_outputs(trainer, precision):
    seen = []

    class Looking(SupervisedTask):
        def forward(self, x):
            out = self.model(x)
            seen.append((x.dtype, out.dtype))
            return out

        def _step(self, batch, stage):
            self.forward(batch[0])
            return super()._step(batch, stage)

    task = Looking(net(), nn.CrossEntropyLoss(), lambda params: SGD(params, lr=0.1))  # Adam's eps is 0 in float16
    ours = trainer(precision=precision)
    ours.fit(task, loader(), loader(16))
    whole, lower = (getattr(T, name) for name in ROWS[precision])
    assert set(seen) == {(whole, lower)}
    assert task.model[0].weight.dtype is whole
    assert np.isfinite(ours.callback_metrics["val/loss"])
    assert ours.callback_metrics["val/acc"] > 0.1


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_learns_as_well(trainer, precision):
    losses = []
    for chosen in ("32-true", precision):
        ours = trainer(precision=chosen, max_epochs=8)
        ours.fit(net(), loader(), loader())
        losses.append(ours.callback_metrics["val/loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_an_overflow_makes_no_step_and_halves_the_scale(trainer):
    ours = trainer(precision="16-mixed", limit_train_batches=1)
    weights = []

    def spoil(trainer, task):
        task.model[0].weight.grad[0, 0] = float("inf")

    look = LambdaCallback(on_after_backward=spoil)
    model = net()
    weights.append(model[0].weight.detach().clone())
    ours.callbacks.append(look)
    ours.fit(model, loader())
    assert (model[0].weight == weights[0]).all()
    assert ours.scaler.get_scale() == 2.0**15
    assert ours.global_step == 1


def test_gradients_are_clipped_after_unscaling(trainer):
    norms = []

    class Looking(SupervisedTask):
        def on_before_optimizer_step(self, optimizer):
            norms.append(max(float(p.grad.abs().max()) for p in self.parameters()))

    ours = trainer(precision="16-mixed", gradient_clip_val=0.1)
    ours.fit(Looking(net(), nn.CrossEntropyLoss()), loader())
    assert max(norms) < 10


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "bf16-true"])
def test_a_resumed_run_is_the_same_to_the_bit(trainer, tmp_path, precision):
    def fit(epochs, folder, ckpt_path=None):
        seed_everything(3)
        kept = ModelCheckpoint(dirpath=tmp_path / folder, save_last=True)
        ours = trainer(precision=precision, max_epochs=epochs, callbacks=[kept])
        task = SupervisedTask(net(dropout=0.3), nn.CrossEntropyLoss())
        ours.fit(task, loader(shuffle=True), ckpt_path=ckpt_path)
        return ours

    whole = fit(4, "whole")
    fit(2, "parts")
    parts = fit(4, "parts", tmp_path / "parts")
    for name, value in whole.task.state_dict().items():
        assert value.float().numpy().tobytes() == parts.task.state_dict()[name].float().numpy().tobytes()
    assert (whole.scaler and whole.scaler.state_dict()) == (parts.scaler and parts.scaler.state_dict())
    state = json.loads((checkpoint.last(tmp_path / "parts") / "state.json").read_text())
    assert (state["scaler"] is not None) == (precision == "16-mixed")


class Noisy(SupervisedTask):
    """Draws what it adds to its inputs, without saying of which dtype."""

    def training_step(self, batch, batch_idx):
        noise = T.randn(*batch[0].shape)
        assert noise.dtype is batch[0].dtype
        return super().training_step((batch[0] + noise, batch[1]), batch_idx)


@pytest.mark.parametrize("compile", [False, "auto"])
@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "32-true"])
def test_tensors_that_a_step_makes_are_of_its_precision(trainer, precision, compile):
    trainer(precision=precision, compile=compile, max_epochs=1).fit(Noisy(net(), nn.CrossEntropyLoss()), loader())
    assert T.get_default_dtype() is T.float32
