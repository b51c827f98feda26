"""Small things that tensors hand out: shapes, handles on hooks, their arrays."""

from collections.abc import Callable
from typing import Any

from expkit.autograd.handle import Handle, Value
from expkit.autograd.mode import MODE, tick
from expkit.autograd.views import refresh
from expkit.errors import TraceError


class Size(tuple):
    """A shape: a tuple with numel()."""

    __slots__ = ()

    def numel(self) -> int:
        n = 1
        for k in self:
            n *= k
        return n

    def __repr__(self) -> str:
        return f"expkit.Size({list(self)})"


class RemovableHandle:
    """Takes a hook away again: handle.remove(), or at the end of a with block."""

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.hooks, self.id = hooks, tick()

    def remove(self) -> None:
        self.hooks.pop(self.id, None)

    def __enter__(self) -> "RemovableHandle":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.remove()


def add_hook(node: Any, slot: str, hook: Callable[..., Any]) -> RemovableHandle:
    """Puts a hook on a node or leaf."""
    hooks = getattr(node, slot)
    if hooks is None:
        hooks = {}
        setattr(node, slot, hooks)
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def array_of(x: Handle, what: str) -> Any:
    """The raw array of a tensor that has one. Under a transform there are no values to look at."""
    if x.chain is not None and MODE.special and x.chain.root.written > x.chain.stamp:
        refresh(x)
    if isinstance(x.raw, Value):
        raise TraceError(
            f"{what} asks for the value of a tensor inside a transform (trace, vmap, jvp, grad), where it has none. "
            "Use where() instead of Python's if, and keep values as tensors."
        )
    return x.raw
