"""Real shippers in processes of their own: started by a logger, waited for, outlived, and made up for by sync."""

import os
import signal
import subprocess
import sys

import pytest

from expkit.errors import TrackingError
from expkit.tracking import read_status, start_shipper, sync, sync_hint, tracked_runs, wait_for
from expkit.tracking.adoption import FOLDER, adopted
from expkit.tracking.files import read_json, write_json
from expkit.tracking.journal import Journal
from expkit.tracking.process import identity
from expkit.tracking.syncing import PROCESS, environment, shipper_alive
from tests.tracking.support import eventually, free_port, journalled, make_run

TRAIN = """
import signal, sys, time
from expkit.tracking import MLFlowLogger
logger = MLFlowLogger("digits", run_dir=sys.argv[1], tracking_uri=sys.argv[2] or None)
logger.log_params({"optim": {"lr": 0.1}})
for step in range(20):
    logger.log_metrics({"train/loss": 1 / (step + 1)}, step, epoch=0)
print("logged", flush=True)
if sys.argv[3] == "finish":
    logger.finalize("FINISHED")
    print(logger.wait(60), "mlflow" in sys.modules, logger.problem(), flush=True)
else:
    time.sleep(60)
"""


def train(run_dir, uri="", how="finish", **options):
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(run_dir), uri, how], stdout=subprocess.PIPE, text=True, env=environment(),
        **options,
    )  # fmt: skip


def test_a_run_from_start_to_end(outputs, database, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)  # as a shell may have it
    run_dir = outputs / "runs" / "first"
    with train(run_dir) as process:
        assert process.stdout.read().splitlines() == ["logged", "True False None"]
    assert database.status("first") == "FINISHED"
    assert [row for row in database.metrics("first") if row[0] != "epoch"] == journalled(run_dir)
    assert database.tags("first")["mlflow.source.type"] == "LOCAL"
    assert "0" * 32 not in database.run_id("first")
    assert sync_hint(run_dir) is None
    assert eventually(lambda: not shipper_alive(run_dir))


def test_ctrl_c_ends_the_training_and_not_the_shipper(outputs, database):
    run_dir = outputs / "runs" / "first"
    with train(run_dir, how="wait", start_new_session=True, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == "logged\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of its foreground processes
        process.wait(20)
    assert wait_for(run_dir, 60) is True
    assert database.status("first") == "FAILED"
    assert [row for row in database.metrics("first") if row[0] != "epoch"] == journalled(run_dir)


SWEEP = """
import sys
from pathlib import Path
from expkit.tracking import MLFlowLogger, wait_for
sweep = Path(sys.argv[1])
parent = MLFlowLogger("digits", run_dir=str(sweep))
parent.log_params({"jobs": 3})
pids = set()
for job in range(3):
    child = MLFlowLogger("digits", run_dir=str(sweep / f"job{job}"), parent=str(sweep))
    child.log_metrics({"val/acc": job / 10}, step=job)
    child.finalize("FAILED" if job == 1 else "FINISHED")
    pids.add((sweep / f"job{job}" / ".shipper.json").read_text())
parent.finalize("FINISHED")
done = [parent.wait(60), *(wait_for(sweep / f"job{job}", 60) for job in range(3))]
pids.add((sweep / ".shipper.json").read_text())
print(all(done), len(pids))
"""


def test_one_process_ships_a_sweep(outputs, database):
    sweep = outputs / "sweep"
    command = [sys.executable, "-c", SWEEP, str(sweep)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "True 1\n", done.stderr
    names = ("sweep/job0", "sweep/job1", "sweep/job2")
    assert [database.status(name) for name in names] == ["FINISHED", "FAILED", "FINISHED"]
    assert {database.tags(name)["mlflow.parentRunId"] for name in names} == {database.run_id("sweep")}
    for name in names:
        assert database.metrics(name) == journalled(outputs / name)
    assert eventually(lambda: not shipper_alive(sweep))
    assert list((sweep / FOLDER).iterdir()) == []


def test_a_run_whose_sweep_is_not_shipped_gets_a_shipper_of_its_own(outputs, database, monkeypatch):
    started = []
    monkeypatch.setattr("expkit.tracking.syncing._spawn", lambda where, arguments: started.append(where) or 1)
    sweep, child = outputs / "sweep", outputs / "sweep" / "0"
    make_run(sweep, database.path)
    make_run(child, database.path, parent="..")
    start_shipper(child)  # the sweep has none
    write_json(sweep / PROCESS, identity())
    start_shipper(child)  # it has one
    assert read_json(child / PROCESS) == identity()
    Journal(sweep).finalize("FINISHED")
    start_shipper(child)  # it has one that is about to end
    assert started == [child, child]
    assert len(adopted(sweep, known=())) == 1
    assert adopted(sweep, known=()) == []


def test_a_server_that_is_away_is_caught_up_with_when_it_is_back(outputs, database, zygote):
    run_dir, port = outputs / "runs" / "first", free_port()
    with train(run_dir, f"http://127.0.0.1:{port}") as process:
        logged, outcome = process.stdout.read().splitlines()
    assert logged == "logged"
    assert outcome.startswith("False False MLflow does not have all of this run yet")
    assert f"http://127.0.0.1:{port} does not answer: Connection refused" in outcome
    assert f"`expkit sync {run_dir}` sends the rest" in outcome
    os.kill(read_json(run_dir / PROCESS)["pid"], signal.SIGKILL)  # it would go on trying for a minute
    (run_dir / "config.yaml").write_text("a: 1\n")
    journal = Journal(run_dir)
    journal.log_artifact(run_dir / "config.yaml")
    journal.finalize("FINISHED")
    with zygote.server(port, database.path, outputs / "remote"):
        (report,) = sync([run_dir])
    assert report.outcome == "synced", report
    assert database.status("first") == "FINISHED"
    assert [row for row in database.metrics("first") if row[0] != "epoch"] == journalled(run_dir)
    assert [path.read_text() for path in (outputs / "remote").rglob("config.yaml")] == ["a: 1\n"]


def test_sync_brings_every_run_up_to_date_and_says_what_it_did(outputs, database, zygote):
    complete, behind, dead, living, lost = (outputs / "runs" / name for name in ("a", "b", "c", "d", "e"))
    for run_dir in (complete, behind, dead, living, lost):
        make_run(run_dir, database.path)
        Journal(run_dir).log_metrics({"a": 1.0}, 1)
    Journal(complete).finalize("FINISHED")
    assert zygote.follow(complete) == 0
    Journal(behind).finalize("KILLED")
    make_run(dead, database.path, writer={**identity(), "started": "1"})
    make_run(lost, outputs / "gone" / "mlflow.db")
    Journal(lost).finalize("FINISHED")

    reports = {report.run_name: report for report in sync()}
    assert {name: (report.outcome, report.status) for name, report in reports.items()} == {
        "a": ("complete", "FINISHED"),
        "b": ("synced", "KILLED"),
        "c": ("synced", "FAILED"),
        "d": ("running", "RUNNING"),
        "e": ("failed", ""),
    }
    assert "the folder of the MLflow database does not exist" in reports["e"].message
    assert str(behind) in str(reports["b"])
    assert reports["b"].run_id == database.run_id("b")
    assert {name: database.status(name) for name in "abcd"} == {
        "a": "FINISHED", "b": "KILLED", "c": "FAILED", "d": "RUNNING",
    }  # fmt: skip
    assert "does not exist" in sync_hint(lost)


def test_sync_of_nothing(outputs):
    assert sync([outputs]) == []
    with pytest.raises(TrackingError, match="there is no such folder"):
        sync([outputs / "missing"])


def test_runs_are_found_below_a_folder_but_not_among_artifacts(outputs, database):
    for path in ("runs/b", "runs/a", "runs/a/0", "artifacts/digits/x"):
        make_run(outputs / path, database.path)
    assert list(tracked_runs(outputs)) == [outputs / "runs/a", outputs / "runs/a/0", outputs / "runs/b"]


def test_waiting_in_vain_ends_at_once(outputs, database):
    assert wait_for(outputs / "no run", 60) is False
    run_dir = outputs / "runs" / "first"
    make_run(run_dir, database.path)
    Journal(run_dir).finalize("FINISHED")
    assert wait_for(run_dir, 60) is False  # nobody ships it
    assert read_status(run_dir).pending > 0


def test_waiting_is_bounded(outputs, database, monkeypatch):
    run_dir = outputs / "runs" / "first"
    make_run(run_dir, database.path)
    Journal(run_dir).finalize("FINISHED")
    monkeypatch.setattr("expkit.tracking.syncing.shipper_alive", lambda run_dir: True)
    assert wait_for(run_dir, 0.2) is False
    monkeypatch.setenv("EXPKIT_SYNC_TIMEOUT", "0.1")
    assert wait_for(run_dir) is False


def test_the_environment_of_a_shipper(monkeypatch):
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "kept")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "33")
    made = environment()
    assert not {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"} & set(made)
    assert (made["MLFLOW_TRACKING_TOKEN"], made["MLFLOW_HTTP_REQUEST_TIMEOUT"]) == ("kept", "33")
    assert made["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_importing_tracking_imports_nothing_heavy():
    code = "import sys, expkit.tracking; print({'mlflow', 'sqlalchemy', 'pandas', 'requests'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_shipper_refuses_a_directory_without_a_run(outputs, zygote):
    assert "is no tracked run" in zygote.once(outputs)
