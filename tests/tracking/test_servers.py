"""Tracking servers: with passwords and tokens, away at the start, gone in the middle."""

import base64

import pytest

from expkit.tracking import read_status
from expkit.tracking.loggers import MLFlowLogger
from tests.tracking.support import eventually, free_port, journalled

pytestmark = pytest.mark.slow

BASIC = "Basic " + base64.b64encode(b"ada:secret").decode()
# Variables of MLflow's clients, and whether the server knows them.
WAYS = {
    "password": ({"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "secret"}, True),
    "token": ({"MLFLOW_TRACKING_TOKEN": "t0ken"}, True),
    "wrong password": ({"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "guess"}, False),
    "neither": ({}, False),
}


@pytest.fixture
def server(zygote, outputs, database):
    """Starts the test's server again and again on its port, with the doorman or without."""
    port = free_port()
    allowed = [BASIC, "Bearer t0ken"]

    def started(guarded=False):
        return zygote.server(port, database.path, outputs / "remote", allowed if guarded else None)

    started.address = f"http://127.0.0.1:{port}"
    return started


@pytest.mark.usefixtures("no_shipper")
def test_credentials_come_from_the_environment(zygote, outputs, database, server):
    with server(guarded=True):
        for name, (variables, known) in WAYS.items():
            run_dir = outputs / name
            logger = MLFlowLogger("digits", run_dir=str(run_dir), tracking_uri=server.address)
            logger.log_metrics({"val/acc": 0.5}, step=1)
            logger.log_text("hello", "notes.txt")
            logger.finalize()
            error = zygote.once(run_dir, variables)
            assert error == "" if known else "not authenticated" in error or "401" in error
            assert read_status(run_dir).caught_up is known
            assert "secret" not in "".join(path.read_text() for path in run_dir.iterdir() if path.is_file())
    assert len(list((outputs / "remote").rglob("notes.txt"))) == 2
    assert {name for (name,) in database.query("select name from runs")} == {"password", "token"}


def test_a_server_that_goes_away_in_the_middle_gets_the_rest_when_it_is_back(outputs, database, server):
    run_dir = outputs / "first"
    with server():
        logger = MLFlowLogger("digits", run_dir=str(run_dir), tracking_uri=server.address, log_system_metrics=False)
        logger.log_metrics({"train/loss": 1.0}, step=1, epoch=0)
        eventually(lambda: read_status(run_dir).run_id and read_status(run_dir).pending == 0, 60)
    for step in range(2, 30):
        logger.log_metrics({"train/loss": 1 / step}, step, epoch=0)
    logger.log_text("while it was away", "notes.txt")
    eventually(lambda: read_status(run_dir).failures, 60)
    assert read_status(run_dir).pending > 0
    with server():
        logger.log_metrics({"train/loss": 0.0}, 30, epoch=0)
        logger.finalize()
        eventually(lambda: read_status(run_dir).caught_up, 90)
    assert [row for row in database.metrics("first") if row[0] != "epoch"] == journalled(run_dir)
    assert database.status("first") == "FINISHED"
    assert [path.read_text() for path in (outputs / "remote").rglob("notes.txt")] == ["while it was away"]
