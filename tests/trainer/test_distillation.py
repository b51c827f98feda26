"""Knowledge distillation: the objective, its teacher, and training with it."""

import numpy as np
import pytest

from expkit import nn
from expkit.errors import CheckpointError, ConfigError, ShapeError
from expkit.nn.models import MLP
from expkit.tensor import from_numpy
from expkit.trainer import ModelCheckpoint, SupervisedTask, Trainer, seed_everything
from expkit.trainer.tasks.distillation import DistillationTask, load_teacher
from tests.trainer.compiling import Recording, adam
from tests.trainer.conftest import arrays, loader, net

GIVEN = {"input_shape": (4,), "output_size": 3}


def softmax(scores):
    exp = np.exp(scores - scores.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def test_the_objective_is_that_of_the_paper():
    task = DistillationTask(net(1), nn.CrossEntropyLoss(), net(2), temperature=3.0, alpha=0.7)
    x, y = arrays(8)
    x, y = from_numpy(x), from_numpy(y)
    found = task.objective(x, task.model(x), y).item()
    student, teacher = (np.float64(model(x).detach().numpy()) for model in (task.model, task.teacher))
    p, q = softmax(teacher / 3), softmax(student / 3)
    learned = (p * np.log(p / q)).sum(-1).mean() * 9
    hard = -np.log(softmax(student)[np.arange(8), y.numpy()]).mean()
    assert found == pytest.approx(0.7 * learned + 0.3 * hard, rel=1e-5)


def fit(trainer, compile, teacher, **how):
    seed_everything(5)
    task = DistillationTask(net(3), nn.CrossEntropyLoss(), teacher, optimizer=adam, **how)
    seen = Recording()
    ours = trainer(max_epochs=3, compile=compile, callbacks=[seen], logger=False, enable_checkpointing=False)
    seed_everything(6)
    ours.fit(task, loader(), loader(20))
    return np.array(seen.losses), task


def test_compiled_training_is_what_eager_training_is_and_leaves_the_teacher_alone(trainer):
    teacher = net(2, dropout=0.5)
    before = {name: value.numpy().copy() for name, value in teacher.state_dict().items()}
    eager, task = fit(trainer, False, teacher)
    compiled, _ = fit(trainer, True, teacher)
    np.testing.assert_allclose(eager, compiled, rtol=1e-5)
    assert compiled[-6:].mean() < compiled[:6].mean()
    assert all(np.array_equal(value.numpy(), before[name]) for name, value in teacher.state_dict().items())
    assert len(list(task.parameters())) == len(list(task.model.parameters()))
    assert not task.teacher.training


def config(name):
    return {"model": {"name": name, "hidden": [8]}, "plugins": []}


@pytest.fixture
def run(tmp_path):
    """A run directory whose best checkpoint is not its last one."""
    task = SupervisedTask(MLP((4,), 3, hidden=[8]), nn.CrossEntropyLoss(), adam)
    keep = ModelCheckpoint(monitor="train/loss", mode="max", save_last=True, save_top_k=1)
    ours = Trainer(
        max_epochs=3, callbacks=[keep], default_root_dir=str(tmp_path / "runs" / "a"), enable_progress_bar=False,
        enable_model_summary=False, logger=False,
    )  # fmt: skip
    ours.config = config("mlp")
    ours.fit(task, loader(), loader(20))
    return tmp_path / "runs" / "a", keep.best_model_path, task


@pytest.mark.parametrize("what", ["run", "checkpoint", "folder of runs"])
def test_the_teacher_is_found(run, what):
    folder, best, task = run
    path = {"run": folder, "checkpoint": best, "folder of runs": folder.parent}[what]
    teacher = load_teacher(str(path), GIVEN)
    x = from_numpy(arrays(8)[0])
    scores = teacher(x).detach().numpy()
    last = task.model(x).detach().numpy()
    assert scores.shape == (8, 3)
    assert np.abs(scores - last).max() > 1e-3  # the best one is not the last one
    again = load_teacher(str(best), GIVEN)
    assert np.array_equal(scores, again(x).detach().numpy())


def test_a_teacher_of_other_data_is_named(run):
    other = {"input_shape": (5,), "output_size": 2}
    with pytest.raises(CheckpointError, match=r"teacher: .*runs/a.* than input_shape=\(5,\), output_size=2\."):
        load_teacher(str(run[0]), other)


def test_what_is_refused(trainer, tmp_path):
    loss = nn.CrossEntropyLoss()
    for how, said in (
        ({"temperature": 0.0}, "temperature=0.0: expected a number above 0"),
        ({"alpha": 1.5}, "alpha=1.5: expected a share"),
        ({"task": "regression"}, "for classification, and the data is for regression"),
    ):
        with pytest.raises(ConfigError, match=said):
            DistillationTask(net(), loss, net(), **how)
    with pytest.raises(CheckpointError, match=r"teacher: .*nowhere does not exist.* Train one first"):
        DistillationTask(net(), loss, str(tmp_path / "nowhere"))
    with pytest.raises(ShapeError, match=r"the teacher gives \(8, 5\) where the model gives \(8, 3\)"):
        trainer().fit(DistillationTask(net(), loss, net(outputs=5)), loader())
    plain = tmp_path / "plain"
    ours = trainer(default_root_dir=str(plain))
    ours.fit(net(), loader())
    with pytest.raises(CheckpointError, match="does not say which model its weights are of"):
        DistillationTask(net(), loss, str(plain))
