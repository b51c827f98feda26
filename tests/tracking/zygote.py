"""A process that imports mlflow once and forks a shipper for each request: importing takes seconds, forking none.

Requests and answers are lines of JSON on stdin and stdout:

    [{"run_dir", "mode", "kill", "patience"}, ...]      mode: follow, once, server; kill: null or a point of death
    [exit code, ...]        0, 1 (gave up), 2 (`once` failed), -9 (killed); for a server its pid

A point of death is [method, "before" | "after", n]: SIGKILL comes around the n-th call of that method of Store, or of
one of OWNERS.
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
    os.environ.update(request.get("env", {}))
    run_dir = Path(request["run_dir"])
    if request["mode"] == "server":
        return _server(request)
    if request["mode"] == "follow":
        return 0 if shipper.follow(run_dir, patience=request["patience"]) else 1
    error = shipper.once(run_dir)
    (run_dir / "once.error").write_text(error or "")
    return 2 if error else 0


def _server(request):
    """A tracking server, as `mlflow server` makes it but in a second instead of ten; runs until it is ended."""
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = request["store"]
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "mlflow-artifacts:/"
    os.environ["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] = str(request["run_dir"])
    os.environ["_MLFLOW_SERVER_SERVE_ARTIFACTS"] = "true"
    from mlflow.server import app
    from werkzeug.serving import make_server

    make_server("127.0.0.1", request["port"], _guarded(app, request.get("allowed"))).serve_forever()


def _guarded(app, allowed):
    """`app` behind a door: only requests with an Authorization header of `allowed` get through (None: all)."""

    def guarded(environ, start_response):
        if allowed is None or environ.get("HTTP_AUTHORIZATION") in allowed:
            return app(environ, start_response)
        start_response("401 Unauthorized", [("Content-Type", "text/plain")])
        return [b"You are not authenticated."]

    return guarded


def _fork(request):
    pid = os.fork()
    if pid:
        return pid
    code = 99
    os.dup2(2, 1)  # MLflow prints; stdout is for the answers
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
        answers = [
            pid if request["mode"] == "server" else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            for pid, request in zip(pids, requests, strict=True)
        ]
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main()
