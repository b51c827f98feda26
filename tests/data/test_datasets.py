"""The registered datasets: a row for each; the bundled ones are scikit-learn's to the bit, and read without it."""

import subprocess
import sys

import numpy as np
import pytest

import expkit as ek
from expkit.data import DataModule, TensorDataset
from expkit.data.datasets import bundled
from expkit.errors import ConfigError, DataError
from expkit.registry import build, names

# name: rows of (arguments, input_shape, output_size, task, samples)
ROWS = {
    "digits": [({}, (1, 8, 8), 10, "classification", 1797)],
    "iris": [({}, (4,), 3, "classification", 150)],
    "wine": [({}, (13,), 3, "classification", 178)],
    "breast_cancer": [({}, (30,), 2, "classification", 569)],
    "diabetes": [({}, (10,), 1, "regression", 442)],
    "synthetic": [
        ({}, (20,), 3, "classification", 1000),
        ({"shape": [2, 5, 5], "num_classes": 4, "num_samples": 90}, (2, 5, 5), 4, "classification", 90),
        ({"task": "regression", "num_targets": 2, "noise": 0.1}, (20,), 2, "regression", 1000),
    ],
    "csv": [({"path": "table.csv"}, (2,), 3, "classification", 30)],
    "npz": [({"path": "arrays.npz"}, (3, 3), 1, "regression", 30)],
}
# Those of tokens: test_language_data.py; of images drawn by rule: test_shapes.py.
ELSEWHERE = {"pystdlib", "shapes", "text"}
ALL = [(name, *row) for name, rows in ROWS.items() for row in rows]
IDS = [f"{name}-{number}" for name, rows in ROWS.items() for number in range(len(rows))]


@pytest.fixture(autouse=True)
def files(workdir):
    """The files that the rows of csv and npz read."""
    rng = np.random.default_rng(0)
    lines = [f"{a:.3f},{b:.3f},{'xyz'[n % 3]}" for n, (a, b) in enumerate(rng.normal(size=(30, 2)))]
    (workdir / "table.csv").write_text("\n".join(["a,b,kind", *lines]))
    np.savez(workdir / "arrays.npz", x=rng.normal(size=(30, 3, 3)), y=rng.normal(size=30))


def make(name, **arguments):
    return build("data", {"name": name, **arguments})


def arrays(module, part):
    return [tensor.numpy() for tensor in getattr(module, part).tensors]


def test_every_registered_dataset_has_a_row():
    assert set(ROWS) == set(names("data")) - ELSEWHERE


@pytest.mark.parametrize(("name", "arguments", "shape", "outputs", "task", "total"), ALL, ids=IDS)
def test_what_a_dataset_is(name, arguments, shape, outputs, task, total):
    module = make(name, **arguments)
    derived = module.derived
    sizes = [derived[f"num_{part}"] for part in ("train", "val", "test")]
    assert (derived["input_shape"], derived["output_size"], derived["task"]) == (shape, outputs, task)
    assert derived["num_classes"] == (outputs if task == "classification" else None)
    assert derived["class_names"] is None or len(derived["class_names"]) == outputs
    assert sum(sizes) == total
    assert np.abs(np.array(sizes) - np.array([0.7, 0.1, 0.2]) * total).max() <= 1
    assert derived["steps_per_epoch"] == -(-sizes[0] // 64)
    loaders = module.train_dataloader(), module.val_dataloader(), module.test_dataloader()
    for loader, size in zip(loaders, sizes, strict=True):
        x, y = next(iter(loader))
        assert (x.shape, x.dtype) == ((min(size, 64), *shape), ek.float32)
        assert y.dtype is (ek.int64 if task == "classification" else ek.float32)
        assert y.shape == ((min(size, 64),) if task == "classification" else (min(size, 64), outputs))
        assert sum(len(x) for x, _ in loader) == size


@pytest.mark.parametrize(("name", "arguments", "shape", "outputs", "task", "total"), ALL, ids=IDS)
def test_the_split_hangs_on_its_seed_alone(name, arguments, shape, outputs, task, total):
    first = make(name, **arguments)
    ek.manual_seed(77)
    again, other = make(name, **arguments), make(name, **arguments, seed=1)
    for part in ("train", "val", "test"):
        for a, b in zip(arrays(first, part), arrays(again, part), strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(arrays(first, part)[0], arrays(other, part)[0])


@pytest.mark.parametrize(("name", "arguments", "shape", "outputs", "task", "total"), ALL, ids=IDS)
def test_standardised_by_the_training_part_alone(name, arguments, shape, outputs, task, total):
    raw, module = make(name, **arguments, normalize=False), make(name, **arguments)
    x = arrays(module, "train")[0].astype(np.float64)
    axes = {1: (0,), 2: (0, 1, 2), 3: (0, 2, 3)}[len(shape)]
    assert np.abs(x.mean(axes)).max() < 1e-5
    assert np.abs(x.std(axes) - 1).max() < 1e-4
    mean, std = arrays(raw, "train")[0].mean(axes, keepdims=True), arrays(raw, "train")[0].std(axes, keepdims=True)
    for part in ("train", "test"):
        np.testing.assert_allclose(arrays(module, part)[0], (arrays(raw, part)[0] - mean) / std, atol=2e-4)
        back = module.input_transform.inverse(arrays(module, part)[0])
        np.testing.assert_allclose(back, arrays(raw, part)[0], rtol=1e-4, atol=1e-4)
    if task == "regression":
        y, unscaled = arrays(module, "train")[1], arrays(raw, "train")[1]
        assert (abs(y.mean(0)).max(), abs(y.std(0) - 1).max()) < (1e-5, 1e-4)
        np.testing.assert_allclose(module.target_transform.inverse(y), unscaled, rtol=1e-4, atol=1e-4)
    assert raw.input_transform is None


def test_a_feature_that_never_varies_becomes_zero(workdir):
    rows = "\n".join(f"0.1,{n},{'ab'[n % 2]}" for n in range(20))
    (workdir / "constant.csv").write_text(rows)
    x = arrays(make("csv", path="constant.csv"), "train")[0]
    assert np.isfinite(x).all()
    assert (np.abs(x[:, 0]) < 1e-6).all()


def test_the_loaders_shuffle_training_by_the_runs_seed_and_nothing_else():
    module = make("iris")
    ek.manual_seed(1)
    first = next(iter(module.train_dataloader()))[0].tolist()
    ek.manual_seed(2)
    assert next(iter(module.train_dataloader()))[0].tolist() != first
    tests = [x.numpy() for x, _ in module.test_dataloader()]
    np.testing.assert_array_equal(np.concatenate(tests), arrays(module, "test")[0])


def test_parts_may_be_missing():
    module = make("iris", val_fraction=0.0, test_fraction=0.0)
    assert (module.val, module.test, len(module.train)) == (None, None, 150)
    assert (module.val_dataloader(), module.test_dataloader()) == (None, None)
    assert (module.derived["num_val"], module.derived["num_test"]) == (0, 0)


def test_drop_last_is_the_training_loaders():
    module = make("iris", batch_size=50, drop_last=True)
    assert [len(x) for x, _ in module.train_dataloader()] == [50, 50]
    assert sum(len(x) for x, _ in module.test_dataloader()) == 30
    with pytest.raises(ConfigError, match="leaves no batch of 105"):
        make("iris", batch_size=200, drop_last=True).train_dataloader()


# ---------------------------------------------------------------------- the bundled files

LOADERS = {"digits": {}, "iris": {}, "wine": {}, "breast_cancer": {}, "diabetes": {"scaled": False}}


@pytest.mark.parametrize("name", LOADERS)
def test_the_samples_are_those_of_scikit_learn(name):
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")(**LOADERS[name])
    source = object.__new__(getattr(bundled, type(make(name)).__name__)).read()
    x = source.data.x.reshape(len(source.data.x), -1) * (16 if name == "digits" else 1)
    np.testing.assert_array_equal(x, bunch.data)
    np.testing.assert_array_equal(source.data.y.reshape(-1), bunch.target)
    if source.task == "classification":
        assert source.class_names == [str(label) for label in bunch.target_names]
    if name != "digits":
        assert source.feature_names == list(bunch.feature_names)


def test_they_are_read_without_importing_scikit_learn():
    code = (
        "import sys; from expkit.registry import build\n"
        "for name in ('digits', 'iris', 'diabetes'): build('data', {'name': name})\n"
        "print([name for name in ('sklearn', 'scipy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        make("digits")


def test_a_scikit_learn_without_the_file_is_named(monkeypatch):
    monkeypatch.setattr(bundled.Iris, "file", "irises.csv")
    with pytest.raises(DataError, match=r"irises\.csv: this version of scikit-learn"):
        make("iris")


# ---------------------------------------------------------------------- synthetic


def nearest_centre_accuracy(module):
    (x, y), (tx, ty) = arrays(module, "train"), arrays(module, "test")
    centres = np.stack([x[y == k].mean(0) for k in range(module.output_size)])
    return float((((tx[:, None] - centres) ** 2).sum(-1).argmin(1) == ty).mean())


def test_classes_can_be_told_apart_as_far_as_they_are_separated():
    arguments = {"num_samples": 3000, "num_classes": 4}
    scores = [nearest_centre_accuracy(make("synthetic", **arguments, separation=s)) for s in (0.0, 2.0, 6.0)]
    assert scores[0] < 0.35 < 0.5 < scores[1] < 0.8 < 0.95 < scores[2]
    noisy = nearest_centre_accuracy(make("synthetic", **arguments, separation=6.0, noise=0.4))
    assert noisy == pytest.approx(0.7, abs=0.06)  # 4 in 10 are drawn by chance, and a quarter of them are right


def test_targets_of_the_regression_have_the_noise_asked_for():
    quiet, loud = (
        arrays(make("synthetic", task="regression", num_samples=4000, noise=noise, normalize=False), "train")[1]
        for noise in (0.0, 2.0)
    )
    assert 0.4 < quiet.std() < 2
    assert np.sqrt(loud.var() - quiet.var()) == pytest.approx(2, rel=0.1)


# ---------------------------------------------------------------------- modules of one's own


def test_a_module_out_of_datasets():
    x = ek.zeros(6, 3)
    module = DataModule(TensorDataset(x, ek.zeros(6, 2)), task="regression", batch_size=4)
    assert (module.input_shape, module.output_size, module.num_classes) == ((3,), 2, None)
    assert DataModule(TensorDataset(x, ek.zeros(6)), task="regression").output_size == 1
    labelled = DataModule(TensorDataset(x, ek.arange(6) % 2), task="classification", class_names=["a", "b"])
    assert (labelled.output_size, labelled.derived["num_classes"]) == (2, 2)


WRONG = [
    ("digits", {"val_fraction": 1.0}, "val_fraction=1.0"),
    ("digits", {"test_fraction": -0.1}, "test_fraction=-0.1"),
    ("digits", {"val_fraction": 0.5, "test_fraction": 0.5}, "leave no training samples"),
    ("iris", {"batch_size": "8"}, "expected int"),
    ("iris", {"val_frac": 0.1}, "Did you mean 'val_fraction'"),
    ("synthetic", {"shape": []}, "shape="),
    ("synthetic", {"shape": [0]}, "shape="),
    ("synthetic", {"num_classes": 1}, "num_classes=1"),
    ("synthetic", {"num_samples": 2}, "num_samples=2"),
    ("synthetic", {"noise": 1.5}, "noise=1.5"),
    ("synthetic", {"task": "ranking"}, "'classification' or 'regression'"),
    ("csv", {}, "'path'"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_wrong_arguments(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        make(name, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"task": "ranking", "output_size": 1}, "task='ranking'"), ({"task": "classification"}, "needs output_size")],
)
def test_a_module_that_does_not_say_enough(arguments, message):
    with pytest.raises(ConfigError, match=message):
        DataModule(TensorDataset(ek.zeros(6, 3), ek.zeros(6)), **arguments)
