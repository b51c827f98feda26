"""What the callbacks that watch a metric have in common."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from expkit.errors import ConfigError
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.metrics import direction

Mode = Literal["min", "max", "auto"]


class Monitor(Callback):
    """Base of callbacks that watch `monitor`, where less ("min") or more ("max") is better.

    mode: "auto" is what the metric says of itself (`val/loss`: less, `val/acc`: more).
    """

    late = True

    def __init__(self, monitor: str | None, mode: Mode) -> None:
        if mode not in ("min", "max", "auto"):
            raise ConfigError(f"{type(self).__name__}: mode={mode!r}: expected 'min', 'max' or 'auto'.")
        self.monitor, self.mode = monitor, mode
        if mode == "auto":
            self.mode = "min" if monitor is None else direction(monitor) or "auto"
        self.sign = 1 if self.mode == "min" else -1
        self._seen = -1  # the stamp of the value that was looked at last

    def check_mode(self) -> None:
        """ConfigError where nobody knows which way is better. A wrong name of a metric is told first, elsewhere."""
        if self.mode == "auto":
            raise ConfigError(
                f"{type(self).__name__}: mode='auto': whether less of {self.monitor!r} is better is known of "
                "registered metrics alone (`expkit ls metrics`): give 'min' or 'max'."
            )

    def monitors(self) -> Mapping[str, str | Sequence[str]]:
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
        self.check_mode()
        self._seen = stamp
        return trainer.epoch_metrics[self.monitor]
