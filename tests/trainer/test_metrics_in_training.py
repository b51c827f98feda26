"""Metrics while a Trainer runs: compiled steps, names, resumption in the middle of an epoch, configs."""

import numpy as np
import pytest
from sklearn import metrics as sk

import expkit as ek
from expkit import nn
from expkit.errors import ConfigError
from expkit.tensor import from_numpy
from expkit.trainer import Callback, LambdaCallback, ModelCheckpoint, SupervisedTask, seed_everything
from expkit.trainer.metrics import AUTO, direction, make_metrics
from tests.trainer.compiling import programs
from tests.trainer.conftest import arrays, loader, net

ENTRIES = {
    "auto": {"name": AUTO},
    "auroc": {"name": "auroc"},
    "recall": {"name": "recall", "average": "none"},
    "top2": {"name": "top_k", "k": 2},
    "confusion_matrix": {"name": "confusion_matrix"},
}
NAMES = {"acc", "f1", "auroc", "recall_0", "recall_1", "recall_2", "top2"}
QUIET = ["logger=none", "data=iris", "model=linear", "trainer.max_epochs=1", "trainer.enable_progress_bar=false",
         "trainer.enable_model_summary=false"]  # fmt: skip


def task():
    seed_everything(3)
    return SupervisedTask(net(), nn.CrossEntropyLoss(), metrics=make_metrics(ENTRIES, num_classes=3))


class Watching(Callback):
    """The scores of each training batch, before the update that follows it."""

    def __init__(self, model):
        self.model, self.scores = model, []

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        with ek.no_grad():
            self.scores.append(self.model(batch[0]).numpy().copy())


@pytest.mark.parametrize("compile", [True, False])
def test_an_epoch_of_training_is_scikit_learns(trainer, compile):
    mine = task()
    watching = Watching(mine.model)
    ours = trainer(callbacks=[watching], compile=compile, max_epochs=1)
    ours.fit(mine, loader(44))
    if compile:
        assert programs(ours)
    scores, (_, y) = np.concatenate(watching.scores), arrays(44)
    guess, found = scores.argmax(1), ours.callback_metrics
    chances = nn.functional.softmax(from_numpy(scores.astype(np.float64)), 1).numpy()
    assert found["train/acc"] == pytest.approx(sk.accuracy_score(y, guess))
    assert found["train/auroc"] == pytest.approx(sk.roc_auc_score(y, chances, multi_class="ovr"), rel=1e-6)
    recalls = sk.recall_score(y, guess, average=None, labels=range(3))
    np.testing.assert_allclose([found[f"train/recall_{c}"] for c in range(3)], recalls)


def test_each_number_has_its_name(trainer):
    ours = trainer(max_epochs=1, callbacks=[ModelCheckpoint(monitor="val/recall_1", mode="auto")])
    ours.fit(task(), loader(), loader(20))
    logged = {name for name in ours.callback_metrics if not name.startswith(("train/loss", "val/loss", "lr"))}
    assert logged == {f"{stage}/{name}" for stage in ("train", "val") for name in NAMES}
    assert ours.checkpoint_callback.mode == "max"
    with pytest.raises(ConfigError, match=r"Did you mean 'val/recall_"):
        trainer(callbacks=[ModelCheckpoint(monitor="val/recall_7", mode="max")]).fit(task(), loader(), loader(20))


@pytest.mark.parametrize("batches", [1, 4])
def test_an_epoch_that_was_cut_short_goes_on_exactly(trainer, tmp_path, batches):
    class Killed(BaseException):
        """Stands for a SIGKILL."""

    def kill(trainer, task, batch, batch_idx):
        if batch_idx == batches:
            raise Killed

    whole = trainer(max_epochs=1, default_root_dir=str(tmp_path / "whole"))
    whole.fit(task(), loader())
    saving = ModelCheckpoint(every_n_train_steps=1)
    first = trainer(max_epochs=1, callbacks=[saving, LambdaCallback(on_train_batch_start=kill)])
    with pytest.raises(Killed):
        first.fit(task(), loader())
    again = trainer(max_epochs=1, callbacks=[ModelCheckpoint(every_n_train_steps=1)])
    again.fit(task(), loader(), ckpt_path="last")
    kept = {f"train/{name}" for name in NAMES}
    assert {name: again.callback_metrics[name] for name in kept} == {
        name: whole.callback_metrics[name] for name in kept
    }


@pytest.mark.usefixtures("workdir")
class TestFromConfigs:
    def test_the_key_is_the_name_that_is_logged(self):
        chosen = ["metrics=[auto,auroc,mcc]", "+metrics.rec={name: recall, average: none}", "metrics.mcc=null"]
        found = ek.train([*QUIET, *chosen, "optimized_metric=test/rec_2"]).metrics
        assert {name for name in found if name.startswith("test/")} == {
            f"test/{name}" for name in ("loss", "acc", "f1", "auroc", "rec_0", "rec_1", "rec_2")
        }

    def test_none_leaves_the_loss(self):
        found = ek.train([*QUIET, "metrics=none"]).metrics
        assert {name for name in found if name.startswith("val/")} == {"val/loss"}

    @pytest.mark.parametrize(
        ("overrides", "said"),
        [
            (["metrics=acs"], "Did you mean 'acc'"),
            (["metrics=[f1]", "metrics.f1.average=makro"], "metrics.f1.average"),
            (["metrics=[f1]", "+metrics.f1.avrage=micro"], "Did you mean 'average'"),
            (["metrics=mae"], "is for predicted numbers, but the data is for classification"),
            (["+metrics.auto.k=3"], "is not an argument"),
            (["+metrics.mine={average: micro}"], "name"),
            (["+metrics.loss={name: log_loss}"], "'loss' is logged by loss already"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, overrides, said):
        with pytest.raises(ConfigError) as caught:
            ek.train([*QUIET, *overrides])
        assert said in str(caught.value)


def test_every_default_metric_has_a_direction():
    made = [name for kind in ("classification", "regression", "segmentation") for name in make_metrics(AUTO, kind)()]
    assert all(direction(f"val/{name}") for name in made)
