"""`expkit ui`: MLflow's dashboard on the database of the outputs folder."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from expkit.errors import ConfigError, TrackingError
from expkit.tracking.names import redacted
from expkit.tracking.runinfo import RunInfo, State, database_path, destination, outputs_root, resolve_uri
from expkit.tracking.syncing import environment, tracked_runs

LOG = "ui.log"
START_TIMEOUT = 120.0
STOP_TIMEOUT = 10.0
# MLflow's runner of background jobs for language models: three more processes, and half a minute to stop them.
_NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def ui(port: int = 5000, host: str = "127.0.0.1", tracking_uri: str | None = None) -> int:
    """Serve the dashboard until it is interrupted (SIGINT, SIGTERM); prints its address once it answers.

    Returns 0. TrackingError when there is nothing to show or MLflow's server fails; ConfigError for a port in use.
    """
    arguments = command(host, port, tracking_uri)
    log = outputs_root() / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"starting MLflow's dashboard (its log: {log}) ...", flush=True)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with open(log, "wb") as out:
            _serve(arguments, out, host, port, resolve_uri(tracking_uri))
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
    last_words = "\n  ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
    raise TrackingError(f"MLflow's server ended. Its last words, of {log}:\n  {last_words}")


def command(host: str, port: int, tracking_uri: str | None = None) -> list[str]:
    """The command that serves the dashboard. TrackingError when there is nothing to show, ConfigError for the port."""
    uri = resolve_uri(tracking_uri)
    if uri.startswith(("http://", "https://")):
        raise TrackingError(f"{redacted(uri)} is a tracking server: open that address in a browser.")
    database = database_path(uri)
    if database is not None and not database.is_file():
        raise TrackingError(f"{database}: there is no MLflow database yet. `expkit train` makes it with the first run.")
    if taken(host, port):
        raise ConfigError(f"port {port} of {host} is in use. Choose another: `expkit ui --port {port + 1}`.")
    artifacts = (database.parent if database else Path.cwd()) / "artifacts"
    return [
        sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", uri,
        "--default-artifact-root", artifacts.as_uri(), "--host", host, "--port", str(port), "--workers", "1",
    ]  # fmt: skip


def _serve(arguments: list[str], out: IO[bytes], host: str, port: int, uri: str) -> None:
    """Run the server until it ends by itself; KeyboardInterrupt ends it."""
    env = {**_NO_JOBS, **environment()}
    server = subprocess.Popen(arguments, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        if _answers(server, host, port):
            print(f"MLflow is at {address(host, port, uri)}  (Ctrl-C ends it)", flush=True)
        server.wait()
    finally:
        if server.poll() is None:
            server.terminate()
            try:
                server.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def address(host: str, port: int, uri: str) -> str:
    """Where a browser finds the runs: those of the experiment that ran last.

    MLflow's front page is about language-model applications; the argument chooses its pages for training.
    """
    latest, experiment = 0, ""
    for run_dir in tracked_runs(outputs_root()):
        info, state = RunInfo.read(run_dir), State.read(run_dir)
        known = info is not None and state.destination == destination(info) and info.tracking_uri == uri
        if info is not None and known and state.experiment_id and info.created > latest:
            latest, experiment = info.created, state.experiment_id
    where = f"experiments/{experiment}/runs" if experiment else "experiments"
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/#/{where}?workflowType=machine_learning"


def taken(host: str, port: int) -> bool:
    """Does something answer at this address?"""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _answers(server: "subprocess.Popen[bytes]", host: str, port: int) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while server.poll() is None and time.monotonic() < deadline:
        if taken(host, port):
            return True
        time.sleep(0.2)
    return False
