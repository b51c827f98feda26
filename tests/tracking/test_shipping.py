"""What arrives in MLflow's database is what the journal says, whatever happens to the shipper on the way."""

import json
import math
import os
import sqlite3
import subprocess
import sys

import pytest

from expkit.tracking import names
from expkit.tracking.journal import NAME, Journal
from expkit.tracking.process import identity
from expkit.tracking.runinfo import STATE, RunInfo, State, read_status
from tests.tracking.support import Database, journalled, make_run

KILLED = -9


@pytest.fixture
def run_dir(outputs, database):
    path = outputs / "runs" / "first"
    make_run(path, database.path)
    return path


def fill(run_dir, steps=30):
    """A journal of every kind of record."""
    journal = Journal(run_dir)
    journal.set_tags({"mlflow.note.content": "hello", "team": "blue"})
    journal.log_params({"optim": {"name": "adam", "lr": 0.001}, "model": {"hidden": [64, 64]}})
    journal.set_experiment_tags({"mlflow.experiment.primaryMetric.name": "val/acc"})
    journal.log_dataset("digits", "abc123", source="sklearn", profile={"rows": 1797})
    (run_dir / "config.yaml").write_text("model: mlp\n")
    journal.log_artifact(run_dir / "config.yaml", "config")
    for step in range(1, steps + 1):
        journal.log_metrics({"train/loss": 1 / step, "lr-adam": 0.001}, step, epoch=(step - 1) // 10)
        if step % 10 == 0:
            journal.log_metrics({"val/acc": step / 31, "val/worst": math.nan}, step, epoch=(step - 1) // 10)
    (run_dir / "checkpoints" / "best").mkdir(parents=True, exist_ok=True)
    (run_dir / "checkpoints" / "best" / "weights.bin").write_bytes(b"1234")
    journal.log_artifact(run_dir / "checkpoints" / "best", "checkpoints")
    return journal


def check_complete(database, run_dir, status="FINISHED"):
    """MLflow holds one run with all that `fill` journalled, nothing twice."""
    name = run_dir.name
    assert database.query("select count(*) from runs") == [(1,)]
    assert database.status(name) == status
    sent = database.metrics(name)
    worst = [row for row in sent if row[0] == "val/worst"]
    assert database.query("select count(*) from metrics where is_nan") == [(len(worst),)]
    expected = [row for row in journalled(run_dir) if row[0] != "val/worst"]
    assert [row for row in sent if row[0] not in ("epoch", "val/worst")] == expected
    assert [(value, step) for metric, value, _, step in sent if metric == "epoch"] == sorted(
        ((step - 1) // 10, step) for step in range(1, 31)
    )
    assert database.params(name) == {"optim.name": "adam", "optim.lr": "0.001", "model.hidden": "[64, 64]"}
    assert database.tags(name)["team"] == "blue"
    assert database.query("select name, digest from datasets") == [("digits", "abc123")]
    assert database.query("select value from input_tags") == [("training",)]
    files = database.path.parent / "artifacts" / "digits" / database.run_id(name) / "artifacts"
    found = sorted(str(path.relative_to(files)) for path in files.rglob("*") if path.is_file())
    assert found == ["checkpoints/best/weights.bin", "config/config.yaml"]
    assert read_status(run_dir).caught_up


def test_the_store_holds_what_the_journal_says(zygote, run_dir, database):
    fill(run_dir).finalize("FINISHED")
    assert zygote.follow(run_dir) == 0
    check_complete(database, run_dir)
    start, end, experiment, location = database.query(
        "select start_time, end_time, e.name, artifact_location from runs join experiments e using (experiment_id)"
    )[0]
    last = json.loads((run_dir / NAME).read_text().splitlines()[-1])
    assert (start, end) == (RunInfo.read(run_dir).created, last["t"])
    assert (experiment, location) == ("digits", (database.path.parent / "artifacts" / "digits").as_uri())
    assert ("mlflow.experiment.primaryMetric.name", "val/acc") in database.query(
        "select key, value from experiment_tags"
    )
    status = read_status(run_dir)
    assert (status.run_id, status.status) == (database.run_id("first"), "FINISHED")
    assert status.pending == 0
    assert status.problems == ()


KILLS = [
    ("experiment", "after", 1),
    ("create_run", "before", 1),
    ("create_run", "after", 1),
    ("write", "before", 1),
    ("set_tags", "after", 1),
    ("log_params", "before", 1),
    ("log_params", "after", 1),
    ("log_dataset", "after", 1),
    ("log_metrics", "before", 1),
    ("log_metrics", "after", 1),
    ("write", "before", 6),
    ("upload", "before", 1),
    ("upload", "after", 1),
    ("upload", "after", 2),
    ("set_status", "before", 1),
    ("set_status", "after", 1),
]


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: "-".join(map(str, kill)))
def test_a_shipper_killed_anywhere_loses_and_doubles_nothing(zygote, run_dir, database, kill):
    fill(run_dir).finalize("FINISHED")
    assert zygote.follow(run_dir, kill=kill) == KILLED
    assert not read_status(run_dir).caught_up
    assert zygote.once(run_dir) == ""
    check_complete(database, run_dir)


def test_a_lost_state_file_costs_nothing(zygote, run_dir, database):
    fill(run_dir).finalize("FINISHED")
    assert zygote.follow(run_dir) == 0
    (run_dir / STATE).unlink()
    assert zygote.once(run_dir) == ""
    check_complete(database, run_dir)


def test_shipping_as_it_is_written(zygote, run_dir, database):
    journal = fill(run_dir, steps=7)
    assert zygote.once(run_dir) == ""
    assert database.status("first") == "RUNNING"
    assert not read_status(run_dir).caught_up
    for step in range(8, 31):
        journal.log_metrics({"train/loss": 1 / step, "lr-adam": 0.001}, step, epoch=(step - 1) // 10)
        assert zygote.once(run_dir) == "" if step % 10 == 0 else True
    journal.finalize("FINISHED")
    assert zygote.once(run_dir) == ""
    assert [row for row in database.metrics("first") if row[0] != "epoch"] == journalled(run_dir)


def test_many_metrics_go_in_batches(zygote, run_dir, database):
    journal = Journal(run_dir)
    journal.log_metrics({f"m{number:04}": number for number in range(2300)}, 1)
    for step in range(700):
        journal.log_metrics({"a": step, "b": -step}, step)
    journal.log_params({f"p{number}": "x" * 6000 for number in range(150)})
    journal.finalize("FINISHED")
    assert zygote.follow(run_dir) == 0
    assert database.metrics("first") == journalled(run_dir)
    assert len(database.params("first")) == 150


def test_names_and_values_that_mlflow_refuses_are_made_legal(zygote, run_dir, database):
    odd = ["val/acc@5", "../x", "", "..", "a" * 300, "ö:ä b", "//a//", "[0]", "a\nb", "100%"]
    journal = Journal(run_dir)
    journal.log_metrics(dict.fromkeys(odd, 1.0), 1)
    journal.log_params(dict.fromkeys(odd, "v" * 7000))
    journal.set_tags({**dict.fromkeys(odd, "v" * 9000), "uri": "http://me:secret@host"})
    journal.finalize("FINISHED")
    assert zygote.follow(run_dir) == 0
    assert read_status(run_dir).problems == ()
    legal = {names.key(name) for name in odd}
    assert {row[0] for row in database.metrics("first")} == set(database.params("first")) == legal
    assert {len(text) for text in database.params("first").values()} == {6000}
    tags = database.tags("first")
    assert tags["uri"] == "http://me:***@host"
    assert legal <= set(tags)


# --------------------------------------------------------------------------------------------------- how runs end


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_final_statuses(zygote, run_dir, database, status):
    fill(run_dir).finalize(status)
    assert zygote.follow(run_dir) == 0
    check_complete(database, run_dir, status)


DYING = """
import os, sys
from expkit.tracking import loggers
loggers.start_shipper = lambda run_dir: None
logger = loggers.MLFlowLogger("digits", run_dir=sys.argv[1])
logger.log_metrics({"train/loss": 0.5}, step=3)
os.kill(os.getpid(), 9)
"""


def test_a_training_process_that_dies_leaves_a_failed_run(zygote, outputs, database):
    run_dir = outputs / "dies"
    assert subprocess.run([sys.executable, "-c", DYING, str(run_dir)], check=False).returncode == KILLED
    assert zygote.follow(run_dir) == 0
    assert database.status("dies") == "FAILED"
    assert database.metrics("dies") == journalled(run_dir)
    assert "without a final status" in database.tags("dies")["expkit.died"]
    end = database.query("select end_time from runs")[0][0]
    assert end == json.loads((run_dir / NAME).read_text().splitlines()[-1])["t"]
    assert read_status(run_dir).caught_up


def test_a_run_that_lives_is_left_running(zygote, run_dir, database):
    Journal(run_dir).log_metrics({"a": 1})
    assert zygote.once(run_dir) == ""
    assert database.status("first") == "RUNNING"


def test_a_writer_that_died_before_its_first_record(zygote, outputs, database):
    run_dir = outputs / "empty"
    make_run(run_dir, database.path, writer={**identity(), "started": "1"})
    assert zygote.follow(run_dir) == 0
    assert database.status("empty") == "FAILED"


# -------------------------------------------------------------------------------------------------------- resuming


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(zygote, run_dir, database):
    journal = Journal(run_dir)
    journal.log_params({"optim": {"lr": 0.1, "name": "sgd"}})
    journal.log_metrics({"a": 1.0}, 1, epoch=0)
    journal.finalize("FAILED")
    assert zygote.follow(run_dir) == 0
    before = database.run_id("first")

    journal.log_params({"optim": {"lr": 0.2, "name": "sgd"}, "new": 1})
    assert zygote.once(run_dir) == ""
    assert database.status("first") == "RUNNING"
    journal.log_metrics({"a": 2.0}, 2, epoch=0)
    journal.finalize("FINISHED")
    assert zygote.follow(run_dir) == 0

    assert database.run_id("first") == before
    assert database.status("first") == "FINISHED"
    assert database.params("first") == {"optim.lr": "0.1", "optim.name": "sgd", "new": "1"}
    tags = database.tags("first")
    assert tags["expkit.changed.optim.lr"] == "0.1 -> 0.2"
    assert "expkit.changed.optim.name" not in tags
    assert tags["expkit.sessions"] == "2"
    assert [row for row in database.metrics("first") if row[0] == "a"] == journalled(run_dir)


def test_another_destination_gets_the_whole_run(zygote, run_dir, database):
    fill(run_dir).finalize("FINISHED")
    assert zygote.follow(run_dir) == 0
    info = RunInfo.read(run_dir)
    info.experiment = "other"
    info.write(run_dir)
    assert not read_status(run_dir).caught_up
    assert zygote.once(run_dir) == ""
    counts = database.query("select count(*) from metrics group by run_uuid")
    assert len(counts) == 2
    assert len(set(counts)) == 1


# ------------------------------------------------------------------------------------------------ parents, children


@pytest.mark.parametrize("parent_first", [True, False])
def test_children_stand_below_their_parent(zygote, outputs, database, parent_first):
    parent = outputs / "sweep"
    make_run(parent, database.path)
    Journal(parent).set_tags({"kind": "sweep"})
    children = [parent / "0", parent / "1"]
    for child in children:
        make_run(child, database.path, parent="..")
        fill(child).finalize("FINISHED")
    together = [*children, parent] if not parent_first else [parent, *children]
    Journal(parent).finalize("FINISHED")
    assert zygote.ask(*({"run_dir": str(path)} for path in together)) == [0, 0, 0]
    assert database.query("select count(*) from runs") == [(3,)]
    for child in children:
        assert database.tags(child.name)["mlflow.parentRunId"] == database.run_id("sweep")
    assert database.tags("sweep")["kind"] == "sweep"
    assert "mlflow.parentRunId" not in database.tags("sweep")


@pytest.mark.parametrize("parent", ["../nowhere", "."])
def test_a_parent_that_is_none_is_left_out(zygote, outputs, database, parent):
    run_dir = outputs / "child"
    make_run(run_dir, database.path, parent=parent)
    fill(run_dir).finalize("FINISHED")
    assert zygote.follow(run_dir) == 0
    check_complete(database, run_dir)
    assert "mlflow.parentRunId" not in database.tags("child")


# ---------------------------------------------------------------------------------------------- what cannot be sent


def test_an_artifact_that_is_gone_and_a_line_that_is_no_record_are_reported(zygote, run_dir, database):
    journal = fill(run_dir)
    journal.log_artifact(run_dir / "gone.txt")
    journal.close()
    with open(run_dir / NAME, "a") as file:
        file.write("nonsense\n")
    journal.finalize("FINISHED")
    assert zygote.follow(run_dir) == 0
    check_complete(database, run_dir)
    unreadable, gone = sorted(read_status(run_dir).problems, reverse=True)
    assert "is no record and was passed over" in unreadable
    assert gone == "artifact gone.txt: is not there any more"


def test_a_store_that_is_away_holds_everything_back_until_it_returns(zygote, outputs, database, tmp_path):
    run_dir, away = outputs / "first", tmp_path / "away"
    make_run(run_dir, away / "mlflow.db", artifact_location=(outputs / "artifacts" / "digits").as_uri())
    fill(run_dir).finalize("FINISHED")
    assert zygote.follow(run_dir, patience=0.3) == 1
    status = read_status(run_dir)
    assert status.failures >= 2
    assert "the folder of the MLflow database does not exist" in status.error
    assert (status.pending > 0, status.caught_up) == (True, False)
    away.mkdir()
    os.link(database.path, away / "mlflow.db")
    assert zygote.once(run_dir) == ""
    check_complete(database, run_dir)
    assert (read_status(run_dir).error, read_status(run_dir).failures) == (None, 0)


@pytest.mark.parametrize("table", ["runs", "experiments"])
def test_what_was_deleted_in_mlflow_is_not_written_to(zygote, run_dir, database, table):
    fill(run_dir)
    assert zygote.once(run_dir) == ""
    connection = sqlite3.connect(database.path)
    connection.execute(f"update {table} set lifecycle_stage = 'deleted'")
    connection.commit()
    connection.close()
    Journal(run_dir).finalize("FINISHED")
    if table == "experiments":
        (run_dir / STATE).unlink()
    error = zygote.once(run_dir)
    assert "was deleted in MLflow" in error
    assert "mlflow runs restore" in error or "mlflow experiments restore" in error
    assert read_status(run_dir).error == error
    assert zygote.follow(run_dir) == 1


def test_the_state_survives_being_cut_short(run_dir):
    (run_dir / STATE).write_text('{"offset": 12')
    assert State.read(run_dir) == State()


def test_concurrent_shippers_make_one_new_database(zygote, tmp_path):
    outputs = tmp_path / "outputs"
    runs = [outputs / "runs" / str(number) for number in range(4)]
    for run_dir in runs:
        make_run(run_dir, outputs / "mlflow.db")
        fill(run_dir).finalize("FINISHED")
    assert zygote.ask(*({"run_dir": str(run_dir)} for run_dir in runs)) == [0] * 4
    database = Database(outputs / "mlflow.db")
    assert database.query("select count(*) from runs") == [(4,)]
    assert sorted(database.query("select name from experiments")) == [("Default",), ("digits",)]
    for run_dir in runs:
        assert [row for row in database.metrics(run_dir.name) if row[0] not in ("epoch", "val/worst")] == [
            row for row in journalled(run_dir) if row[0] != "val/worst"
        ]
    assert sorted(path.name for path in outputs.iterdir()) == ["artifacts", "mlflow.db", "mlflow.db.lock", "runs"]


def test_a_shipper_killed_while_it_makes_the_database_leaves_none(zygote, tmp_path):
    run_dir = tmp_path / "runs" / "first"
    make_run(run_dir, tmp_path / "mlflow.db")
    fill(run_dir).finalize("FINISHED")
    assert zygote.follow(run_dir, kill=("database_made", "before", 1)) == KILLED
    assert not (tmp_path / "mlflow.db").exists()
    assert zygote.follow(run_dir) == 0
    check_complete(Database(tmp_path / "mlflow.db"), run_dir)


def test_one_run_is_shipped_by_one_process_at_a_time(zygote, run_dir, database):
    fill(run_dir).finalize("FINISHED")
    assert zygote.ask(*({"run_dir": str(run_dir)} for _ in range(3))) == [0, 0, 0]
    check_complete(database, run_dir)
