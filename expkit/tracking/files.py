"""Small files that several processes share: atomic JSON, and locks that die with their holder."""

import errno
import json
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from expkit.errors import TrackingError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Replace `path` by `value` as JSON in one step: a reader sees the old or the new content, never a part.

    private: only the user may read the file (it holds a password).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None where there is no such file or it holds no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file for this process alone; False when another holds it. The system unlocks when it is closed.

    OSError with an errno of `_NO_LOCKS` where the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


def lockable(path: Path) -> Path:
    """`path`, or, where its file system has no locks, a file of this machine's temporary folder that stands for it."""
    with open(path, "ab") as file:
        try:
            try_lock(file)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            name = f"{zlib.crc32(str(path.resolve()).encode()):08x}"
            return Path(tempfile.gettempdir()) / f"expkit-{name}.lock"
    return path


@contextmanager
def locked(path: Path, timeout: float | None = None) -> Iterator[None]:
    """Hold the lock file `path`; a process that dies gives it up. TrackingError after `timeout` seconds of waiting."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with open(lockable(path), "ab") as file:
        while not try_lock(file):
            if deadline is not None and time.monotonic() >= deadline:
                raise TrackingError(f"{path}: another process has held this lock for {timeout:g} seconds.")
            time.sleep(0.05)
        yield
