"""A loss that is not finite stops the run and says where the first bad number came from."""

import numpy as np
import pytest

from expkit import nn
from expkit.errors import NonFiniteError
from expkit.optim import SGD
from expkit.tensor import from_numpy, log, sqrt, tensor, zeros
from expkit.trainer import LambdaCallback, ModelCheckpoint, SupervisedTask, checkpoint
from tests.trainer.conftest import loader, net


class Blow(nn.Module):
    """Gives infinity from its `at`-th call in training on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, x):
        self.calls += self.training
        return x + log(zeros(1)) if self.training and self.calls >= self.at else x


def fit(trainer, model, data=None, loss=None, **arguments):
    task = SupervisedTask(model, loss or nn.CrossEntropyLoss(), lambda params: SGD(params, lr=0.1))
    ours = trainer(**arguments)
    with pytest.raises(NonFiniteError) as caught:
        ours.fit(task, data or loader())
    return str(caught.value)


def test_the_first_layer_that_goes_wrong_is_named(trainer):
    model = nn.Sequential(net(), Blow(at=4), nn.Linear(3, 3))
    said = fit(trainer, model)
    assert "at step 4 (epoch 0, batch 3)" in said
    assert "the first layer that goes wrong is model.1 (Blow())" in said
    assert "24 infinite of 24 values" in said
    assert "for finite inputs in [" in said


def test_dropout_is_drawn_as_it_was(trainer):
    """The re-run sees the same random numbers, or it would find nothing wrong."""

    class Unlucky(nn.Module):
        def forward(self, x):
            return log((x != 0).float().mean() - 0.42) * x if self.training else x

    manual = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), Unlucky(), nn.Linear(8, 3))
    said = fit(trainer, manual, max_epochs=300)
    assert "model.2 (Unlucky())" in said


def poisoned(value: float):
    x, y = loader(8).dataset.tensors if hasattr(loader(8).dataset, "tensors") else next(iter(loader(8)))
    bad = x.numpy().copy()
    bad[3, 1] = value
    return [(from_numpy(bad), y)]


@pytest.mark.parametrize(
    ("value", "kind"), [(float("nan"), "1 NaN of 32 values"), (float("inf"), "1 infinite of 32 values")]
)
def test_bad_data_is_named(trainer, value, kind):
    assert f"the data: batch.0 holds {kind}" in fit(trainer, net(), poisoned(value))


def test_a_parameter_that_was_bad_before_is_named(trainer):
    def spoil(trainer, task):
        task.model[2].bias.data = tensor([0.0, float("nan"), 0.0])

    said = fit(trainer, net(), callbacks=LambdaCallback(on_train_start=spoil))
    assert "parameter model.2.bias (3,) holds 1 NaN of 3 values already" in said


def test_a_buffer_that_was_bad_before_is_named(trainer):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", tensor([1.0]))

        def forward(self, x):
            return x * self.scale

    def spoil(trainer, task):
        task.model[1].scale.fill_(float("inf"))

    said = fit(trainer, nn.Sequential(net(), Scaled()), callbacks=LambdaCallback(on_train_start=spoil))
    assert "buffer model.1.scale" in said


@pytest.mark.parametrize("compile", ["auto", False])
def test_statistics_that_the_bad_layer_spoils_are_not_blamed(trainer, compile):
    """Without compiling, batch norm has taken in the bad values when the loss is looked at."""
    model = nn.Sequential(nn.Linear(4, 4), Blow(at=5), nn.BatchNorm1d(4), nn.Linear(4, 3))
    assert "the first layer that goes wrong is model.1 (Blow())" in fit(trainer, model, compile=compile)


def test_operations_between_layers_are_named_by_what_they_lead_to(trainer):
    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.calls = nn.Linear(4, 4), nn.Linear(4, 3), 0

        def forward(self, x):
            x = self.first(x)
            return self.second(log(x - x) if self.training else x)

    said = fit(trainer, Between())
    assert "the input (8, 4) of model.second (Linear(" in said
    assert "32 infinite of 32 values already" in said


def test_the_loss_itself_is_named(trainer):
    said = fit(trainer, net(), loss=lambda prediction, target: prediction.sum() * float("inf"))
    assert "it is the loss itself" in said


def test_anomaly_detection_finds_bad_gradients_first(trainer):
    class Root(nn.Module):
        """sqrt has an infinite gradient at zero: the loss is finite, its gradient is not."""

        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(zeros(1))

        def forward(self, x):
            return x + sqrt(self.shift)

    assert "the gradient of model.1.shift (1,) is not finite at step 1" in fit(
        trainer, nn.Sequential(net(), Root()), detect_anomaly=True)  # fmt: skip
    assert "at step 2" in fit(trainer, nn.Sequential(net(), Root()))


def test_the_checkpoint_before_it_stays_and_is_named(trainer, tmp_path):
    keep = ModelCheckpoint(every_n_train_steps=1)
    said = fit(trainer, nn.Sequential(net(), Blow(at=4)), callbacks=keep)
    last = checkpoint.last(tmp_path / "run" / "checkpoints")
    assert last.name == "epoch_000-step_000003"
    assert str(last) in said
    assert np.isfinite(checkpoint.load_weights(last)["0.0.weight"].numpy()).all()
