"""The command as a process of its own: a whole run, signals and resume, a tracking server that is not there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from expkit.tracking import read_status

COMMAND = (sys.executable, "-m", "expkit.cli.main")
SHORT = ("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false")


def expkit(*argv: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *argv], capture_output=True, text=True, timeout=150, env={**os.environ, **environment}, check=False
    )


def run_dir(workdir: Path) -> Path:
    (found,) = (workdir / "outputs").glob("*/runs/*/")
    return found


def status(path: Path) -> str:
    """The status that the journal ends with; empty while the run is going on."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return next((row["end"] for row in reversed(rows) if "end" in row), "")


@pytest.mark.slow
def test_a_run_from_the_command_to_the_result_table(workdir):
    done = expkit("train", "trainer.max_epochs=2", "logger=none", *SHORT)
    assert done.returncode == 0, done.stderr
    assert "FINISHED" in done.stdout
    assert "test/acc" in done.stdout
    assert status(run_dir(workdir)) == "FINISHED"


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_in_good_order_and_resume_goes_on(workdir, sent, code):
    argv = ["train", "trainer.max_epochs=5000", "logger=none", "callbacks=[model_checkpoint]", *SHORT]
    with subprocess.Popen([*COMMAND, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        _wait_for_checkpoint(workdir, process)
        process.send_signal(sent)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == code, out
    assert "expkit resume" in out
    assert "Traceback" not in out
    path = run_dir(workdir)
    assert status(path) == "KILLED"
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("max_epochs: 5000", "max_epochs: 1"))
    resumed = expkit("resume", path.name)
    assert resumed.returncode == 0, resumed.stderr
    assert status(path) == "FINISHED"


def _wait_for_checkpoint(workdir: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not list((workdir / "outputs").glob("*/runs/*/checkpoints/*/manifest.json")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint within a minute"
        time.sleep(0.1)


@pytest.mark.slow
def test_training_goes_on_without_its_tracking_server(workdir):
    done = expkit(
        "train", "trainer.max_epochs=1", "logger.tracking_uri=http://127.0.0.1:9", *SHORT, EXPKIT_SYNC_TIMEOUT="15"
    )
    assert done.returncode == 0, done.stderr
    assert "FINISHED" in done.stdout
    assert "expkit sync" in done.stdout + done.stderr
    state = read_status(run_dir(workdir))
    assert state is not None
    assert not state.caught_up
