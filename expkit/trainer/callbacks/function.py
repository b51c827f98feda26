"""LambdaCallback: hooks given as functions."""

from collections.abc import Callable
from typing import Any

from expkit.errors import HookError, did_you_mean
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.hooks import HOOKS


class LambdaCallback(Callback):
    """LambdaCallback(on_train_end=lambda trainer, task: print("done")). HookError for an unknown hook."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        for name, function in functions.items():
            if name not in HOOKS:
                raise HookError(
                    f"LambdaCallback: {name!r} is not a hook.{did_you_mean(name, HOOKS)} Hooks: {', '.join(HOOKS)}."
                )
            setattr(self, name, function)
