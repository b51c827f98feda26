"""A process that imports mlflow once and forks a shipper for each request: importing takes seconds, forking none.

Requests and answers are lines of JSON on stdin and stdout:

    [{"run_dir", "mode": "follow" | "once", "kill": null | [method, "before" | "after", nth call], "patience"}, ...]
    [exit code, ...]        0, 1 (gave up), 2 (`once` failed), -9 (killed)

`kill` ends the fork by SIGKILL around the n-th call of a method of Store or of one of OWNERS.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from expkit.tracking import runinfo, shipper, store

OWNERS = {"write": (runinfo.State, "write"), "database_made": (store.os, "replace")}


def _arm(name, when, nth):
    owner, method = OWNERS.get(name, (store.Store, name))
    original, calls = getattr(owner, method), []

    def wrapped(*args, **kwargs):
        calls.append(1)
        if when == "before" and len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if when == "after" and len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, wrapped)


def _serve(request):
    """Runs in the fork; returns its exit code and writes an error message beside the run."""
    if request["kill"]:
        _arm(*request["kill"])
    run_dir = Path(request["run_dir"])
    if request["mode"] == "follow":
        return 0 if shipper.follow(run_dir, patience=request["patience"]) else 1
    error = shipper.once(run_dir)
    (run_dir / "once.error").write_text(error or "")
    return 2 if error else 0


def _fork(request):
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        code = _serve(request)
    except BaseException:  # a fork must never get back into the loop of its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main():
    shipper.POLL, shipper.BACKOFF = 0.05, (0.05, 0.2)
    print("ready", flush=True)
    for line in sys.stdin:
        requests = json.loads(line)  # a list: they run at the same time
        pids = [_fork(request) for request in requests]
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]), flush=True)


if __name__ == "__main__":
    main()
