"""Callback: what all optional behaviour of the training loop is made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from expkit.trainer.hooks import HOOKS, default


class Callback:
    """Base of callbacks: write the hooks that you need (trainer/hooks.py), each called with (trainer, task, ...).

    A misspelt hook or one with wrong arguments is refused (HookError) when the callback is added to a Trainer.
    `monitors()` names the metrics that it needs, so that a wrong name is found before the first step.
    """

    #: The key of this callback in a config (callbacks.<name>); the trainer's messages use it.
    config_key: str | None = None

    #: Late callbacks are called after all others and the task, when an epoch's metrics are known.
    late: bool = False

    @property
    def state_key(self) -> str:
        """Under which name a checkpoint keeps this callback's state."""
        return self.config_key or type(self).__name__

    def monitors(self) -> Mapping[str, str | Sequence[str]]:
        """Argument name -> metric name, or several, for the metrics that must exist."""
        return {}

    def metric_names(self, trainer: Any) -> list[str]:
        """Names of the metrics that this callback logs itself."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from `state_dict()`."""


for _name in HOOKS:
    setattr(Callback, _name, default(_name, ("trainer", "task")))
