"""When something is due: every so many steps or epochs, or after so much training time."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from expkit.errors import ConfigError


@dataclass(frozen=True)
class Every:
    """True for each `period`-th count (1-based); never for period 0."""

    period: int

    def __call__(self, count: int) -> bool:
        return self.period > 0 and count > 0 and count % self.period == 0


MaxTime = str | timedelta | dict[str, int] | None


def seconds(time: MaxTime, where: str = "max_time") -> float | None:
    """A duration as seconds: "DD:HH:MM:SS", timedelta, {"hours": 1} or None. ConfigError says what is legal."""
    if time is None:
        return None
    if isinstance(time, timedelta):
        return time.total_seconds()
    if isinstance(time, Mapping):
        try:
            return timedelta(**time).total_seconds()
        except TypeError:
            raise ConfigError(f"{where}={dict(time)}: legal keys: weeks, days, hours, minutes, seconds.") from None
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", time)
    if not match:
        raise ConfigError(f"{where}={time!r}: expected 'DD:HH:MM:SS', e.g. '00:01:30:00' for an hour and a half.")
    days, hours, minutes, secs = map(int, match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=secs).total_seconds()


def batch_limit(limit: int | float, length: int | None, where: str) -> int | None:
    """How many of `length` batches (None = unknown) `limit` allows: an int counts them, a float is a share of them.

    None = all, where the length is unknown. ConfigError where a share is asked of an unknown length, or comes to none.
    """
    if isinstance(limit, int):
        return limit if length is None else min(limit, length)
    if length is None:
        if limit == 1.0:
            return None
        raise ConfigError(f"{where}={limit}: a share needs a loader with a length. Give a number of batches instead.")
    count = int(limit * length)
    if count == 0 and limit > 0 and length > 0:
        raise ConfigError(f"{where}={limit}: that is no batch of {length}. Give at least {1 / length:.3g}.")
    return count
