"""`expkit eval` and `expkit predict`: metrics and predictions of a small trained run, against NumPy's arithmetic."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

import expkit as ek
from expkit.data.datasets.bundled import Diabetes, Wine
from expkit.trainer import checkpoint

QUICK = ["logger=none", "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "model.hidden=[8]",
         "trainer.max_epochs=3", "callbacks=[model_checkpoint]"]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A classifier and a regression, trained in a folder of their own."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return {name: ek.train([f"data={name}", *QUICK]) for name in ("wine", "diabetes")}


def predicted(expkit, run, *argv):
    code, out, err = expkit("predict", str(run.run_dir), *argv)
    assert code == 0, err
    return list(csv.DictReader(out.splitlines()))


def write_wine(path: Path, names, rows, classes=None):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *(["class"] if classes is not None else [])])
        for number, row in enumerate(rows):
            writer.writerow([*map(float, row), *([classes[number]] if classes is not None else [])])


def forward(run, x):
    """The model in NumPy: one hidden layer, layer norm, relu."""
    w = {name: value.numpy().astype(np.float64) for name, value in checkpoint.load_weights(run.checkpoint).items()}
    first, norm, last = sorted({name.rpartition(".")[0] for name in w}, key=lambda n: [*map(str, n.split("."))])
    h = x @ w[f"{first}.weight"].T + w[f"{first}.bias"]
    h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5) * w[f"{norm}.weight"]
    return np.maximum(h + w[f"{norm}.bias"], 0) @ w[f"{last}.weight"].T + w[f"{last}.bias"]


def test_eval_repeats_what_the_run_found(expkit, runs):
    code, out, _ = expkit("eval", str(runs["wine"].run_dir), "--json")
    found = json.loads(out)
    assert code == 0
    assert found["split"] == "test"
    assert found["metrics"] == pytest.approx({n: v for n, v in runs["wine"].metrics.items() if n.startswith("test/")})


def test_eval_of_the_validation_part(expkit, runs):
    code, out, _ = expkit("eval", runs["wine"].checkpoint, "--split", "val")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("val/loss"))
    assert float(row.split()[1]) == pytest.approx(runs["wine"].metrics["val/loss"], rel=1e-4)


def test_predictions_of_a_file_are_those_of_the_formula(expkit, runs, workdir):
    data = Wine()
    x, names = data.read().data.x, data.feature_names
    order = np.random.default_rng(0).permutation(13)
    write_wine(workdir / "new.csv", ["more", *np.array(names)[order]], np.column_stack([x[:, 0], x[:, order]]))
    rows = predicted(expkit, runs["wine"], "--input", "new.csv")
    scores = forward(runs["wine"], (x - data.input_transform.mean) / data.input_transform.std)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    found = np.array([[float(row[f"p({name})"]) for name in data.class_names] for row in rows])
    assert np.abs(found - p).max() < 1e-4
    assert [row["prediction"] for row in rows] == [data.class_names[i] for i in p.argmax(1)]
    assert [float(row["probability"]) for row in rows] == pytest.approx(p.max(1), abs=1e-4)


def test_a_regression_is_told_in_its_own_units(expkit, runs):
    data = Diabetes()
    rows = predicted(expkit, runs["diabetes"], "--split", "test")
    x, y = (tensor.numpy() for tensor in data.test.tensors)
    expected = forward(runs["diabetes"], x) * data.target_transform.std + data.target_transform.mean
    assert [float(row["prediction"]) for row in rows] == pytest.approx(expected[:, 0].tolist(), rel=1e-3)
    assert [float(row["target"]) for row in rows] == pytest.approx(data.target_transform.inverse(y)[:, 0], rel=1e-5)
    assert all(abs(float(row["target"]) - round(float(row["target"]))) < 1e-4 for row in rows), "as in the source"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "npz", "parquet"])
def test_kinds_of_output(expkit, runs, workdir, kind):
    data = Wine()
    np.save(workdir / "x.npy", data.read().data.x[:5])
    run = str(runs["wine"].run_dir)
    code, out, err = expkit("predict", run, "--input", "x.npy", "--output", f"out.{kind}")
    assert (code, err) == (0, "")
    assert "5 predictions" in out
    found = read_back(workdir / f"out.{kind}")
    expected = [row["prediction"] for row in predicted(expkit, runs["wine"], "--input", "x.npy")]
    assert found == expected
    assert [path.name for path in workdir.iterdir() if path.name.startswith(".")] == []


def read_back(path):
    if path.suffix == ".csv":
        return [row["prediction"] for row in csv.DictReader(path.read_text().splitlines())]
    if path.suffix == ".jsonl":
        return [json.loads(line)["prediction"] for line in path.read_text().splitlines()]
    if path.suffix == ".npz":
        return np.load(path)["prediction"].tolist()
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(path).column("prediction").to_pylist()


def test_parquet_in(expkit, runs, workdir):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    data = Wine()
    x = data.read().data.x[:7]
    np.save(workdir / "x.npy", x)
    columns = {name: x[:, number] for number, name in reversed(list(enumerate(data.feature_names)))}
    parquet.write_table(arrow.table(columns), workdir / "x.parquet")
    both = [predicted(expkit, runs["wine"], "--input", name) for name in ("x.npy", "x.parquet")]
    assert both[0] == both[1]


def test_other_data_in_the_units_and_classes_of_the_run(expkit, runs, workdir):
    """The same samples from a file, classes in another order and columns turned round: the same metrics."""
    data = Wine()
    source = data.read()
    names = source.feature_names[::-1]
    kept = source.data.y > 0  # of the three classes two: their numbers in the file are others
    classes = [f"class_{number}" for number in source.data.y[kept]]
    write_wine(workdir / "other.csv", names, source.data.x[kept][:, ::-1], classes)
    code, out, err = expkit("eval", str(runs["wine"].run_dir), "data=csv", "data.path=other.csv", "--json")
    assert code == 0, err
    rows = predicted(expkit, runs["wine"], "--split", "all")
    own = [row for row in rows if row["target"] != "class_0"]
    loss = -np.mean([math.log(float(row[f"p({row['target']})"])) for row in own])
    acc = np.mean([row["target"] == row["prediction"] for row in own])
    found = json.loads(out)
    assert found["split"] == "all"
    assert found["metrics"]["all/loss"] == pytest.approx(loss, rel=1e-4)
    assert found["metrics"]["all/acc"] == pytest.approx(acc)


def test_predictions_need_the_data_of_the_run_no_more(expkit, workdir):
    """The run says itself what its inputs and targets are; damaged, it says so; without it the data are read."""
    data = Diabetes()
    source = data.read().data
    write_wine(workdir / "d.csv", [*data.feature_names, "y"], np.column_stack([source.x, source.y]))
    run = ek.train(["data=csv", "data.path=d.csv", "data.target=y", "data.task=regression", *QUICK])
    np.save(workdir / "x.npy", source.x[:9])
    before = predicted(expkit, run, "--input", "x.npy")
    (workdir / "d.csv").rename(workdir / "away.csv")
    assert predicted(expkit, run, "--input", "x.npy") == before
    facts = run.run_dir / "data.json"
    facts.write_text(facts.read_text().replace('"version": 1', '"version": 0'))
    code, _, err = expkit("predict", str(run.run_dir), "--input", "x.npy")
    assert (code, "data.json is damaged" in err) == (2, True)
    facts.unlink()
    code, _, err = expkit("predict", str(run.run_dir), "--input", "x.npy")
    assert (code, "d.csv: there is no such file" in err) == (2, True)
    (workdir / "away.csv").rename(workdir / "d.csv")
    assert predicted(expkit, run, "--input", "x.npy") == before


def test_a_run_that_was_moved(expkit, runs, workdir):
    (workdir / "elsewhere").mkdir()
    moved = runs["wine"].run_dir.rename(workdir / "elsewhere" / "it")
    try:
        code, out, _ = expkit("eval", str(moved), "--json")
        assert code == 0
        assert json.loads(out)["checkpoint"].startswith(str(moved))
    finally:
        moved.rename(runs["wine"].run_dir)


BAD = {
    "no run": (("eval", "nowhere"), "there is no such run directory"),
    "a folder": (("eval", "."), "is no run directory"),
    "a file": (("predict", "bad.csv"), "is a file"),
    "no such checkpoint": (("eval", "RUN", "--checkpoint", "bset"), "Did you mean 'best'"),
    "no such part": (("eval", "RUN", "--split", "tset"), "invalid choice: 'tset'"),
    "another model": (("eval", "RUN", "model.hidden=[3]"), "model cannot be changed"),
    "mistyped key": (("eval", "RUN", "data.bach_size=3"), "Did you mean 'batch_size'"),
    "several values": (("eval", "RUN", "data.batch_size=3,4"), "several values"),
    "other samples": (("eval", "RUN", "data=digits"), "a sample has shape (1, 8, 8)"),
    "another task": (("eval", "RUN", "data=diabetes"), "trained for classification"),
    "other classes": (("eval", "RUN", "data=csv", "data.path=classes.csv"), "the class 'red' does not occur"),
    "no file": (("predict", "RUN", "--input", "bda.csv"), "Did you mean 'bad.csv'"),
    "columns missing": (("predict", "RUN", "--input", "bad.csv"), "11 of 13 columns are missing"),
    "not a number": (("predict", "RUN", "--input", "text.csv"), "line 3, column 'hue': 'blue' is not a number"),
    "a torn archive": (("predict", "RUN", "--input", "torn.npz"), "torn.npz is damaged"),
    "an odd kind": (("predict", "RUN", "--input", "x.xlsx"), "files of this kind cannot be read"),
    "too narrow": (("predict", "RUN", "--input", "narrow.npy"), "a sample has shape (3,)"),
    "an odd output": (("predict", "RUN", "--output", "x.xlsx"), "files of this kind cannot be written"),
    "no folder for it": (("predict", "RUN", "--output", "no/x.csv"), "does not exist"),
    "file and part": (("predict", "RUN", "--input", "bad.csv", "--split", "test"), "only one of --input and --split"),
    "a prompt": (("predict", "RUN", "--prompt", "def"), "a prompt needs a language model"),
    "seed without prompt": (("predict", "RUN", "--seed", "1"), "--seed belongs to --prompt"),
}


@pytest.mark.parametrize(("argv", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_message(expkit, runs, workdir, argv, said):
    names = Wine().feature_names
    rows = np.ones((40, 13)) * np.arange(40)[:, None]
    write_wine(workdir / "bad.csv", ["hue", "ash"], rows[:, :2])
    write_wine(workdir / "classes.csv", names, rows, ["red", "class_1"] * 20)
    write_wine(workdir / "text.csv", names, rows)
    text = (workdir / "text.csv").read_text().splitlines()
    at = list(names).index("hue")
    text[2] = ",".join("blue" if number == at else cell for number, cell in enumerate(text[2].split(",")))
    (workdir / "text.csv").write_text("\n".join(text))
    (workdir / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    (workdir / "x.xlsx").write_bytes(b"x")
    np.save(workdir / "narrow.npy", np.ones((4, 3)))
    code, out, err = expkit(*(str(runs["wine"].run_dir) if word == "RUN" else word for word in argv))
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_run_without_checkpoints(expkit, runs, workdir):
    (workdir / "empty").mkdir()
    (workdir / "empty" / "config.yaml").write_text((runs["wine"].run_dir / "config.yaml").read_text())
    code, _, err = expkit("eval", "empty")
    assert code == 2
    assert "has no checkpoint: the run ended before one was saved" in err


def test_weights_that_were_tampered_with(expkit, runs, workdir):
    file = Path(runs["wine"].checkpoint, "model.safetensors")
    good = file.read_bytes()
    try:
        file.write_bytes(good[:-1] + b"\x00\x01"[good[-1] == 0 :][:1])
        code, _, err = expkit("eval", str(runs["wine"].run_dir))
    finally:
        file.write_bytes(good)
    assert code == 2
    assert "does not match the sha256" in err


@pytest.mark.parametrize(
    ("overrides", "shape"),
    [
        (["data=digits", "model=autoencoder"], (359, 1, 8, 8)),
        (["data=shapes", "model=unet", "model.channels=[4,8]", "data.num_samples=40"], (8, 32, 32)),
    ],
    ids=["reconstruction", "segmentation"],
)
def test_predictions_that_are_no_table(expkit, workdir, overrides, shape):
    short = [setting for setting in QUICK if not setting.startswith(("model", "trainer.max_epochs"))]
    run = str(ek.train([*overrides, "trainer.max_steps=2", *short]).run_dir)
    code, _, err = expkit("predict", run)
    assert code == 2
    assert "--output predictions.npz" in err
    assert expkit("predict", run, "--output", "p.npz").code == 0
    found = np.load(workdir / "p.npz")
    assert found["prediction"].shape == shape
    if "model=autoencoder" in overrides:
        assert np.abs(found["prediction"]).max() < 20, "in the pixels' own units"
    else:
        assert found["prediction"].dtype.kind == "i"
        assert found["target"].shape == shape


@pytest.mark.slow
def test_a_language_model_goes_on_with_a_prompt(expkit, workdir):
    short = [setting for setting in QUICK if not setting.startswith(("model", "trainer.max_epochs"))]
    tiny = ["data=pystdlib", "data.modules=[json]", "data.block_size=16", "model=gpt", "trainer.max_steps=2"]
    run = str(ek.train([*tiny, *short, "trainer.limit_test_batches=1", "trainer.limit_val_batches=1"]).run_dir)
    again = [expkit("predict", run, "--prompt", "def ", "--max-new-tokens", "8", "--seed", "3") for _ in range(2)]
    assert again[0] == again[1]
    code, out, _ = again[0]
    assert code == 0
    assert out.startswith("def ")
    assert len(out) == len("def ") + 8 + 1
    code, _, err = expkit("predict", run)
    assert code == 2
    assert "--prompt" in err
    code, _, err = expkit("predict", run, "--prompt", "ü")
    assert code == 2
