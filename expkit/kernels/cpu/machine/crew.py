"""Processes that compile beside this one: llvmlite lets but one thread of a process compile at a time.

    with Crew(hands=1) as crew:
        crew.submit(key, text)  # as many as there are; meanwhile the caller does what it has to do
        ...
        image = crew.take(key)  # None: nobody has begun it, the caller is to compile it

A process that cannot be started, or that ends, leaves its work to the others and to the caller.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.spawn import get_executable

from expkit.kernels.cpu.machine import emit

HANDS = 4  # processes at most: each takes 0.1 s and 60 MB to start
SHARE = 3  # modules that wait for each process that is started
SEARCHED = 8  # how much longer a character takes where LLVM is to vectorise
_START = "import runpy, sys; sys.path[:] = sys.argv[2:]; " + (
    "runpy.run_path(sys.argv[1])['serve'](sys.stdin.buffer, sys.stdout.buffer)"
)


class Crew:
    """Up to `hands` processes, started when there is work for them, ended with the block."""

    def __init__(self, hands: int) -> None:
        self._hands = 0 if getattr(sys, "frozen", False) else min(hands, HANDS)
        self._changed = threading.Condition()
        self._waiting: dict[str, str] = {}
        self._begun: set[str] = set()
        self._images: dict[str, bytes] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._started, self._closed = 0, False

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            for process in self._processes:
                process.kill()
            self._changed.notify_all()

    def submit(self, key: str, text: str) -> None:
        """A module to be compiled; `key` names it."""
        with self._changed:
            self._waiting[key] = text
            if self._started < self._hands and len(self._waiting) >= SHARE * (self._started + 1):
                self._started += 1
                threading.Thread(target=self._work, name="expkit-compile", daemon=True).start()
            self._changed.notify()

    def take(self, key: str) -> bytes | None:
        """The object code, waited for where a process is at it; None where the caller is to compile."""
        with self._changed:
            self._waiting.pop(key, None)
            self._changed.wait_for(lambda: key not in self._begun)
            return self._images.pop(key, None)

    def next(self) -> str | None:
        """A text that nobody has begun: the one that takes longest."""
        with self._changed:
            return self._waiting[self._longest()] if self._waiting else None

    def _longest(self) -> str:
        return max(self._waiting, key=lambda key: _effort(self._waiting[key]))

    def _work(self) -> None:
        """One process at work."""
        with contextlib.suppress(OSError), self._process() as process:
            _received(process)
            while (job := self._claimed()) is not None:
                key, text = job
                image = b""
                try:
                    image = _sent(process, text)
                finally:
                    self._done(key, image)

    @contextlib.contextmanager
    def _process(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [get_executable(), "-S", "-c", _START, str(emit.__file__), *sys.path]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(list(map(os.fsdecode, command)), stdin=pipe, stdout=pipe, stderr=null) as process:
            with self._changed:
                self._processes.append(process)
                if self._closed:
                    process.kill()
            yield process

    def _claimed(self) -> tuple[str, str] | None:
        """Work for a process, when there is some; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            key = self._longest()
            self._begun.add(key)
            return key, self._waiting.pop(key)

    def _done(self, key: str, image: bytes) -> None:
        with self._changed:
            if image:
                self._images[key] = image
            self._begun.discard(key)
            self._changed.notify_all()


def _effort(text: str) -> int:
    return len(text) * (1 if text.startswith(emit.EXPLICIT) else SEARCHED)


def _sent(process: subprocess.Popen[bytes], text: str) -> bytes:
    """What a process makes of a text."""
    data = text.encode()
    assert process.stdin is not None
    process.stdin.write(len(data).to_bytes(emit.COUNT, "little") + data)
    process.stdin.flush()
    return _received(process)


def _received(process: subprocess.Popen[bytes]) -> bytes:
    """What a process says next. BrokenPipeError where it has ended."""
    assert process.stdout is not None
    head = process.stdout.read(emit.COUNT)
    image = process.stdout.read(int.from_bytes(head, "little"))
    if len(head) < emit.COUNT or len(image) < int.from_bytes(head, "little"):
        raise BrokenPipeError("a process that compiles has ended")
    return image
