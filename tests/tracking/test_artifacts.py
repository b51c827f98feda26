"""log_text, log_dict, log_figure, log_image, log_table: the files, the journal, and what MLflow makes of them."""

import json
import re

import matplotlib
import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

import expkit as ek
from expkit.errors import TrackingError
from expkit.tracking import journal
from expkit.tracking.loggers import JournalLogger, MLFlowLogger

matplotlib.use("agg")


@pytest.fixture
def logger(tmp_path):
    made = JournalLogger(str(tmp_path / "run"))
    yield made
    made.finalize()


def attached(logger):
    """(path, folder, kind) of the journal's artifacts."""
    records = [record for _, record in journal.lines(logger.run_dir / journal.NAME)]
    return [(r["artifact"], r["to"], r.get("kind", "")) for r in records if "artifact" in r]


def opened(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_texts_and_data(logger):
    logger.log_text("a\nb", "notes/a.txt")
    logger.log_dict({"a": [np.float32(0.5), ek.tensor([1, 2])]}, "a.json")
    logger.log_dict({"b": {"c": 1}}, "deep/er/b.yaml")
    folder = logger.run_dir / "artifacts"
    assert (folder / "notes/a.txt").read_text() == "a\nb"
    assert json.loads((folder / "a.json").read_text()) == {"a": [0.5, [1, 2]]}
    assert yaml.safe_load((folder / "deep/er/b.yaml").read_text()) == {"b": {"c": 1}}
    expected = [("artifacts/notes/a.txt", "notes", ""), ("artifacts/a.json", None, "")]
    assert attached(logger) == [*expected, ("artifacts/deep/er/b.yaml", "deep/er", "")]


def test_a_figure(logger):
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.add_subplot().plot([1, 2])
    logger.log_figure(figure, "plots/line.png", save_kwargs={"dpi": 100})
    assert opened(logger.run_dir / "artifacts/plots/line.png").shape[:2] == (100, 200)
    assert attached(logger) == [("artifacts/plots/line.png", "plots", "")]


PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6)
IMAGES = {
    "grey": (PIXELS, PIXELS),
    "one channel": (PIXELS[:, :, None], PIXELS),
    "colour": (np.stack([PIXELS] * 3, 2), np.stack([PIXELS] * 3, 2)),
    "int64": (PIXELS.astype(np.int64), PIXELS),
    "floats": (PIXELS / 255.0, PIXELS),
    "truths": (PIXELS > 11, (PIXELS > 11) * 255),
    "a tensor": (ek.tensor(PIXELS), PIXELS),
    "PIL's": (Image.fromarray(PIXELS), PIXELS),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image(logger, name):
    image, expected = IMAGES[name]
    logger.log_image(image, "a.png")
    stored = opened(logger.run_dir / "artifacts/a.png").astype(int)
    assert np.abs(stored - expected).max() <= (1 if name == "floats" else 0)  # MLflow cuts off as well


def test_a_series_of_images_has_the_names_that_mlflows_charts_read(logger):
    for step in (3, 7):
        logger.log_image(np.zeros((600, 300)), key="samples/best", step=step)
    found = sorted(path.name for path in (logger.run_dir / "artifacts/images").iterdir())
    name = r"samples~best\+step\+[37]\+timestamp\+\d+\+[0-9a-f-]{36}"
    assert [bool(re.fullmatch(rf"{name}(\.png|\+compressed\.webp)", text)) for text in found] == [True] * 4
    assert opened(next((logger.run_dir / "artifacts/images").glob("*.webp"))).shape[:2] == (256, 128)
    assert {kind for _, _, kind in attached(logger)} == {"image"}


def test_a_table_grows_and_holds_images(logger):
    columns = {"image": [PIXELS, PIXELS], "target": np.array([1, 2]), "score": [0.5, np.float32("nan")]}
    logger.log_table(columns, "t/samples.json")
    logger.log_table({"target": [3], "note": ["new"]}, "t/samples.json")
    table = json.loads((logger.run_dir / "artifacts/t/samples.json").read_text())
    assert table["columns"] == ["image", "target", "score", "note"]
    assert [row[1:] for row in table["data"]] == [[1, 0.5, None], [2, None, None], [3, None, "new"]]
    first = table["data"][0][0]
    assert first["type"] == "image"
    for key in ("filepath", "compressed_filepath"):
        assert (logger.run_dir / "artifacts" / first[key]).is_file()
    assert attached(logger)[-1] == ("artifacts/t/samples.json", "t", "table")


WRONG = {
    "outside": (lambda log: log.log_text("", "../a.txt"), "inside of the run's artifacts"),
    "absolute": (lambda log: log.log_text("", "/a.txt"), "inside of the run's artifacts"),
    "ending of a dict": (lambda log: log.log_dict({}, "a.txt"), "must end in .json, .yaml, .yml"),
    "what is no JSON": (lambda log: log.log_dict({"a": object()}, "a.json"), "object cannot be written as JSON"),
    "what is no figure": (lambda log: log.log_figure(3, "a.png"), "int is no figure"),
    "image without a name": (lambda log: log.log_image(PIXELS), "either artifact_file="),
    "image with two names": (lambda log: log.log_image(PIXELS, "a.png", key="a"), "either artifact_file="),
    "key of a series": (lambda log: log.log_image(PIXELS, key="a+b"), "letters, digits"),
    "channels first": (lambda log: log.log_image(np.zeros((3, 8, 8)), "a.png"), "channels last"),
    "range": (lambda log: log.log_image(PIXELS * 20.0, "a.png"), "expected 0 to 1"),
    "columns": (lambda log: log.log_table({"a": [1], "b": []}, "a.json"), r"differ in length \(a: 1, b: 0\)"),
    "ending of a table": (lambda log: log.log_table({"a": [1]}, "a.csv"), "must end in .json"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(logger, name):
    call, message = WRONG[name]
    with pytest.raises(TrackingError, match=message):
        call(logger)


@pytest.mark.usefixtures("no_shipper")
def test_mlflow_gets_them_and_the_tags_that_make_its_pages_show_them(zygote, outputs, database):
    logger = MLFlowLogger("digits", run_dir=str(outputs / "first"), tracking_uri=f"sqlite:///{database.path}")
    logger.log_table({"a": [1]}, "one.json")
    logger.log_table({"a": [2]}, "folder/two.json")
    logger.log_image(PIXELS, key="k", step=1)
    logger.log_text("hello", "notes.txt")
    logger.finalize()
    assert zygote.follow(outputs / "first") == 0
    tags = database.tags("first")
    assert tags["mlflow.loggedImages"] == "True"
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [
        {"path": "one.json", "type": "table"}, {"path": "folder/two.json", "type": "table"},
    ]  # fmt: skip
    stored = outputs / "artifacts" / "digits" / database.run_id("first") / "artifacts"
    assert (stored / "notes.txt").read_text() == "hello"
    assert json.loads((stored / "folder" / "two.json").read_text()) == {"columns": ["a"], "data": [[2]]}
