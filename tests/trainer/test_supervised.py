"""SupervisedTask and what a plain model is wrapped into."""

import numpy as np
import pytest

from expkit import nn
from expkit.data import DataLoader, TensorDataset
from expkit.errors import ConfigError, DataError
from expkit.optim import SGD
from expkit.tensor import rand, randint, tensor
from expkit.trainer import Interrupted, SupervisedTask, Task
from expkit.trainer.logged import Logged
from expkit.trainer.optimizers import of_task
from expkit.trainer.tasks.supervised import fit_target
from tests.trainer.conftest import loader, net


@pytest.mark.parametrize(
    ("regression", "kind", "names"),
    [(False, "classification", {"acc", "f1"}), (True, "regression", {"mae", "r2"})],
)
def test_a_plain_model_is_wrapped_by_its_targets(trainer, caplog, regression, kind, names):
    model = net(outputs=1 if regression else 3)
    ours = trainer()
    ours.fit(model, loader(regression=regression), loader(16, regression=regression))
    assert {f"val/{name}" for name in names} <= set(ours.callback_metrics)
    said = [record.getMessage() for record in caplog.records if "is trained as" in record.getMessage()]
    assert len(said) == 1
    assert f"Sequential is trained as {kind}" in said[0]
    assert "Adam(lr=0.001)" in said[0]
    [result] = ours.test(model, loader(regression=regression), verbose=False)
    assert {f"test/{name}" for name in names} <= set(result)
    assert len([record for record in caplog.records if "is trained as" in record.getMessage()]) == 1


def test_one_output_is_not_broadcast_against_flat_targets(trainer):
    """(N, 1) - (N,) would be (N, N): the loss must be that of (N,)."""
    data, model = loader(16, batch_size=16, regression=True), net(outputs=1)
    x, y = next(iter(data))
    [result] = trainer().validate(model, data, verbose=False)
    expected = float(((model(x).detach().numpy()[:, 0] - y.numpy()) ** 2).mean())
    assert result["val/loss"] == pytest.approx(expected, rel=1e-5)


TARGETS = {
    "cross_entropy": (nn.CrossEntropyLoss(), (8, 3), (8,), "int", (8, 3), (8,)),
    "mse of columns": (nn.MSELoss(), (8, 2), (8, 2), "float", (8, 2), (8, 2)),
    "mse of one output": (nn.MSELoss(), (8, 1), (8,), "float", (8,), (8,)),
    "mse of one target": (nn.MSELoss(), (8,), (8, 1), "float", (8,), (8,)),
    "logits": (nn.BCEWithLogitsLoss(), (8, 1), (8,), "int", (8,), (8,)),
    "a function": (nn.functional.l1_loss, (8, 1), (8,), "int", (8,), (8,)),
}


@pytest.mark.parametrize("row", TARGETS.values(), ids=TARGETS.keys())
def test_targets_are_brought_into_the_losses_form(row):
    loss, shape, target_shape, kind, expected, expected_target = row
    target = randint(0, 2, target_shape) if kind == "int" else rand(*target_shape)
    prediction, fitted = fit_target(rand(*shape), target, loss)
    assert (prediction.shape, fitted.shape) == (expected, expected_target)
    assert loss(prediction, fitted).ndim == 0
    np.testing.assert_array_equal(fitted.numpy().reshape(-1), target.numpy().reshape(-1))


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.BCELoss()])
def test_two_classes_with_one_output(trainer, loss):
    x = rand(32, 4)
    data = DataLoader(TensorDataset(x, (x[:, 0] > 0.5).long()), batch_size=8)
    end = [] if isinstance(loss, nn.BCEWithLogitsLoss) else [nn.Sigmoid()]
    task = SupervisedTask(nn.Sequential(net(outputs=1), *end), loss, lambda params: SGD(params, lr=1.0))
    ours = trainer(max_epochs=60, enable_checkpointing=False)
    ours.fit(task, data)
    assert ours.callback_metrics["train/acc"] > 0.8


BATCHES = {
    "three parts": ((tensor([1.0]),) * 3, "got 3 parts"),
    "a tensor": (tensor([1.0]), "got Tensor"),
    "a dict": ({"x": tensor([1.0])}, "got dict"),
}


@pytest.mark.parametrize(("batch", "said"), BATCHES.values(), ids=BATCHES.keys())
def test_other_batches_are_refused(trainer, batch, said):
    with pytest.raises(DataError, match=said):
        trainer().fit(net(), [batch])


def test_a_model_must_be_a_module(trainer):
    with pytest.raises(ConfigError, match="got function"):
        trainer().fit(lambda x: x, loader())


def test_the_weights_of_a_checkpoint_fit_the_bare_model(trainer):
    from expkit.trainer.checkpoint import load_weights

    model = net()
    ours = trainer()
    ours.fit(model, loader())
    weights = load_weights(ours.run_dir)
    assert set(weights) == set(model.state_dict())
    other = net(seed=9)
    other.load_state_dict(weights)
    assert other[0].weight.tolist() == model[0].weight.tolist()


def test_a_loss_with_weights_of_its_own_is_trained_on(trainer):
    task = SupervisedTask(net(), nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0]))
    trainer(max_epochs=2).fit(task, loader(), ckpt_path=None)
    again = SupervisedTask(net(), nn.CrossEntropyLoss(weight=[9.0, 9.0, 9.0]))
    trainer(max_epochs=2).fit(again, loader(), ckpt_path="last")
    assert again.loss.weight.tolist() == [1.0, 2.0, 3.0]


def test_metrics_without_a_trainer_say_so():
    with pytest.raises(ConfigError, match="not attached to a Trainer"):
        Task().log("a", 1.0)


LOGS = {
    "a vector": (
        lambda log: log.log("a", rand(3), weight=1, on_step=True, on_epoch=False, prog_bar=False, logger=True),
        "shape",
    ),
    "a text": (
        lambda log: log.log("a", "x", weight=1, on_step=True, on_epoch=False, prog_bar=False, logger=True),
        "expected",
    ),
    "a reduction": (lambda log: log.log("a", 1, weight=1, reduce_fx="maen"), "Did you mean 'mean'"),
}


@pytest.mark.parametrize(("act", "said"), LOGS.values(), ids=LOGS.keys())
def test_what_cannot_be_logged_is_refused(act, said):
    with pytest.raises(ConfigError, match=said):
        act(Logged())


@pytest.mark.parametrize(("reduce_fx", "expected"), [("mean", 2.5), ("sum", 4.0), ("min", 1.0), ("max", 3.0)])
def test_reductions_over_an_epoch(reduce_fx, expected):
    logged = Logged()
    for value, weight in ((1.0, 1), (3.0, 3)):
        logged.log(
            "a", value, weight=weight, reduce_fx=reduce_fx, on_step=False, on_epoch=True, prog_bar=False, logger=True
        )
    again = Logged()
    again.load_state_dict(logged.state_dict())
    assert logged.epoch_values() == again.epoch_values() == {"a": expected}
    assert logged.epoch_values() == {}


OPTIMIZERS = {
    "nothing": (lambda o: None, "0 optimizers"),
    "two": (lambda o: [o, o], "2 optimizers"),
    "no optimizer": (lambda o: net(), "Sequential is no optimizer"),
    "an unknown key": (lambda o: {"optimiser": o}, "Did you mean 'optimizer'"),
    "no scheduler": (lambda o: {"optimizer": o, "lr_scheduler": 3}, "int is no scheduler"),
    "an unknown key of a scheduler": (
        lambda o: {"optimizer": o, "lr_scheduler": {"schedular": o}},
        "Did you mean 'scheduler'",
    ),
    "an interval": (
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": o, "interval": "batch"}},
        "'epoch' or 'step'",
    ),
    "a frequency": (lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": o, "frequency": 0}}, "frequency=0"),
}


@pytest.mark.parametrize(("make", "said"), OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_what_configure_optimizers_may_not_return(make, said):
    task = SupervisedTask(net(), nn.MSELoss())
    task.configure_optimizers = lambda: make(SGD(net().parameters(), lr=0.1))
    with pytest.raises(ConfigError, match=said):
        of_task(task)


def test_interrupted_is_a_keyboard_interrupt():
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert Interrupted(2).exit_code == 130
