"""Hooks of optimizers: before and after a step, a state_dict() and a load_state_dict(); of one optimizer or of all."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from expkit.autograd.hooks import RemovableHandle, put
from expkit.autograd.mode import MODE, open_trace
from expkit.errors import TraceError

Hook = Callable[..., Any]
KINDS = ("step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_state_dict_pre", "load_state_dict_post")
_EVERY: dict[str, dict[int, Hook]] = {"step_pre": {}, "step_post": {}}  # hooks of all optimizers


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """`hook(optimizer, args, kwargs)` runs before each step of every optimizer."""
    return put(_EVERY["step_pre"], hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """`hook(optimizer, args, kwargs)` runs after each step of every optimizer."""
    return put(_EVERY["step_post"], hook)


class Hooks:
    """What an Optimizer has of them. Each `register_...` returns a handle with `remove()`."""

    param_groups: list[dict[str, Any]]

    def __init__(self) -> None:
        self._hooks: dict[str, dict[int, Hook]] = {kind: {} for kind in KINDS}
        self.stepped = False  # whether a step was made yet, which schedules ask

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """`hook(optimizer, args, kwargs)` runs before each step; it may return other (args, kwargs) for it."""
        return put(self._hooks["step_pre"], hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """`hook(optimizer, args, kwargs)` runs after each step."""
        return put(self._hooks["step_post"], hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer)` runs before state_dict()."""
        return put(self._hooks["state_dict_pre"], hook, prepend=prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer, state_dict)` runs after state_dict(); what it returns, if anything, takes its place."""
        return put(self._hooks["state_dict_post"], hook, prepend=prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer, state_dict)` runs before load_state_dict(); what it returns is loaded instead."""
        return put(self._hooks["load_state_dict_pre"], hook, prepend=prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer)` runs after load_state_dict()."""
        return put(self._hooks["load_state_dict_post"], hook, prepend=prepend)

    def _each(self, kind: str) -> tuple[Hook, ...]:
        mine = self._hooks[kind].values()
        return (*_EVERY[kind].values(), *mine) if kind in _EVERY else tuple(mine)

    def _enter_program(self, trace: Any) -> None:
        """TraceError where a step that is going to be replayed has hooks: they would run once. Options that the
        function changes afterwards are put back, and named as what it changes."""
        if self._each("step_pre") or self._each("step_post"):
            raise TraceError(f"the hooks registered on {type(self).__name__} cannot run in a compiled step")
        trace.guard(lambda: bool(self._each("step_pre") or self._each("step_post")))
        held = [(group, dict(group)) for group in self.param_groups]

        def put_back() -> None:
            for group, was in held:
                fresh = [name for name in group if group[name] is not was.get(name)]
                trace.changed.extend(f"{type(self).__name__}'s {name}" for name in fresh)
                group.update({name: was[name] for name in fresh if name in was})

        trace.undo.append(put_back)

    def _filtered(self, kind: str, state_dict: dict[str, Any]) -> dict[str, Any]:
        """The state dict as the hooks of that kind leave it."""
        for hook in self._each(kind):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        return state_dict


def hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` with the hooks around it. As in PyTorch, args begin with the optimizer."""

    @wraps(step)
    def around(*args: Any, **kwargs: Any) -> Any:
        self = args[0]
        trace = open_trace() if MODE.special else None
        if trace is not None and trace.live:
            self._enter_program(trace)
        for before in self._each("step_pre"):
            changed = before(self, args, kwargs)
            if changed is not None:
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise RuntimeError(f"a step's pre-hook returns None or (args, kwargs), not {changed!r:.80}.")
                args, kwargs = changed
        result = step(*args, **kwargs)
        self.stepped = True
        for after in self._each("step_post"):
            after(self, args, kwargs)
        return result

    return around
