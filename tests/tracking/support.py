"""Helpers of the tracking tests: a shipper that starts at once, runs, and plain SQL to look into the database."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expkit.tracking import dashboard, journal, syncing
from expkit.tracking.process import identity
from expkit.tracking.runinfo import RunInfo


class Zygote:
    """Ships runs in forks of a process that has mlflow imported; see zygote.py."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))], env=syncing.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the zygote died"
        return line

    def ask(self, *requests: dict[str, Any]) -> list[int]:
        """Exit codes of the forks that serve `requests` side by side."""
        assert self.process.stdin is not None
        full = [{"mode": "follow", "kill": None, "patience": 0.0, **request} for request in requests]
        self.process.stdin.write(json.dumps(full) + "\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def follow(self, run_dir: Path, **options: Any) -> int:
        return self.ask({"run_dir": str(run_dir), **options})[0]

    def once(self, run_dir: Path, env: dict[str, str] | None = None) -> str:
        """Why it failed; "" when it did not. `env`: variables of the shipper's, besides."""
        code = self.ask({"run_dir": str(run_dir), "mode": "once", "env": env or {}})[0]
        assert code in (0, 2), code
        return (run_dir / "once.error").read_text()

    @contextmanager
    def server(self, port: int, database: Path, artifacts: Path, allowed: list[str] | None = None) -> Iterator[None]:
        """A tracking server on this machine while the context lasts; `allowed`: Authorization headers that it takes."""
        request = {"mode": "server", "run_dir": str(artifacts), "store": f"sqlite:///{database}", "port": port}
        (pid,) = self.ask({**request, "allowed": allowed})
        try:
            eventually(lambda: dashboard.taken("127.0.0.1", port), 60)
            yield
        finally:
            os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


def make_run(run_dir: Path, database: Path, **fields: Any) -> RunInfo:
    """A tracked run directory as MLFlowLogger makes it; this process is its writer."""
    run_dir.mkdir(parents=True, exist_ok=True)
    info = RunInfo(
        **{
            "experiment": "digits",
            "run_name": run_dir.name,
            "tracking_uri": f"sqlite:///{database}",
            "artifact_location": (database.parent / "artifacts" / "digits").as_uri(),
            "writer": identity(),
            **fields,
        }
    )
    info.write(run_dir)
    return info


class Database:
    """What MLflow's database holds, read by SQL."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def query(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(text, values).fetchall()
        finally:
            connection.close()

    def run_id(self, name: str) -> str:
        (found,) = self.query("select run_uuid from runs where name = ?", name)
        return found[0]

    def status(self, name: str) -> str:
        return self.query("select status from runs where name = ?", name)[0][0]

    def metrics(self, name: str) -> list[tuple[str, float, int, int]]:
        """(metric, value, t, step), sorted."""
        return sorted(
            self.query("select key, value, timestamp, step from metrics where run_uuid = ?", self.run_id(name))
        )

    def params(self, name: str) -> dict[str, str]:
        return dict(self.query("select key, value from params where run_uuid = ?", self.run_id(name)))

    def tags(self, name: str) -> dict[str, str]:
        return dict(self.query("select key, value from tags where run_uuid = ?", self.run_id(name)))


def journalled(run_dir: Path) -> list[tuple[str, float, int, int]]:
    """What the journal says that the database must hold: (metric, value, t, step), sorted; without `epoch`."""
    return sorted((name, value, row.t, row.step) for row in journal.rows(run_dir) for name, value in row.values.items())


def eventually(condition: Callable[[], Any], timeout: float = 20.0) -> Any:
    """The first true result of `condition` within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return result


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
