"""Locks that are free after a fork: it waits for other threads to let go of them, else the child would for ever."""

import os
import threading
from typing import Any


def forkable(lock: Any = None) -> Any:
    """The lock (a new one unless given). Of nested locks the outer one is to be made after the inner one."""
    lock = lock or threading.Lock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
