"""What the callbacks that watch a metric have in common."""

from typing import Any, Literal

from expkit.errors import ConfigError
from expkit.trainer.callbacks.base import Callback

Mode = Literal["min", "max"]


class Monitor(Callback):
    """Base of callbacks that watch `monitor`, where less ("min") or more ("max") is better."""

    late = True

    def __init__(self, monitor: str | None, mode: Mode) -> None:
        if mode not in ("min", "max"):
            raise ConfigError(f"{type(self).__name__}: mode={mode!r}: expected 'min' or 'max'.")
        self.monitor, self.mode = monitor, mode
        self.sign = 1 if mode == "min" else -1
        self._seen = -1  # the stamp of the value that was looked at last

    def monitors(self) -> dict[str, str]:
        return {"monitor": self.monitor} if self.monitor else {}

    @property
    def state_key(self) -> str:
        return self.config_key or f"{type(self).__name__}[{self.monitor}]"

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better; NaN never is, anything is better than NaN."""
        return self.sign * value < self.sign * than or (than != than and value == value)

    def fresh_value(self, trainer: Any) -> float | None:
        """The monitored value if it was published since the last time that this was asked."""
        assert self.monitor is not None
        stamp = trainer.metric_stamps.get(self.monitor, -1)
        if stamp <= self._seen:
            return None
        self._seen = stamp
        return trainer.epoch_metrics[self.monitor]
