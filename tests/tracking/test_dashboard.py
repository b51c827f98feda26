"""`expkit ui`: what it starts, what it prints, and how it ends. A plain web server stands in for MLflow's."""

import signal
import socket
import subprocess
import sys

import pytest

from expkit.errors import ConfigError, TrackingError
from expkit.tracking import dashboard
from expkit.tracking.runinfo import State, destination
from expkit.tracking.syncing import environment
from tests.tracking.support import eventually, free_port, make_run

UI = """
import sys
from expkit.tracking import dashboard
port = int(sys.argv[1])
real = dashboard.command
dashboard.command = lambda *arguments: real(*arguments) and [sys.executable, *sys.argv[2:]]
sys.exit(dashboard.ui(port))
"""


def start_ui(port, *server):
    command = [sys.executable, "-c", UI, str(port), *server]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_interrupted_and_takes_the_server_with_it(outputs, how):
    port = free_port()
    with start_ui(port, "-m", "http.server", str(port), "--bind", "127.0.0.1") as process:
        assert process.stdout.readline() == f"starting MLflow's dashboard (its log: {outputs / 'ui.log'}) ...\n"
        address = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"
        assert process.stdout.readline() == f"MLflow is at {address}  (Ctrl-C ends it)\n"
        process.send_signal(how)
        assert process.wait(20) == 0
    assert eventually(lambda: not dashboard.taken("127.0.0.1", port))


def test_a_server_that_fails_is_an_error_with_its_last_words(outputs):
    with start_ui(free_port(), "-c", "print('one'); raise SystemExit('the database is too old')") as process:
        _, message = process.communicate(timeout=20)
    assert "TrackingError: MLflow's server ended." in message
    assert "the database is too old" in message


def test_the_address_is_that_of_the_experiment_that_ran_last(outputs, database):
    for number, (created, experiment) in enumerate([(5, "1"), (9, "2"), (7, "3"), (99, None)]):
        info = make_run(outputs / "runs" / str(number), database.path, created=created)
        State(destination=destination(info), experiment_id=experiment).write(outputs / "runs" / str(number))
    make_run(outputs / "runs" / "elsewhere", outputs / "other.db", created=100)
    uri = f"sqlite:///{database.path}"
    assert dashboard.address("::1", 80, uri) == "http://[::1]:80/#/experiments/2/runs?workflowType=machine_learning"


def test_the_dashboard_needs_a_database(workdir):
    with pytest.raises(TrackingError, match=r"mlflow.db: there is no MLflow database yet. `expkit train` makes it"):
        dashboard.ui()


def test_the_dashboard_of_a_server_is_the_server():
    with pytest.raises(TrackingError, match=r"http://me:\*\*\*@host:5000 is a tracking server"):
        dashboard.ui(tracking_uri="http://me:secret@host:5000")


def test_a_port_in_use_is_said_with_another_one(outputs):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is in use. .* --port {port + 1}"):
            dashboard.ui(port)


def test_the_dashboards_command_names_absolute_places(outputs):
    command = dashboard.command("127.0.0.1", free_port())
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{outputs}/mlflow.db"
    assert command[command.index("--default-artifact-root") + 1] == (outputs / "artifacts").as_uri()
