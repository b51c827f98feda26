"""The process that carries a run's journal to MLflow:

python -m expkit.tracking.shipper RUN_DIR            follows the run until it has ended and MLflow has all of it
python -m expkit.tracking.shipper --once RUN_DIR...  sends what there is now; one line of JSON per run on stdout
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import time
from pathlib import Path

from expkit.errors import TrackingError
from expkit.tracking.files import locked
from expkit.tracking.journal import has_ended
from expkit.tracking.shipping import Shipper
from expkit.tracking.store import Gone, Unavailable

LOCK = ".shipper.lock"
POLL = 0.5  # seconds between looks at the journal
PATIENCE = 60.0  # seconds of trying after the training has ended
BACKOFF = (1.0, 30.0)  # first and longest pause after a failure

log = logging.getLogger("expkit.tracking.shipper")


def follow(run_dir: Path, patience: float = PATIENCE) -> bool:
    """Ship a run until it has ended and MLflow has all of it.

    False when it gave up: the store stayed away for `patience` seconds after the training had ended, or the run was
    deleted in MLflow. What is missing is then sent by `expkit sync`.
    """
    with locked(run_dir / LOCK):  # the shipper of an earlier process of this run may still be at work
        shipper = Shipper(run_dir)
        pause, over_since = BACKOFF[0], None
        while True:
            over = has_ended(run_dir) or not shipper.info.alive(run_dir)
            over_since = (over_since or time.monotonic()) if over else None
            try:
                if shipper.tick():
                    return True
                pause = BACKOFF[0]
                time.sleep(POLL)
            except Gone as error:
                shipper.failed(error)
                log.error("%s", error)
                return False
            except Unavailable as error:
                shipper.failed(error)
                log.warning("attempt %d: %s", shipper.state.failures, error)
                if over_since is not None and time.monotonic() - over_since >= patience:
                    log.error("gave up; `expkit sync` sends the rest")
                    return False
                time.sleep(pause)
                pause = min(2 * pause, BACKOFF[1])


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m expkit.tracking.shipper", description=__doc__)
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR")
    parser.add_argument("--once", action="store_true", help="send what there is now and report as JSON lines")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds of trying after the training ended")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
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
