"""The part of Module that registers hooks: on its call, on backward, on state dicts (run in hooks.py and state.py)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any

from expkit.nn import hooks, state
from expkit.nn.hooks import RemovableHandle

Hook = Callable[..., Any]


class Hooked:
    """Base of Module alone."""

    _forward_pre_hooks: OrderedDict[int, Any]
    _forward_hooks: OrderedDict[int, Any]
    _backward_pre_hooks: OrderedDict[int, Any]
    _backward_hooks: OrderedDict[int, Any]
    _state_hooks: dict[str, OrderedDict[int, Any]]

    def __init__(self) -> None:
        super().__init__()
        self.__dict__.update({f"_{kind}_hooks": OrderedDict() for kind in hooks.KINDS})
        self.__dict__["_state_hooks"] = {kind: OrderedDict() for kind in state.HOOKS}

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` (or `(module, args, kwargs)`) before forward; what it returns replaces them."""
        return hooks.add(self._forward_pre_hooks, hook, prepend=prepend, kind=with_kwargs)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` (or `(module, args, kwargs, output)`) after forward; may replace output.

        With `always_call` it runs (with the output None) even where forward raised.
        """
        return hooks.add(self._forward_hooks, hook, prepend=prepend, kind=(with_kwargs, always_call))

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` where the outputs' gradients are known; what it returns replaces them."""
        return hooks.add(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` where the gradients of the positional inputs are known.

        What it returns, if anything, replaces grad_input. Inputs without a gradient have None.
        """
        return hooks.add(self._backward_hooks, hook, prepend=prepend)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before this module's part of a state dict is written."""
        return hooks.add(self._state_hooks["save_pre"], hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after this module's part is written; may edit it."""
        return hooks.add(self._state_hooks["save_post"], hook)

    def _register_state_dict_hook(self, hook: Hook) -> RemovableHandle:
        """As register_state_dict_post_hook; what it returns, if anything, replaces the whole dictionary."""
        return hooks.add(self._state_hooks["save"], hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before a load."""
        return hooks.add(self._state_hooks["load_pre"], hook)

    def _register_load_state_dict_pre_hook(self, hook: Hook, with_module: bool = False) -> RemovableHandle:
        """As register_load_state_dict_pre_hook, without the module as first argument unless `with_module`."""
        if with_module:
            return self.register_load_state_dict_pre_hook(hook)

        @wraps(hook)
        def without(_module: Any, *args: Any) -> Any:
            return hook(*args)

        return self.register_load_state_dict_pre_hook(without)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after a load; it may take keys off the lists before they count."""
        return hooks.add(self._state_hooks["load_post"], hook)
