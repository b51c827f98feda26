"""What a run came from: git state, command, versions, machine, user. Plain data, MLflow is not needed."""

import getpass
import os
import platform
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from expkit.tracking.files import write_json
from expkit.tracking.names import redacted

NAME = "environment.json"
GIT_TIMEOUT = 2.0


def collect() -> dict[str, Any]:
    """Everything about this process that helps to understand or repeat its run."""
    installed = packages()
    return {
        "command": redacted(shlex.join([Path(sys.argv[0] or "python").name, *sys.argv[1:]])),
        "program": sys.argv[0] or "python",
        "cwd": os.getcwd(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "numpy": installed.get("numpy", ""),
        "expkit": installed.get("expkit", ""),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "hostname": socket.gethostname(),
        "user": user(),
        "git": git_state(),
        "packages": installed,
    }


def write(run_dir: Path) -> dict[str, Any]:
    """Write `collect()` to environment.json of the run directory, and return it."""
    collected = collect()
    write_json(run_dir / NAME, collected)
    return collected


def user() -> str:
    """The login name; "unknown" for a user id without one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


def packages() -> dict[str, str]:
    """Installed distributions, name -> version, read from the names of their metadata folders (no file is opened)."""
    found: dict[str, str] = {}
    for entry in sys.path:
        try:
            names = os.listdir(entry or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith(".dist-info"):
                package, _, version = name.removesuffix(".dist-info").partition("-")
                found.setdefault(package.lower().replace("_", "-"), version)
    return dict(sorted(found.items()))


def requirements() -> str:
    """The installed distributions as lines of a requirements.txt."""
    return "".join(f"{name}=={version}\n" for name, version in packages().items())


def git_state(folder: str | None = None) -> dict[str, Any]:
    """`{"commit", "branch", "dirty", "repo"}` of the working tree around `folder`; empty where there is none."""
    status = _git(["status", "--porcelain=v2", "--branch", "--untracked-files=no"], folder)
    if status is None:
        return {}
    head = dict(line[2:].split(" ", 1) for line in status.splitlines() if line.startswith("# "))
    commit, branch = head.get("branch.oid", ""), head.get("branch.head", "")
    return {
        "commit": "" if commit == "(initial)" else commit,
        "branch": "" if branch == "(detached)" else branch,
        "dirty": any(not line.startswith("#") for line in status.splitlines()),
        "repo": redacted((_git(["remote", "get-url", "origin"], folder) or "").strip()),
    }


def _git(arguments: list[str], folder: str | None) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=GIT_TIMEOUT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def tags(collected: dict[str, Any], run_dir: Path) -> dict[str, str]:
    """The tags that MLflow's pages read, plus our own, for what `collect` found."""
    git = collected["git"]
    known = {
        "mlflow.user": collected["user"],
        "mlflow.source.name": Path(collected["program"]).name,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git.get("commit"),
        "mlflow.source.git.branch": git.get("branch"),
        "mlflow.source.git.repoURL": git.get("repo"),
        "mlflow.source.git.dirty": str(git["dirty"]).lower() if git else None,
        "mlflow.note.content": note(collected, run_dir),
        "expkit.command": collected["command"],
        "expkit.run_dir": str(run_dir),
        "expkit.hostname": collected["hostname"],
        "expkit.version": collected["expkit"],
        "expkit.python": collected["python"],
        "expkit.numpy": collected["numpy"],
    }
    return {name: value for name, value in known.items() if value}


def note(collected: dict[str, Any], run_dir: Path) -> str:
    """The description of the run that MLflow shows (Markdown)."""
    git = collected["git"]
    lines = [f"`{collected['command']}`", "", f"Run directory: `{run_dir}`"]
    if git.get("commit"):
        state = "with local changes" if git["dirty"] else "clean"
        lines += ["", f"Commit: `{git['commit'][:12]}` ({git['branch'] or 'detached'}, {state})"]
    return "\n".join(lines)
