"""The callbacks confusion_matrix and prediction_samples: what they write is what the model predicted."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

import expkit as ek
from expkit import nn
from expkit.data import DataLoader, TensorDataset
from expkit.errors import ConfigError
from expkit.nn.models import VAE, UNet
from expkit.tensor import rand, randint, randn
from expkit.trainer import SupervisedTask, Task
from expkit.trainer.callbacks import ConfusionMatrixLogger, PredictionSamples
from expkit.trainer.callbacks.samples import shown
from expkit.trainer.tasks import ReconstructionTask
from tests.trainer.conftest import loader, net


def batches(x, y, batch_size=7):
    return DataLoader(TensorDataset(x, y), batch_size=batch_size)


def read(ours, name):
    return json.loads((ours.run_dir / "artifacts" / name).read_text())


def rows(ours, name):
    table = read(ours, name)
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def pixels(ours, name):
    with Image.open(ours.run_dir / "artifacts" / name) as image:
        return np.asarray(image)


class TestConfusionMatrix:
    def test_it_is_scikit_learns(self, trainer):
        x, y = randn(40, 4), randint(0, 3, (40,))
        task = SupervisedTask(net(), nn.CrossEntropyLoss())
        ours = trainer(callbacks=[ConfusionMatrixLogger(class_names=["a", "b", "c"])])
        ours.test(task, batches(x, y), verbose=False)
        found = read(ours, "confusion_matrix/test.json")
        guess = task.model(x).argmax(1).numpy()
        np.testing.assert_array_equal(found["counts"], confusion_matrix(y.numpy(), guess, labels=range(3)))
        assert found["classes"] == ["a", "b", "c"]
        written = (ours.run_dir / "artifacts" / "confusion_matrix" / "test.csv").read_text()
        table = list(csv.reader(written.splitlines()))
        assert table[0][1:] == ["a", "b", "c"]
        assert [[int(cell) for cell in row[1:]] for row in table[1:]] == found["counts"]
        assert pixels(ours, "confusion_matrix/test.png").shape[0] > 200

    def test_in_training_it_is_that_of_the_last_validation(self, trainer):
        task = SupervisedTask(net(), nn.CrossEntropyLoss())
        ours = trainer(max_epochs=2, callbacks=[ConfusionMatrixLogger(every_n_epochs=2)])
        val = loader(16)
        ours.fit(task, loader(), val)
        names = {path.name for path in (ours.run_dir / "artifacts" / "confusion_matrix").glob("*.json")}
        assert names == {"val.json", "val_epoch_001.json"}
        [x, y] = (np.concatenate([batch[part].numpy() for batch in val]) for part in (0, 1))
        guess = task.model(ek.tensor(x)).argmax(1).numpy()
        for name in names:
            found = np.array(read(ours, f"confusion_matrix/{name}")["counts"])
            np.testing.assert_array_equal(found, confusion_matrix(y, guess, labels=range(len(found))))
        assert not [name for name in ours.callback_metrics if "confusion" in name]

    def test_nan_has_no_counts(self, trainer):
        task = SupervisedTask(nn.Linear(4, 3), nn.CrossEntropyLoss())
        ours = trainer(callbacks=[ConfusionMatrixLogger()])
        ours.test(task, batches(randn(4, 4) * float("nan"), randint(0, 3, (4,))), verbose=False)
        assert read(ours, "confusion_matrix/test.json")["counts"][0][0] is None


class TestPredictionSamples:
    def run(self, trainer, task, x, y, **how):
        ours = trainer(callbacks=[PredictionSamples(**how)])
        ours.test(task, batches(x, y), verbose=False)
        return rows(ours, "samples/test_step_000000.json"), ours

    def test_the_worst_of_classes(self, trainer):
        x, y = randn(40, 4), randint(0, 3, (40,))
        task = SupervisedTask(net(), nn.CrossEntropyLoss())
        found, _ = self.run(trainer, task, x, y, num_samples=5, class_names=["a", "b", "c"])
        logs = nn.functional.log_softmax(task.model(x), 1).detach().numpy()
        error = -logs[np.arange(40), y.numpy()]
        worst = np.argsort(-error)[:5]
        assert [row["sample"] for row in found] == worst.tolist()
        np.testing.assert_allclose([row["error"] for row in found], error[worst], rtol=1e-5)
        np.testing.assert_allclose([row["confidence"] for row in found], np.exp(logs[worst].max(1)), rtol=1e-5)
        assert [row["prediction"] for row in found] == ["abc"[k] for k in logs[worst].argmax(1)]
        assert [row["target"] for row in found] == ["abc"[k] for k in y.numpy()[worst]]

    @pytest.mark.parametrize("loss", [nn.BCELoss(), nn.BCEWithLogitsLoss()])
    def test_one_output_for_two_classes(self, trainer, loss):
        x, y = randn(20, 4), randint(0, 2, (20,))
        model = nn.Sequential(nn.Linear(4, 1), *([nn.Sigmoid()] if isinstance(loss, nn.BCELoss) else []))
        found, _ = self.run(trainer, SupervisedTask(model, loss), x, y, num_samples=20)
        chance = model(x).detach().numpy()[:, 0]
        chance = chance if isinstance(loss, nn.BCELoss) else 1 / (1 + np.exp(-chance))
        own = np.where(y.numpy() == 1, chance, 1 - chance)
        assert [row["error"] for row in found] == pytest.approx(sorted(-np.log(own), reverse=True), rel=1e-4)

    @pytest.mark.parametrize("select", ["first", "best"])
    def test_the_first_and_the_best_of_numbers(self, trainer, select):
        x, y = randn(20, 4), rand(20)
        task = SupervisedTask(net(outputs=1), nn.MSELoss(), task="regression")
        found, _ = self.run(trainer, task, x, y, num_samples=3, select=select)
        error = (task.model(x).detach().numpy()[:, 0] - y.numpy()) ** 2
        expected = np.arange(3) if select == "first" else np.argsort(error)[:3]
        assert [row["sample"] for row in found] == expected.tolist()
        assert [row["target"] for row in found] == pytest.approx(y.numpy()[expected].tolist())
        assert [row["error"] for row in found] == pytest.approx(error[expected].tolist(), rel=1e-4)

    def test_pixels_are_pictures(self, trainer):
        x, y = randn(6, 1, 8, 8), randint(0, 3, (6, 8, 8))
        task = SupervisedTask(UNet((1, 8, 8), 3, [4, 4]), nn.CrossEntropyLoss(), task="segmentation")
        found, ours = self.run(trainer, task, x, y, num_samples=2)
        wrong = (task.model.eval()(x).argmax(1).numpy() != y.numpy()).reshape(6, -1).mean(1)
        assert [row["error"] for row in found] == pytest.approx(sorted(wrong, reverse=True)[:2])
        drawn = pixels(ours, found[0]["target"]["filepath"])
        np.testing.assert_array_equal(drawn // 127, y.numpy()[found[0]["sample"]])

    def test_reconstructions(self, trainer):
        x = randn(6, 1, 4, 4)
        task = ReconstructionTask(VAE((1, 4, 4), 2, []))
        found, _ = self.run(trainer, task, x, ek.zeros(6), num_samples=6)
        error = ((task.model.eval()(x) - x) ** 2).detach().numpy().reshape(6, -1).mean(1)
        assert [row["error"] for row in found] == pytest.approx(sorted(error, reverse=True), rel=1e-5)

    def test_in_training_after_the_epochs_asked_for(self, trainer):
        ours = trainer(max_epochs=4, callbacks=[PredictionSamples(every_n_epochs=2)])
        ours.fit(SupervisedTask(net(), nn.CrossEntropyLoss()), loader(), loader(16))
        assert len(list((ours.run_dir / "artifacts" / "samples").glob("val_step_*.json"))) == 2

    def test_long_vectors_are_cut(self):
        assert shown(np.arange(10.0)) == "0, 1, 2, 3, 4, 5, 6, 7, ..."
        assert shown(np.array([1.5])) == 1.5
        assert shown(np.zeros((1, 2, 2))).shape == (2, 2, 1)


REFUSED = {
    "every_n_epochs": (lambda: ConfusionMatrixLogger(every_n_epochs=0), "every_n_epochs=0"),
    "num_samples": (lambda: PredictionSamples(num_samples=0), "num_samples=0"),
    "select": (lambda: PredictionSamples(select="wrost"), "select='wrost'"),
}


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_arguments_are_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize("callback", [ConfusionMatrixLogger(), PredictionSamples()])
def test_tasks_of_other_kinds_are_refused(trainer, callback):
    with pytest.raises(ConfigError, match="Leave the callback out"):
        trainer(callbacks=[callback]).fit(Task(), loader())
    if isinstance(callback, ConfusionMatrixLogger):
        with pytest.raises(ConfigError, match="predicts classes"):
            trainer(callbacks=[callback]).fit(net(outputs=1), loader(regression=True))
