"""EarlyStopping: no further epochs when a metric has stopped getting better."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.callbacks.monitor import Mode, Monitor
from expkit.trainer.console import say


@register("callback", "early_stopping")
class EarlyStopping(Monitor):
    """Stops when `monitor` has not become better by more than `min_delta` for `patience` checks in a row.

    A check follows each new value: a validation for val/..., an epoch for train/.... check_on_train_epoch_end: True
    checks at the end of the training epoch only, False after validations only.
    mode: min, max or auto. check_finite: stop when the value is NaN or infinite. stopping_threshold: stop once the
    value is better than this. divergence_threshold: stop once it is worse than this. verbose: say each improvement.
    strict: a metric that nobody logs is an error. log_rank_zero_only makes no difference: there is one process.
    """

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: Mode = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        super().__init__(monitor, mode)
        if patience < 0:
            raise ConfigError(f"EarlyStopping: patience={patience}: expected a number of checks, 0 or above.")
        self.min_delta, self.patience, self.verbose, self.strict = abs(min_delta), patience, verbose, strict
        self.check_finite = check_finite
        self.stopping_threshold, self.divergence_threshold = stopping_threshold, divergence_threshold
        self.check_on_train_epoch_end, self.log_rank_zero_only = check_on_train_epoch_end, log_rank_zero_only
        self.wait_count = self.stopped_epoch = 0
        self.best_score = self.sign * math.inf

    def monitors(self) -> Mapping[str, str | Sequence[str]]:
        return super().monitors() if self.strict else {}

    def on_train_start(self, trainer: Any, task: Any) -> None:
        if self.wait_count >= self.patience > 0:  # a run that had stopped is resumed: with more patience it goes on
            trainer.should_stop = True

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        if not trainer.sanity_checking and not self.check_on_train_epoch_end:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        if self.check_on_train_epoch_end is not False:
            self._check(trainer)

    def _check(self, trainer: Any) -> None:
        value = self.fresh_value(trainer) if trainer.fitting else None
        if value is None:
            return
        reason = self._reason(value)
        if reason:
            trainer.should_stop, self.stopped_epoch = True, trainer.current_epoch
            say(f"early stopping after epoch {trainer.current_epoch}: {reason}.")

    def _reason(self, value: float) -> str | None:
        """Why to stop at `value`; None to go on."""
        name = self.monitor
        if self.check_finite and not math.isfinite(value):
            return f"{name} is {value}"
        for limit, sign, what in ((self.stopping_threshold, 1, "reached"), (self.divergence_threshold, -1, "passed")):
            if limit is not None and sign * self.sign * value < sign * self.sign * limit:
                return f"{name} is {value:.4g}, which has {what} {limit:g}"
        if self.is_better(value, self.best_score - self.sign * self.min_delta):
            if self.verbose:
                say(f"{name} improved to {value:.4g}")
            self.best_score, self.wait_count = value, 0
            return None
        self.wait_count += 1
        if self.wait_count < self.patience:
            return None
        return f"{name} has not been better than {self.best_score:.4g} for {self.wait_count} checks"

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("wait_count", "stopped_epoch", "best_score", "_seen")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)
