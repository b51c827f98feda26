"""The loggers as the trainer uses them; the shipper itself is not started here."""

import csv
import json
import logging
import math
import os
import socket

import pytest

from expkit.errors import ConfigError
from expkit.registry import build, check, describe, names
from expkit.tracking import loggers
from expkit.tracking.journal import NAME, lines, rows
from expkit.tracking.loggers import CSVLogger, JournalLogger, MLFlowLogger
from expkit.tracking.runinfo import INFO, STATE, RunInfo, State, destination, resolve_uri
from tests.tracking.support import make_run

pytestmark = pytest.mark.usefixtures("no_shipper", "workdir")

# Every registered logger, and what it leaves in the run directory.
LOGGERS = {
    "none": {NAME, "environment.json"},
    "csv": {NAME, "environment.json", "metrics.csv"},
    "mlflow": {NAME, "environment.json", INFO},
}


def test_every_logger_has_a_row():
    assert set(names("logger")) == set(LOGGERS)


@pytest.mark.parametrize("name", LOGGERS)
def test_a_run_with_each_logger(tmp_path, name):
    run_dir = tmp_path / "run"
    logger = build("logger", {"name": name}, given={"run_dir": str(run_dir)})
    assert not run_dir.exists()
    logger.log_params({"optim": {"lr": 0.1}})
    logger.log_hyperparams({"seed": 1})
    logger.log_metrics({"train/loss": 0.5}, step=1, epoch=0)
    logger.log_metrics({"val/acc": 0.9}, step=1, epoch=0)
    logger.set_tags({"a": 1})
    logger.set_primary_metric("val/acc", True)
    logger.log_artifact(run_dir / "config.yaml")
    logger.log_checkpoint(run_dir / "checkpoints" / "best")
    logger.log_dataset("digits", "abc", profile={"rows": 3})
    logger.finalize("FINISHED")
    assert set(os.listdir(run_dir)) == LOGGERS[name]
    assert [row.values for row in rows(run_dir)] == [{"train/loss": 0.5}, {"val/acc": 0.9}]
    assert logger.log_dir == logger.save_dir == str(run_dir)
    assert logger.version == "run"
    assert describe("logger", name).summary


@pytest.mark.parametrize("name", LOGGERS)
def test_nothing_is_waited_for_before_a_run_begins(tmp_path, name):
    logger = build("logger", {"name": name}, given={"run_dir": str(tmp_path / "run")})
    assert not logger.journal.is_open
    assert logger.wait()


@pytest.mark.parametrize("name", LOGGERS)
def test_ending_a_run_that_never_began_or_has_ended_does_nothing(tmp_path, name):
    logger = build("logger", {"name": name}, given={"run_dir": str(tmp_path / "run")})
    logger.finalize("FAILED")
    assert not (tmp_path / "run").exists()
    logger.log_metrics({"a": 1})
    logger.finalize("success")
    logger.finalize("FAILED")
    assert [r["end"] for _, r in lines(tmp_path / "run" / NAME) if "end" in r] == ["FINISHED"]


def test_a_logger_without_a_directory_takes_a_new_one(workdir):
    first, second = JournalLogger(), JournalLogger()
    for logger in (first, second):
        logger.log_metrics({"a": 1})
        logger.finalize()
        assert logger.run_dir.parent == workdir / "outputs" / "runs"
    assert first.run_dir != second.run_dir


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experiment": "x"}, "experiment_name"),
        ({"log_checkpoints": "yes"}, "bool"),
        ({"tags": ["a"]}, "dict"),
        ({"tracking_uri": 5}, "str"),
    ],
)
def test_wrong_arguments_are_found_before_anything_starts(arguments, message):
    with pytest.raises(ConfigError, match=message):
        check("logger", {"name": "mlflow", **arguments})


# ------------------------------------------------------------------------------------------------------------- csv


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_rows_and_new_columns(tmp_path):
    logger = CSVLogger(str(tmp_path))
    logger.log_metrics({"loss": 0.5, "lr": 1}, step=1, epoch=0)
    logger.log_metrics({"loss": math.nan}, step=2, epoch=0)
    logger.log_metrics({"val/acc": 0.9}, step=2, epoch=0)
    logger.log_metrics({"loss": 0.25, "lr": 2}, step=3, epoch=1)
    logger.finalize()
    table = read_csv(tmp_path / "metrics.csv")
    assert [row["step"] for row in table] == ["1", "2", "2", "3"]
    assert [row["epoch"] for row in table] == ["0", "0", "0", "1"]
    assert [row["loss"] for row in table] == ["0.5", "nan", "", "0.25"]
    assert [row["val/acc"] for row in table] == ["", "", "0.9", ""]


def test_csv_goes_on_after_a_resume_without_repeating_rows(tmp_path):
    first = CSVLogger(str(tmp_path))
    for step in (1, 2, 3):
        first.log_metrics({"loss": 1 / step}, step=step)
    first.finalize("KILLED")
    second = CSVLogger(str(tmp_path))
    second.rewind(1)
    for step in (2, 3, 4, 5):
        second.log_metrics({"loss": 1 / step}, step=step)
    second.finalize()
    assert [row["step"] for row in read_csv(tmp_path / "metrics.csv")] == ["1", "2", "3", "4", "5"]


# ---------------------------------------------------------------------------------------------------------- mlflow


def test_the_default_store_is_the_database_of_the_outputs_folder(workdir):
    logger = MLFlowLogger(experiment_name="digits")
    logger.log_metrics({"a": 1})
    info = RunInfo.read(logger.run_dir)
    assert info.tracking_uri == f"sqlite:///{workdir}/outputs/mlflow.db"
    assert info.artifact_location == (workdir / "outputs" / "artifacts" / "digits").as_uri()
    assert (info.experiment, info.run_name, info.parent) == ("digits", logger.run_dir.name, None)
    assert logger.run_id is None
    logger.finalize()


URIS = [
    (None, "sqlite:///{cwd}/outputs/mlflow.db"),
    ("sqlite:///some/x.db", "sqlite:///{cwd}/some/x.db"),
    ("sqlite:////abs/x.db", "sqlite:////abs/x.db"),
    ("http://host:5000", "http://host:5000"),
    ("postgresql://u:p@h/db", "postgresql://u:p@h/db"),
    ("databricks", "databricks"),
    ("databricks://profile", "databricks://profile"),
]


@pytest.mark.parametrize(("uri", "resolved"), URIS)
def test_tracking_addresses(workdir, uri, resolved):
    assert resolve_uri(uri) == resolved.format(cwd=workdir)


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:///mlruns", "C:\\mlruns"])
def test_folders_are_refused_as_stores(uri):
    with pytest.raises(ConfigError, match=r"logger.tracking_uri: .* is a folder.*Legal: sqlite:"):
        MLFlowLogger(tracking_uri=uri)


def test_environment_variables_choose_store_and_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPKIT_OUTPUTS", str(tmp_path / "elsewhere"))
    assert resolve_uri(None) == f"sqlite:///{tmp_path}/elsewhere/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:1")
    assert resolve_uri(None) == "http://host:1"
    assert resolve_uri("http://other:2") == "http://other:2"


def test_a_run_that_goes_on_keeps_what_it_is(tmp_path):
    parent = tmp_path / "sweep"
    first = MLFlowLogger("digits", run_name="mine", run_dir=str(parent / "0"), parent=str(parent))
    first.log_metrics({"a": 1})
    first.finalize("KILLED")
    before = RunInfo.read(first.run_dir)
    assert before.parent == ".."
    assert MLFlowLogger(run_dir=str(parent / "1"), parent=str(parent))._info().run_name == "sweep/1"
    second = MLFlowLogger("digits", run_dir=str(parent / "0"))
    second.log_metrics({"a": 2})
    second.finalize()
    after = RunInfo.read(second.run_dir)
    assert (after.uuid, after.created, after.parent, after.run_name) == (before.uuid, before.created, "..", "mine")


def test_the_tags_of_a_run_come_on_top_of_gits_and_the_commands(tmp_path):
    logger = MLFlowLogger(run_dir=str(tmp_path), tags={"team": "blue", "mlflow.note.content": "my own words"})
    logger.start()
    (tags,) = [record["tags"] for _, record in lines(tmp_path / NAME) if "tags" in record]
    assert tags["team"] == "blue"
    assert tags["mlflow.note.content"] == "my own words"
    assert tags["mlflow.source.type"] == "LOCAL"
    logger.finalize()


def test_going_on_keeps_the_notes_and_the_first_command(tmp_path):
    for _ in range(2):
        logger = MLFlowLogger(run_dir=str(tmp_path))
        logger.start()
        logger.finalize("KILLED")
    first, second = (record["tags"] for _, record in lines(tmp_path / NAME) if "tags" in record)
    assert {"mlflow.note.content", "expkit.command"} <= set(first)
    assert not {"mlflow.note.content", "expkit.command"} & set(second)
    assert second["expkit.resume_command"] == first["expkit.command"]


def test_a_password_in_the_address_is_for_the_user_alone(tmp_path):
    logger = MLFlowLogger(run_dir=str(tmp_path), tracking_uri="http://me:secret@127.0.0.1:9")
    logger.start()
    logger.finalize()
    assert (tmp_path / INFO).stat().st_mode & 0o077 == 0
    others = [path for path in tmp_path.iterdir() if path.name != INFO]
    assert others
    assert not [path for path in others if "secret" in path.read_text()]


@pytest.mark.parametrize(("wanted", "count"), [(True, 1), (False, 0)])
def test_checkpoints_are_attached_when_wanted(tmp_path, wanted, count):
    logger = MLFlowLogger(run_dir=str(tmp_path), log_checkpoints=wanted)
    logger.log_checkpoint(tmp_path / "checkpoints" / "best")
    logger.finalize()
    found = [(r["artifact"], r["to"]) for _, r in lines(tmp_path / NAME) if "artifact" in r]
    assert found == [(os.path.join("checkpoints", "best"), "checkpoints")] * count


def test_logging_touches_no_network(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    logger = MLFlowLogger(run_dir=str(tmp_path), tracking_uri="http://127.0.0.1:9")
    for step in range(100):
        logger.log_metrics({"a": step}, step)
    logger.log_params({"a": 1})
    logger.finalize()
    assert len(list(rows(tmp_path))) == 100


def test_an_outage_is_said_once_and_again_after_the_next_one(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(loggers, "_CHECK_EVERY", 0.0)
    logger = MLFlowLogger(run_dir=str(tmp_path), tracking_uri="http://me:secret@127.0.0.1:9")
    logger.start()
    where = destination(RunInfo.read(tmp_path))
    with caplog.at_level(logging.WARNING, logger="expkit.tracking"):
        for failures in (0, 1, 2, 0, 1):
            State(destination=where, failures=failures, error="refused" if failures else None).write(tmp_path)
            logger.log_metrics({"a": 1})
    assert len(caplog.messages) == 2
    assert "MLflow at http://me:***@127.0.0.1:9 cannot be reached (refused). Training goes on" in caplog.messages[0]
    assert "expkit sync" in caplog.messages[0]
    assert "refused" in logger.problem()
    logger.finalize()


def test_tracking_information_of_another_version_is_an_error_that_says_so(tmp_path):
    make_run(tmp_path, tmp_path / "mlflow.db")
    stored = json.loads((tmp_path / INFO).read_text())
    (tmp_path / INFO).write_text(json.dumps({**stored, "colour": "blue"}))
    with pytest.raises(Exception, match=r"tracking.json: does not fit this version of expkit"):
        RunInfo.read(tmp_path)
    (tmp_path / INFO).write_text("{")
    with pytest.raises(Exception, match=r"tracking.json: is no tracking information"):
        RunInfo.read(tmp_path)
    assert (tmp_path / STATE).exists() is False
