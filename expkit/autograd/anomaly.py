"""Anomaly mode: backward says which line of the forward pass is to blame, for errors and for NaN in gradients.

    with ek.autograd.detect_anomaly():
        loss = model(x).log().sum()
        loss.backward()          # AutogradError: Function 'LogBackward0' returned nan values in its 0th output.
                                 #   LogBackward0 was recorded at train.py:12, in step: loss = model(x).log().sum()

Every operation is recorded with its stack, and no kernel of several operations runs: it is slow, and for debugging.
"""

from types import TracebackType
from typing import Self

from expkit.autograd.mode import MODE


class set_detect_anomaly:
    """Switches anomaly mode on or off in this thread: at once, and for a with block until its end.

    check_nan: a gradient with NaN is an error as well. Operations that were recorded before have no line to name.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = (MODE.anomaly, MODE.check_nan)
        _switch(bool(mode), bool(check_nan))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _switch(*self.before)


class detect_anomaly:
    """Anomaly mode for a with block; see set_detect_anomaly."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = bool(check_nan)

    def __enter__(self) -> Self:
        self.before = (MODE.anomaly, MODE.check_nan)
        _switch(True, self.check_nan)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _switch(*self.before)


def _switch(mode: bool, check_nan: bool) -> None:
    MODE.special += mode - MODE.anomaly
    MODE.anomaly, MODE.check_nan = mode, check_nan


def set_anomaly_enabled(mode: bool, check_nan: bool = True) -> None:
    """Switches anomaly mode on or off in this thread."""
    _switch(bool(mode), bool(check_nan))


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on in this thread."""
    return MODE.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode, where it is on, looks for NaN."""
    return MODE.check_nan
