"""Who a process is (pid, start time, host), and whether it still lives."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# A process of another machine cannot be looked at: it counts as alive while its journal was written this recently.
SILENCE = 3600.0


def identity(pid: int | None = None) -> dict[str, Any]:
    """`{"pid", "started", "host"}` of a process of this machine (default: this one)."""
    pid = os.getpid() if pid is None else pid
    return {"pid": pid, "started": started(pid), "host": socket.gethostname()}


def started(pid: int) -> str | None:
    """A text that tells this process from another that gets the same pid later; None when it does not live."""
    if sys.platform == "linux":
        return _started_linux(pid)
    return _started_ps(pid)


def _started_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    state, start_ticks = fields[0], fields[19]
    return None if state in "ZX" else start_ticks


def _started_ps(pid: int) -> str | None:
    try:
        listed = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False
        ).stdout.split(None, 1)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return listed[1].strip() if len(listed) == 2 and not listed[0].startswith("Z") else None


def alive(who: dict[str, Any] | None, sign_of_life: Path) -> bool:
    """Does the process `who` (an `identity`) live?

    sign_of_life: a file that it writes; its age decides for processes of other machines.
    """
    if not who:
        return False
    if who["host"] == socket.gethostname():
        now = started(who["pid"])
        return now is not None and now == who["started"]
    try:
        return time.time() - sign_of_life.stat().st_mtime < SILENCE
    except FileNotFoundError:
        return False
