"""Loggers of a config: one, several that share a journal, or none."""

import csv
import json

import pytest

import expkit
from expkit.config import compose, validate
from expkit.errors import ConfigError
from expkit.tracking import CSVLogger, JournalLogger, MLFlowLogger
from expkit.trainer.assemble import make_logger

SMALL = ["data=iris", "trainer.max_epochs=2", "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"]

pytestmark = pytest.mark.usefixtures("workdir")

CHOICES = {
    "logger=none": (JournalLogger, 0),
    "logger=null": (JournalLogger, 0),
    "logger=csv": (CSVLogger, 1),
    "logger=mlflow": (MLFlowLogger, 0),
    "logger=[csv,mlflow]": (MLFlowLogger, 1),
    "logger=[mlflow,csv]": (MLFlowLogger, 1),
    "logger=[none,csv]": (JournalLogger, 1),
    "logger=many_loggers": (MLFlowLogger, 1),
}


@pytest.mark.parametrize(("override", "made"), CHOICES.items(), ids=CHOICES.keys())
def test_what_is_made(workdir, override, made):
    kind, tables = made
    composed = compose([*SMALL, override])
    logger = make_logger(composed, validate(composed), workdir / "run")
    assert (type(logger), len(logger._tables)) == (kind, tables)


def test_each_of_several_is_configured_under_its_name():
    config = validate(compose([*SMALL, "logger=[csv,mlflow]", "logger.mlflow.experiment_name=mine"]))
    assert (config["logger"]["csv"]["name"], config["logger"]["mlflow"]["experiment_name"]) == ("csv", "mine")


def test_the_table_beside_another_logger_has_what_the_journal_has():
    result = expkit.train([*SMALL, "logger=[none,csv]"])
    with open(result.run_dir / "metrics.csv", newline="") as file:
        table = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    lines = [json.loads(line) for line in (result.run_dir / "metrics.jsonl").read_text().splitlines()]
    logged = [{**line["metrics"], "step": line["step"]} for line in lines if "metrics" in line]
    assert len(table) == len(logged)
    for row, line in zip(table, logged, strict=True):
        assert {name: float(value) for name, value in row.items() if name != "epoch"} == line


def test_two_that_both_keep_the_journal_are_refused():
    composed = compose([*SMALL, "logger=[mlflow]", "+logger.again={name: mlflow}"])
    with pytest.raises(ConfigError, match=r"logger.mlflow and logger.again: .* choose one, beside csv and none"):
        make_logger(composed, validate(composed), "run")
