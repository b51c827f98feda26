"""The task of a config: which one `auto` is, tasks of one's own from a plugin, groups that a task has no use for."""

import numpy as np
import pytest
import yaml

import expkit
from expkit import nn
from expkit.config import compose, validate
from expkit.errors import ConfigError
from expkit.nn.module import Module
from expkit.optim import SGD, Adam
from expkit.registry import names, store
from expkit.serialization import tensorfile
from expkit.trainer import SupervisedTask, Task, assemble, checkpoint
from expkit.trainer.assemble_task import AUTO_TASK, make_task
from expkit.trainer.checked import check

QUIET = ["logger=none", "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"]
SMALL = [*QUIET, "data=iris", "trainer.max_epochs=2"]

pytestmark = pytest.mark.usefixtures("workdir")


class Own(Task):
    """Builds its model, optimizer and loss itself."""

    def __init__(self, input_shape: tuple[int, ...], output_size: int, width: int = 8, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, output_size))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        loss = nn.CrossEntropyLoss()(self(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", nn.CrossEntropyLoss()(self(batch[0]), batch[1]))

    def test_step(self, batch, batch_idx):
        self.log("test/loss", nn.CrossEntropyLoss()(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return SGD([p for p in self.parameters() if p.requires_grad], lr=self.hparams.lr)


class Two(Own):
    """Two optimizers in a step of its own."""

    def __init__(self, input_shape: tuple[int, ...], output_size: int) -> None:
        super().__init__(input_shape, output_size)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self):
        return [Adam(self.net[0].parameters()), SGD(self.net[2].parameters(), lr=0.05)]


class Asking(SupervisedTask):
    """Takes the parts that a config makes, and an argument of its own."""

    def __init__(self, model: Module, loss, optimizer, data, power: float = 1.0) -> None:
        super().__init__(model, loss, optimizer)
        self.power, self.classes = power, data.num_classes

    def objective(self, x, prediction, target):
        return self.loss(prediction, target) ** self.power


class Made(nn.Linear):
    """Is made for a task of its own."""

    default_task = "test_asking"

    def __init__(self, input_shape: tuple[int, ...], output_size: int) -> None:
        super().__init__(input_shape[0], output_size)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for name, task in (("test_own", Own), ("test_two", Two), ("test_asking", Asking), ("test_no_task", lambda: 3)):
        names("task")
        monkeypatch.setitem(store._factories["task"], name, task)
    names("model")
    monkeypatch.setitem(store._factories["model"], "test_made", Made)


def task_of(*overrides):
    composed = compose([*SMALL, *overrides])
    config = validate(composed)
    data = assemble.make_data(composed, config)
    derived = assemble.derive(data, config["trainer"])
    return make_task(composed, composed.resolved(derived), data, derived)


def test_auto_is_what_fits_the_data_or_what_the_model_is_made_for():
    assert type(task_of()) is SupervisedTask
    assert type(task_of("model=test_made")) is Asking
    assert type(task_of("model=test_made", "task=supervised")) is SupervisedTask
    assert set(AUTO_TASK.values()) <= set(names("task"))


def test_a_task_gets_the_parts_that_it_names():
    task = task_of("task=test_asking", "+task.power=2.0", "optim=sgd", "loss=nll")
    assert (task.power, task.classes, type(task.loss)) == (2.0, 3, nn.NLLLoss)
    assert type(task.configure_optimizers()) is SGD


@pytest.mark.parametrize("name", ["test_own", "test_two"])
@pytest.mark.parametrize("model", [[], ["model=none"], ["model=null"]])
def test_a_task_that_builds_its_own_model_takes_none(name, model):
    result = expkit.train([*SMALL, f"task={name}", *model])
    config = yaml.safe_load((result.run_dir / "config.yaml").read_text())
    assert [config[group] for group in ("model", "loss", "optim", "scheduler")] == [None] * 4
    assert {"train/loss", "val/loss", "test/loss"} <= set(result.metrics)


def test_what_such_a_task_would_not_use_is_refused():
    with pytest.raises(ConfigError, match=r"override 'optim=sgd': task 'test_own' makes its own optimizer"):
        validate(compose([*SMALL, "task=test_own", "optim=sgd"]))
    with pytest.raises(ConfigError, match=r"override 'model.hidden=\[3\]': task 'test_own' makes its own model"):
        validate(compose([*SMALL, "task=test_own", "model.hidden=[3]"]))
    with pytest.raises(ConfigError, match="a model must be chosen"):
        validate(compose([*SMALL, "model=none"]))


WRONG = {
    "an unknown one": (["task=test_ovn"], "Did you mean"),
    "an unknown argument": (["task=test_own", "+task.widht=3"], "Did you mean 'width'"),
    "a type": (["task=test_own", "+task.width=wide"], "'width' of task 'test_own': expected int"),
    "a part": (["task=test_asking", "+task.model=mlp"], "'model' of a task is filled in by expkit"),
    "arguments of auto": (["+task.width=3"], "'width' is not an argument of task 'auto', which takes none"),
}


@pytest.mark.parametrize(("overrides", "said"), WRONG.values(), ids=WRONG.keys())
def test_wrong_choices(overrides, said):
    with pytest.raises(ConfigError, match=said):
        validate(compose([*SMALL, *overrides]))


@pytest.mark.parametrize("name", ["test_own", "test_two"])
def test_tasks_of_ones_own_are_found_valid(name):
    assert check([*SMALL, f"task={name}"]).problems == []


def test_what_is_no_task_is_refused():
    with pytest.raises(ConfigError, match="task 'test_no_task' is int, no Task"):
        task_of("task=test_no_task")


def test_a_run_begins_with_weights_and_frozen_parameters_from_its_config():
    first = expkit.train([*SMALL, "model.hidden=[8]", "trainer.max_epochs=1"])
    kept = checkpoint.load_weights(first.checkpoint)
    frozen = next(iter(kept)).rpartition(".")[0]
    again = expkit.train([*SMALL, "model.hidden=[8]", f"weights={first.run_dir}", f"freeze=[{frozen}.*]", "seed=7"])
    now = checkpoint.load_weights(again.checkpoint)
    same = {name for name in kept if np.array_equal(kept[name].numpy(), now[name].numpy())}
    assert {name for name in kept if name.startswith(f"{frozen}.")} <= same < set(kept)


def test_weights_of_a_task_that_builds_its_own_model(workdir):
    source = {name: value.detach().numpy() for name, value in Own((4,), 3).state_dict().items()}
    (workdir / "mine.safetensors").write_bytes(tensorfile.dump(source))
    task = task_of("task=test_own", "weights=mine.safetensors", "freeze=[net.0.*]")
    assert all(np.array_equal(value.detach().numpy(), source[name]) for name, value in task.state_dict().items())
    assert [p.requires_grad for p in task.parameters()] == [False, False, True, True]


def test_mixing_and_smoothing_from_yaml():
    result = expkit.train([*SMALL, "task=supervised", "task.mixup_alpha=0.2", "loss=cross_entropy",
                           "loss.label_smoothing=0.1", "trainer.max_epochs=5"])  # fmt: skip
    assert result.metrics["test/acc"] > 0.6
