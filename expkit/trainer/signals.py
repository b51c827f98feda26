"""SIGINT and SIGTERM: a training step is finished and saved before the program ends.

While a Trainer fits, the first signal only sets a flag, which the loop reads at step boundaries; a second one
interrupts at once. Outside of the loop the first one does. Handlers are installed in the main thread only, and put
back.
"""

import signal
import threading
from types import FrameType
from typing import Any

from expkit.trainer.console import say

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM came. After it left the training loop, the state at a step boundary was saved if possible."""

    def __init__(self, signum: int, saved: str | None = None) -> None:
        where = f"; the state is in {saved}" if saved else ""
        super().__init__(f"interrupted by {signal.Signals(signum).name}{where}")
        self.signum = signum
        self.saved = saved
        self.exit_code = 128 + signum


class Signals:
    """The signals of this process, as a context manager that may be nested; only the outermost installs handlers."""

    def __init__(self) -> None:
        self.pending: int | None = None
        self._depth = 0
        self._deferring = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        self._depth += 1
        if self._depth == 1:
            self.pending = None
            if threading.current_thread() is threading.main_thread():
                self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            for number, handler in self._previous.items():
                # None stands for a handler that was not installed from Python: it cannot be put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            self._previous = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._deferring and self.pending is None:
            self.pending = signum
            return
        raise Interrupted(signum)

    def defer(self) -> "_Deferred":
        """Within it the first signal waits in `pending` for the code that looks there."""
        return _Deferred(self)

    def announce(self) -> None:
        """Tells the user, once and outside of the handler, that a signal was understood."""
        assert self.pending is not None
        say(f"{signal.Signals(self.pending).name}: stopping at this step. (Again: stop at once, without saving.)")


class _Deferred:
    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def __enter__(self) -> Signals:
        self.signals.__enter__()
        if self.signals._deferring == 0:
            self.signals.pending = None  # one that ended an earlier loop is no longer news
        self.signals._deferring += 1
        return self.signals

    def __exit__(self, *exc: object) -> None:
        self.signals._deferring -= 1
        self.signals.__exit__(*exc)


signals = Signals()
