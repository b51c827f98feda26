"""The process that carries journals to MLflow:

    python -m expkit.tracking.shipper RUN_DIR            follows the run until it has ended and MLflow has all of it
    python -m expkit.tracking.shipper --register JSON RUN_DIR    makes its model a version in the registry
    python -m expkit.tracking.shipper --once RUN_DIR...  sends what there is now; one line of JSON per run on stdout

The shipper of a sweep also follows the runs of the sweep: a process for each would cost seconds of CPU time each.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from expkit.errors import TrackingError
from expkit.tracking import system
from expkit.tracking.adoption import adopted
from expkit.tracking.files import locked
from expkit.tracking.journal import has_ended
from expkit.tracking.models import register_last
from expkit.tracking.shipping import Shipper
from expkit.tracking.store import Gone, Unavailable
from expkit.tracking.system import Monitor

LOCK = ".shipper.lock"
POLL = 0.5  # seconds between looks at the journal
PATIENCE = 60.0  # seconds of trying after the training has ended
BACKOFF = (1.0, 30.0)  # first and longest pause after a failure

log = logging.getLogger("expkit.tracking.shipper")


class Followed:
    """A run that is being shipped, from its lock to its end. TrackingError when another process ships it."""

    def __init__(self, run_dir: Path, patience: float, timeout: float | None) -> None:
        self.run_dir = run_dir
        self.patience = patience
        self.complete: bool | None = None  # None: still at work, False: gave up
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(locked(run_dir / LOCK, timeout))
        self._shipper = Shipper(run_dir)
        self._pause, self._due = BACKOFF[0], 0.0
        self._over_since: float | None = None

    def step(self) -> None:
        """Ship what there is, unless the pause after a failure lasts. Its end is one more reason to try at once."""
        was_over, now = self._over_since is not None, time.monotonic()
        over = has_ended(self.run_dir) or not self._shipper.info.alive(self.run_dir)
        self._over_since = (self._over_since or now) if over else None
        if now < self._due and was_over == over:
            return
        try:
            if self._shipper.tick():
                self._leave(True)
            self._pause, self._due = BACKOFF[0], 0.0
        except Gone as error:
            self._shipper.failed(error)
            log.error("%s: %s", self.run_dir.name, error)
            self._leave(False)
        except Unavailable as error:
            self._shipper.failed(error)
            log.warning("%s: attempt %d: %s", self.run_dir.name, self._shipper.state.failures, error)
            self._wait_or_leave()

    @property
    def in_training(self) -> bool:
        return self._over_since is None

    @property
    def interval(self) -> float | None:
        """Seconds between looks at the machine; None when the run wants none."""
        return self._shipper.info.system_metrics

    def _wait_or_leave(self) -> None:
        now = time.monotonic()
        if self._over_since is not None and now - self._over_since >= self.patience:
            log.error("%s: gave up; `expkit sync` sends the rest", self.run_dir.name)
            self._leave(False)
        self._due = now + self._pause
        self._pause = min(2 * self._pause, BACKOFF[1])

    def _leave(self, complete: bool) -> None:
        self.complete = complete
        self._lock.close()


def follow(run_dir: Path, patience: float = PATIENCE) -> bool:
    """Ship a run, and the runs that it adopts, until they have ended and MLflow has all of them.

    False when it gave up on one: the store stayed away for `patience` seconds after the training had ended, or the
    run was deleted in MLflow. What is missing is then sent by `expkit sync`.
    """
    runs = {run_dir: Followed(run_dir, patience, None)}  # the shipper of an earlier process may still be at work
    complete = True
    monitor = Monitor()
    while True:
        look_for(list(runs.values()), monitor)
        for child in adopted(run_dir, known=runs):
            try:
                runs[child] = Followed(child, patience, timeout=5.0)
            except TrackingError as error:
                log.warning("%s is left to another: %s", child, error)
        for path, run in list(runs.items()):
            run.step()
            if run.complete is not None:
                complete = complete and run.complete
                del runs[path]
        if not runs:
            return complete
        time.sleep(POLL)


def look_for(runs: list[Followed], monitor: Monitor) -> None:
    """Look at the machine when it is time to, for those of the runs that are being trained."""
    wanted = [run for run in runs if run.in_training and run.interval is not None]
    if not monitor.due(min((run.interval or 0.0 for run in wanted), default=None)):
        return
    seen = monitor.look()
    for run in wanted:
        system.write(run.run_dir, seen)


def once(run_dir: Path, timeout: float = 5.0) -> str | None:
    """Send what there is now; why it could not, or None. A shipper at work has `timeout` seconds to finish first."""
    try:
        with locked(run_dir / LOCK, timeout):
            shipper = Shipper(run_dir)
            try:
                shipper.tick()
            except (Gone, Unavailable) as error:
                shipper.failed(error)
                return str(error)
    except TrackingError as error:
        return str(error)
    return None


def register(run_dir: Path, registration: dict[str, Any]) -> int:
    """Register the model of a run; one line of JSON on stdout."""
    version, error = None, None
    with contextlib.redirect_stdout(sys.stderr):
        try:
            version = register_last(run_dir, registration)
        except TrackingError as why:
            error = str(why)
    print(json.dumps({"version": version, "error": error}), flush=True)
    return 0 if error is None else 1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m expkit.tracking.shipper", description=__doc__)
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR")
    parser.add_argument("--once", action="store_true", help="send what there is now and report as JSON lines")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds of trying after the training ended")
    parser.add_argument("--register", type=json.loads, metavar="JSON", help="register the published model; says how")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if options.register is not None:
        return register(options.run_dirs[0].absolute(), options.register)
    if not options.once:
        if hasattr(os, "nice"):
            os.nice(5)  # the training goes first
        return 0 if follow(options.run_dirs[0].absolute(), options.patience) else 1
    for run_dir in options.run_dirs:
        with contextlib.redirect_stdout(sys.stderr):  # MLflow prints its addresses; stdout is for the reports
            error = once(run_dir.absolute())
        print(json.dumps({"run_dir": str(run_dir), "error": error}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
