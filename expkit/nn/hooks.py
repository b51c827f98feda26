"""Hooks on a module's call: the handle that removes one, and the slow path of `Module.__call__` that runs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expkit.nn.module import Module

_ids = count()


class RemovableHandle:
    """What a `register_*_hook` returns: `remove()`, or leave its `with` block, to take the hook out again."""

    def __init__(self, hooks: OrderedDict[int, Any]) -> None:
        self.hooks = hooks
        self.id = next(_ids)

    def remove(self) -> None:
        self.hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def add(
    hooks: OrderedDict[int, Any], hook: Callable[..., Any], *, prepend: bool = False, kind: Any = None
) -> RemovableHandle:
    """Register `hook` in `hooks` (a table of one module) as (hook, kind); `prepend` puts it before the others."""
    if not callable(hook):
        raise TypeError(f"a hook must be callable, got {type(hook).__name__}")
    handle = RemovableHandle(hooks)
    hooks[handle.id] = (hook, kind)
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward` between its pre-hooks (may replace the arguments) and its hooks (may replace the output)."""
    for hook, with_kwargs in tuple(module._forward_pre_hooks.values()):
        args, kwargs = _before(module, hook, with_kwargs, args, kwargs)
    output = module.forward(*args, **kwargs)
    for hook, with_kwargs in tuple(module._forward_hooks.values()):
        replaced = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
        output = output if replaced is None else replaced
    return output


def _before(
    module: Module, hook: Callable[..., Any], with_kwargs: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Run one pre-hook and return the arguments that it leaves."""
    if not with_kwargs:
        replaced = hook(module, args)
        if replaced is None:
            return args, kwargs
        return (replaced if isinstance(replaced, tuple) else (replaced,)), kwargs
    replaced = hook(module, args, kwargs)
    if replaced is None:
        return args, kwargs
    if isinstance(replaced, tuple) and len(replaced) == 2:
        return replaced
    raise RuntimeError(f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {replaced!r}.")
