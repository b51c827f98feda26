"""LambdaCallback: hooks given as functions."""

from collections.abc import Callable
from typing import Any

from expkit.errors import HookError, did_you_mean
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.hooks import HOOKS, REFUSED


class LambdaCallback(Callback):
    """LambdaCallback(on_train_end=lambda trainer, task: print("done")). HookError for an unknown hook."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        for name, function in functions.items():
            if name not in HOOKS:
                why = f" {REFUSED[name]}." if name in REFUSED else did_you_mean(name, HOOKS)
                raise HookError(f"LambdaCallback: {name!r} is not a hook.{why} Hooks: {', '.join(HOOKS)}.")
            setattr(self, name, function)
