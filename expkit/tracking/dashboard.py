"""`expkit ui`: MLflow's dashboard on the database of the outputs folder."""

import socket
import subprocess
import sys
import time
from pathlib import Path

from expkit.errors import ConfigError, TrackingError
from expkit.tracking.names import redacted
from expkit.tracking.runinfo import database_path, resolve_uri
from expkit.tracking.syncing import environment

START_TIMEOUT = 60.0


def command(host: str, port: int, tracking_uri: str | None = None) -> list[str]:
    """The command that serves the dashboard. TrackingError when there is nothing to show or the port is taken."""
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


def taken(host: str, port: int) -> bool:
    """Does something answer at this address?"""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def ui(port: int = 5000, host: str = "127.0.0.1", tracking_uri: str | None = None) -> int:
    """Serve the dashboard until it is interrupted; prints its address once it answers. Returns an exit code."""
    with subprocess.Popen(command(host, port, tracking_uri), env=environment(), stdin=subprocess.DEVNULL) as server:
        try:
            if _answers(server, host, port):
                print(f"MLflow is at http://{host}:{port}  (Ctrl-C ends it)", flush=True)
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            server.wait()
            return 0


def _answers(server: "subprocess.Popen[bytes]", host: str, port: int) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while server.poll() is None and time.monotonic() < deadline:
        if taken(host, port):
            return True
        time.sleep(0.2)
    return False
