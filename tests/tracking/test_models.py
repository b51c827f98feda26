"""The best model of a run as MLflow has it: loaded in a fresh process after the run directory is gone, registered."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.datasets import load_diabetes, load_digits

import expkit as ek
from expkit.registry import build
from expkit.tracking import loggers
from expkit.tracking.syncing import environment
from tests.tracking.support import Database

pytestmark = pytest.mark.slow

PLUGIN = """
import expkit as ek
from expkit import nn

@ek.register("model", "from_a_plugin")
class Mine(nn.Linear):
    \"\"\"One layer of the samples laid out flat.\"\"\"

    def __init__(self, input_shape: tuple[int, ...], output_size: int, bias: bool = True) -> None:
        super().__init__(input_shape[0], output_size)
"""

RUNS = {
    "regression": ["data=diabetes", "model=linear"],
    "classes": ["data=digits", "model=linear"],
    "two classes": ["data=breast_cancer", "model=linear", "loss=bce_with_logits"],
    "plugin": ["data=diabetes", "model=linear", "model.name=from_a_plugin", "plugins=[package_of_mine]"],
}
SHORT = ["trainer.max_epochs=2", "trainer.enable_progress_bar=false", "optim.lr=0.05"]

LOAD = """
import json, sys
import mlflow
import numpy as np
import pandas
from sklearn.datasets import load_diabetes

mlflow.set_tracking_uri(sys.argv[1])
runs = json.loads(sys.argv[2])
arrays = dict(np.load(sys.argv[3]))
out = {}
for name, (run_id, model_id) in runs.items():
    try:
        model = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    except Exception as error:
        out[name] = str(error)
        continue
    again = mlflow.pyfunc.load_model(f"models:/{model_id}")
    x = arrays[name]
    out[name] = {"said": model.predict(x).tolist(), "again": again.predict(x).tolist()}
    out[name]["flavor"] = model.metadata.flavors["python_function"]
    out[name]["example"] = model.predict(model.input_example).shape
    out[name]["inputs"] = str(model.metadata.signature.inputs)
    out[name]["metadata"] = model.metadata.metadata
    if name == "regression":
        names = load_diabetes().feature_names
        frame = pandas.DataFrame(x, columns=names)
        out["frame"] = model.predict(frame).tolist()
        out["shuffled"] = model.predict(frame[names[::-1]]).tolist()
        try:
            model.predict(frame.rename(columns={"age": "years"}))
        except Exception as error:
            out["renamed"] = str(error)
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def trained(zygote, template_database, tmp_path_factory):
    """The runs of RUNS: trained, shipped, taken away, loaded; what came of each step."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(template_database, folder / "mlflow.db")
    (folder / "package_of_mine.py").write_text(PLUGIN)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    weights, database = {}, Database(folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setattr(loggers, "start_shipper", lambda run_dir: None)
        for name, overrides in RUNS.items():
            how = [f"logger.tracking_uri={uri}", f"logger.run_name={name}", "test=false"]
            result = ek.train([*overrides, *SHORT, *how])
            weights[name] = load_file(result.run_dir / result.checkpoint / "model.safetensors")
            assert zygote.follow(result.run_dir) == 0
            shutil.rmtree(result.run_dir)
    ids = {name: (database.run_id(name), model_id(database, name)) for name in RUNS}
    return SimpleNamespace(folder=folder, uri=uri, database=database, weights=weights, ids=ids)


def model_id(database, name):
    query = "select model_id from logged_models where source_run_id = ?"
    ((found,),) = database.query(query, database.run_id(name))
    return found


def load(trained, path="", names=RUNS):
    """What LOAD prints, in a process that finds plugins in `path`."""
    np.savez(trained.folder / "x.npz", **{name: inputs(name) for name in names})
    ids = json.dumps({name: trained.ids[name] for name in names})
    env = {**environment(), "PYTHONPATH": f"{environment()['PYTHONPATH']}:{path}"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, trained.uri, ids, str(trained.folder / "x.npz")],
        cwd="/", env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def loaded(trained):
    return load(trained)


def inputs(name):
    """Samples in their own units."""
    if name == "classes":
        return (load_digits().images[:7] / 16).astype(np.float32)[:, None]
    if name == "two classes":
        data = build("data", {"name": "breast_cancer", "normalize": False})
        return data.test.tensors[0].numpy()[:7].astype(np.float64)
    return load_diabetes(scaled=False).data[:7]


def scores(trained, name, data):
    """What the linear model gives, in NumPy: (n, outputs)."""
    x = (inputs(name) - data.input_transform.mean) / data.input_transform.std
    tensors = trained.weights[name]
    (matrix,) = (tensor for tensor in tensors.values() if tensor.ndim == 2)
    (bias,) = (tensor for tensor in tensors.values() if tensor.ndim == 1)
    return x.reshape(len(x), -1) @ matrix.T.astype(np.float64) + bias


def test_values_come_in_their_own_units(trained, loaded):
    data = build("data", {"name": "diabetes"})
    out = scores(trained, "regression", data) * data.target_transform.std + data.target_transform.mean
    for said in (loaded["regression"]["said"], loaded["regression"]["again"], loaded["frame"], loaded["shuffled"]):
        np.testing.assert_allclose(said, out, rtol=1e-4)


def test_columns_of_other_names_are_refused(loaded):
    assert "the columns ['age'] are missing; the model takes ['age', " in loaded["renamed"]


def test_classes_have_probabilities(trained, loaded):
    out = np.exp(scores(trained, "classes", build("data", {"name": "digits"})))
    np.testing.assert_allclose(loaded["classes"]["said"], out / out.sum(1, keepdims=True), rtol=1e-3, atol=1e-6)
    assert loaded["classes"]["metadata"]["class_names"] == list("0123456789")


def test_one_score_is_two_probabilities(trained, loaded):
    p = 1 / (1 + np.exp(-scores(trained, "two classes", build("data", {"name": "breast_cancer"}))))
    np.testing.assert_allclose(loaded["two classes"]["said"], np.hstack([1 - p, p]), rtol=1e-3, atol=1e-6)


def test_the_files_are_mlflows_and_nothing_is_pickled(trained, loaded):
    flavor = loaded["classes"]["flavor"]
    assert flavor["loader_module"] == "expkit.tracking.pyfunc"
    assert loaded["classes"]["example"] == [3, 10]
    assert loaded["classes"]["inputs"] == "[Tensor('float32', (-1, 1, 8, 8))]"
    assert loaded["regression"]["inputs"] == str(["double (required)"] * 10).replace("'", "")
    ((place,),) = trained.database.query(
        "select artifact_location from logged_models where model_id = ?", trained.ids["classes"][1]
    )
    folder = trained.folder / place.removeprefix(trained.folder.as_uri()).lstrip("/")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "requirements.txt", "conda.yaml", "data/model/model.safetensors", "input_example.json"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".bin"))]
    listed = (folder / "requirements.txt").read_text().split()
    assert [line.partition("==")[0] for line in listed] == ["mlflow", "expkit", "numpy", "ml-dtypes", "llvmlite"]


def test_a_plugin_that_is_not_there_is_named(trained, loaded):
    message = loaded["plugin"]
    assert "the model 'from_a_plugin' needs plugins=['package_of_mine'], which must be installed" in message
    with_it = load(trained, str(trained.folder), ["plugin"])["plugin"]
    data = build("data", {"name": "diabetes"})
    out = scores(trained, "plugin", data) * data.target_transform.std + data.target_transform.mean
    np.testing.assert_allclose(with_it["said"], out, rtol=1e-4)
    assert with_it["metadata"]["expkit_plugins"] == ["package_of_mine"]


def test_what_was_measured_is_linked_to_the_model_and_not_logged_twice(trained):
    run_id, ident = trained.ids["classes"]
    table = "select metric_name, metric_value, metric_step from logged_model_metrics where model_id = ?"
    linked = sorted(trained.database.query(table, ident))
    assert [name for name, _, _ in linked] == ["val/acc", "val/f1", "val/loss"]
    for name, value, step in linked:
        query = "select value, step from metrics where run_uuid = ? and key = ?"
        rows = trained.database.query(query, run_id, name)
        assert rows.count((value, step)) == 1
        assert len(rows) == 2  # one each epoch
    status = "select status from logged_models where model_id = ?"
    assert trained.database.query(status, ident) == trained.database.query(status, trained.ids["plugin"][1])
