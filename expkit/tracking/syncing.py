"""Starting the shipper of a run, waiting for it, and catching up later."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from expkit import flags
from expkit.errors import TrackingError
from expkit.tracking import journal
from expkit.tracking.adoption import offer, parent_of
from expkit.tracking.files import read_json, write_json
from expkit.tracking.names import registration
from expkit.tracking.process import alive, identity
from expkit.tracking.runinfo import INFO, STATE, Status, outputs_root, published, read_status

LOG = "shipper.log"
PROCESS = ".shipper.json"
COMMAND = (sys.executable, "-P", "-m", "expkit.tracking.shipper")  # -P: the working directory hides no module

# These name a run or experiment of the user's shell; ours come from tracking.json.
_CLEARED = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
# MLflow's own patience (120 s, 7 times) is the shipper's business.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_SKIPPED = {"artifacts", "checkpoints", ".venv", ".git"}

_started: dict[str, subprocess.Popen[bytes]] = {}  # the shippers of this process


def environment() -> dict[str, str]:
    """The environment of processes that use MLflow for us."""
    kept = {name: value for name, value in os.environ.items() if name not in _CLEARED}
    package = str(Path(__file__).parents[2])
    path = [entry for entry in (kept.get("PYTHONPATH"), package) if entry]
    return {**_DEFAULTS, **kept, "PYTHONPATH": os.pathsep.join(path)}


def start_shipper(run_dir: str | os.PathLike[str], *, patience: float | None = None) -> int:
    """Start the shipper of a run as a process in its own session (Ctrl-C does not reach it); returns its pid.

    A run of a sweep is handed to the sweep's shipper where that is at work.
    patience: seconds for which it tries after the training has ended.
    """
    where = Path(run_dir).absolute()
    pid = _hand_over(where)
    if pid is not None:
        return pid
    return _spawn(where, [] if patience is None else ["--patience", str(patience)])


def _spawn(run_dir: Path, arguments: list[str]) -> int:
    with open(run_dir / LOG, "ab") as out:
        process = subprocess.Popen(
            [*COMMAND, str(run_dir), *arguments], cwd=run_dir, env=environment(), stdin=subprocess.DEVNULL,
            stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    for key in [key for key, child in _started.items() if child.poll() is not None]:
        del _started[key]  # poll() also takes leave of the dead, which would stay as zombies
    _started[str(run_dir)] = process
    write_json(run_dir / PROCESS, identity(process.pid))
    return process.pid


def _hand_over(run_dir: Path) -> int | None:
    """Give the run to the shipper of its sweep; the pid of that, or None where it is not at work."""
    parent = parent_of(run_dir)
    if parent is None or journal.has_ended(parent) or not shipper_alive(parent):
        return None
    who = read_json(parent / PROCESS)
    if who is None:
        return None
    _started.pop(str(run_dir), None)
    write_json(run_dir / PROCESS, who)
    offer(parent, run_dir)
    return int(who["pid"])


def shipper_alive(run_dir: str | os.PathLike[str]) -> bool:
    """Is a shipper of this run at work (started by whatever process)?"""
    where = Path(run_dir).absolute()
    mine = _started.get(str(where))
    if mine is not None:
        return mine.poll() is None
    return alive(read_json(where / PROCESS), where / STATE)


def wait_for(run_dir: str | os.PathLike[str], timeout: float | None = None) -> bool:
    """Wait until MLflow has all of a run that was finalized: True when it has.

    False after `timeout` seconds (default: EXPKIT_SYNC_TIMEOUT), and at once when waiting is vain: nobody ships the
    run, or the store did not answer since the run ended.
    """
    deadline = time.monotonic() + (float(str(flags.read("SYNC_TIMEOUT"))) if timeout is None else timeout)
    while True:
        working = shipper_alive(run_dir)  # before the state, so that its last words are read
        state = read_status(run_dir)
        if state is None or state.caught_up:
            return state is not None
        if not working or time.monotonic() >= deadline or _in_vain(state):
            return False
        time.sleep(0.05)


def _in_vain(state: Status) -> bool:
    if state.failures < 2 or not journal.has_ended(state.run_dir):
        return False
    ended = (state.run_dir / journal.NAME).stat().st_mtime_ns
    return (state.run_dir / STATE).stat().st_mtime_ns > ended


def sync_hint(run_dir: str | os.PathLike[str]) -> str | None:
    """One sentence for the user when MLflow lacks something of a run; None when it has everything."""
    state = read_status(run_dir)
    if state is None or state.caught_up:
        return None
    why = f" ({state.error})" if state.error else ""
    return f"MLflow does not have all of this run yet{why}; nothing is lost: `expkit sync {run_dir}` sends the rest."


def register_model(
    run_dir: str | os.PathLike[str], name: str, aliases: Iterable[str] = (), champion: str | None = None
) -> str:
    """Register the model that a run published as a new version of `name`; the version's number.

    A model that is registered already keeps its version. aliases: what the version is called as well.
    champion: the alias that it takes over if it beats, by the run's primary metric, the version that has it.
    TrackingError when MLflow does not have the model, or does not answer.
    """
    where = Path(run_dir).absolute()
    how = registration(name, aliases, champion)
    published(where)
    done = subprocess.run(
        [*COMMAND, "--register", json.dumps(how), str(where)], env=environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    answers = done.stdout.strip().splitlines()
    if not answers:
        raise TrackingError(f"registering {where} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    answer = json.loads(answers[-1])
    if answer["error"] is not None:
        raise TrackingError(answer["error"])
    return str(answer["version"])


class Report(NamedTuple):
    """What `sync` did for one run. outcome: "synced", "complete" (it was before), "running" or "failed"."""

    run_dir: Path
    run_name: str
    run_id: str | None
    status: str
    outcome: str
    message: str

    def __str__(self) -> str:
        return f"{self.outcome:8} {self.run_dir}  {self.status or '-':8}  {self.message}".rstrip()


def tracked_runs(root: Path) -> Iterator[Path]:
    """The run directories at and below `root` that are tracked, in order."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - _SKIPPED)
        if INFO in files:
            yield Path(folder)


def sync(paths: Iterable[str | os.PathLike[str]] | None = None) -> list[Report]:
    """Send MLflow what it lacks of the runs at or below `paths` (default: the outputs folder).

    A run whose process died without a word becomes FAILED. TrackingError for a path that does not exist.
    """
    roots = [Path(path).absolute() for path in paths] if paths is not None else [outputs_root()]
    for root in roots:
        if not root.is_dir():
            raise TrackingError(f"{root}: there is no such folder; name a run directory or a folder of runs.")
    found = list(dict.fromkeys(run_dir for root in roots for run_dir in tracked_runs(root)))
    behind = [run_dir for run_dir in found if not _status(run_dir).caught_up]
    errors = _ship_once(behind)
    return [_report(run_dir, run_dir in errors, errors.get(run_dir)) for run_dir in found]


def _status(run_dir: Path) -> Status:
    state = read_status(run_dir)
    if state is None:
        raise TrackingError(f"{run_dir}: its tracking.json vanished.")
    return state


def _ship_once(run_dirs: list[Path]) -> dict[Path, str | None]:
    """Ship runs in one process (importing mlflow takes seconds); what went wrong, by run directory."""
    if not run_dirs:
        return {}
    done = subprocess.run(
        [*COMMAND, "--once", *map(str, run_dirs)], cwd=run_dirs[0], env=environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    errors: dict[Path, str | None] = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        errors[Path(entry["run_dir"])] = entry["error"]
    last_words = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return {run_dir: errors.get(run_dir, f"the shipper failed: {last_words[0]}") for run_dir in run_dirs} | errors


def _report(run_dir: Path, tried: bool, error: str | None) -> Report:
    state = _status(run_dir)
    if state.caught_up:
        outcome, message = "synced" if tried else "complete", "; ".join(state.problems)
    elif error is not None and not (state.writing and shipper_alive(run_dir)):
        outcome, message = "failed", error
    elif state.writing:
        outcome, message = "running", "the training process is at work"
    else:
        outcome, message = "failed", state.error or "something is missing still"
    return Report(run_dir, state.run_name, state.run_id, state.status, outcome, message)
