"""Hooks on the tape: on tensors (their gradient), and on nodes (before and after they pass gradients on)."""

from collections.abc import Callable
from typing import Any, Self

from expkit.autograd.mode import tick


class RemovableHandle:
    """Takes a hook out of its table again: handle.remove(), or at the end of a with block.

    Every table of hooks (of tensors, nodes, modules, optimizers) is a dictionary from such a handle's id to the hook.
    """

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.hooks, self.id = hooks, tick()

    def holding(self, hook: Callable[..., Any], *, entry: Any = None, prepend: bool = False) -> Self:
        """This handle, its hook in the table: behind the others, or before them. entry: what the table keeps of it."""
        if not callable(hook):
            raise TypeError(f"a hook must be callable, got {type(hook).__name__}")
        later = dict(self.hooks) if prepend else {}
        if prepend:
            self.hooks.clear()
        self.hooks[self.id] = hook if entry is None else entry
        self.hooks.update(later)
        return self

    def remove(self) -> None:
        self.hooks.pop(self.id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.remove()


class Hooks(dict[int, Any]):
    """The hooks of a tensor's gradient, in order; beside them those of the node, and the node's metadata."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[int, Callable[..., Any]] = {}
        self.behind: dict[int, Callable[..., Any]] = {}
        self.metadata: dict[Any, Any] = {}


def hooks_of(edge: Any) -> Hooks:
    """The hooks of a leaf, node or pick; made where there are none yet."""
    if edge.hooks is None:
        edge.hooks = Hooks()
    return edge.hooks


def put(hooks: dict[int, Any], hook: Callable[..., Any], *, prepend: bool = False) -> RemovableHandle:
    """Adds a hook to a table."""
    return RemovableHandle(hooks).holding(hook, prepend=prepend)


class Hooked:
    """What leaves and nodes offer a user who holds one as `grad_fn` or in `next_functions`."""

    __slots__ = ()
    hooks: Hooks | None

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """hook(grad_inputs, grad_outputs) after the node has run; what it returns, if anything, replaces grad_inputs.

        grad_inputs: a gradient (or None) for each input of the operation; grad_outputs: one for each output.
        """
        return put(hooks_of(self).behind, hook)

    def register_prehook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """hook(grad_outputs) before the node runs; what it returns, if anything, replaces them."""
        return put(hooks_of(self).before, hook)

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dictionary for the user's own notes."""
        return hooks_of(self).metadata


def as_tuple(result: Any, count: int, what: str) -> tuple[Any, ...]:
    """What a node's hook returned, as one gradient for each place."""
    found = tuple(result) if isinstance(result, tuple | list) else (result,)
    if len(found) != count:
        raise RuntimeError(f"{what} returned {len(found)} gradients, {count} were expected")
    return found
