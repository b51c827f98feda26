"""The tape as users see it, by torch.autograd.graph's names: hooks on saved tensors, on several gradients; edges."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from expkit.autograd.handle import Handle
from expkit.autograd.hooks import RemovableHandle, hooks_of, put
from expkit.autograd.inplace import touch
from expkit.autograd.mode import MODE
from expkit.autograd.node import Node, Pick
from expkit.errors import AutogradError

__all__ = [
    "GradientEdge", "Node", "disable_saved_tensors_hooks", "get_gradient_edge", "increment_version",
    "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip


class saved_tensors_hooks:
    """Tensors that operations in this block save for backward go through pack_hook(tensor), and back when needed.

    unpack_hook(what pack_hook returned) -> a tensor. Of nested blocks the innermost counts. Writes in
    place to tensors that were packed are not noticed.
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.hooks = (pack_hook, unpack_hook)

    def __enter__(self) -> Self:
        if MODE.packing_refused is not None:
            raise AutogradError(MODE.packing_refused)
        MODE.packing = (*MODE.packing, self.hooks)
        MODE.special += 1
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        MODE.packing = MODE.packing[:-1]
        MODE.special -= 1


class save_on_cpu(saved_tensors_hooks):
    """Tensors that operations in this block save for backward wait in the CPU's memory, and go back when needed.

    pin_memory and device_type are PyTorch's; there is nothing for them to do here.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda x: (x.device, x.cpu()), lambda kept: kept[1].to(kept[0]))


class disable_saved_tensors_hooks:
    """In this block saved_tensors_hooks is an AutogradError with the given message."""

    def __init__(self, error_message: str) -> None:
        self.message = error_message

    def __enter__(self) -> Self:
        self.before, MODE.packing_refused = MODE.packing_refused, self.message
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        MODE.packing_refused = self.before


class GradientEdge(NamedTuple):
    """Where a tensor's gradient goes: output `output_nr` of `node`. It may stand for the tensor in grad()'s inputs."""

    node: Any
    output_nr: int
    ownership_token: Any = None  # keeps the edge alive where `node` alone would not

    @property
    def edge(self) -> Any:
        """The edge as the tape has it."""
        return self.node if self.ownership_token is None else self.ownership_token


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """The edge of a tensor that requires grad, which lives on without the tensor."""
    if not isinstance(tensor, Handle):
        raise TypeError(f"get_gradient_edge: expected a Tensor, got {type(tensor).__name__}")
    if not tensor.requires_grad:
        raise AutogradError("it is not possible to get the gradient edge of a tensor that does not require gradients")
    made = tensor.node
    return GradientEdge(made.node, made.index, made) if made.__class__ is Pick else GradientEdge(made, 0)


def increment_version(tensor: Any) -> None:
    """Tells the tape that a tensor (or each of several) was written by other means, so that it does not use old values.

    For writes through shared memory: NumPy's, for instance.
    """
    for x in tensor if isinstance(tensor, tuple | list) else (tensor,):
        if not isinstance(x, Handle):
            raise TypeError(f"increment_version: expected a Tensor, got {type(x).__name__}")
        touch(x)


class _Handles(RemovableHandle):
    """Takes several hooks away at once."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = handles

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def register_multi_grad_hook(tensors: Sequence[Any], fn: Callable[..., None], *, mode: str = "all") -> RemovableHandle:
    """Calls `fn` once in every backward pass that comes by one of `tensors`.

    mode="all": fn(gradients), when all that the pass has for them are known (None for the others);
    mode="any": fn(gradient), when the first of them is known.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"register_multi_grad_hook: mode must be 'all' or 'any', not {mode!r}")
    for x in tensors:
        if not isinstance(x, Handle) or not x.requires_grad:
            raise AutogradError("register_multi_grad_hook: expected every tensor to require gradients")
    edges = [x.node for x in tensors]
    passes: dict[int, _Pass] = {}

    def met(i: int) -> Callable[[Any], None]:
        def hook(g: Any) -> None:
            run = MODE.runs[-1]
            state = passes.get(id(run))
            if state is None or state.run is not run:
                passes.clear()
                state = passes[id(run)] = _Pass(run, edges)
            state.give(i, g, fn, mode)

        return hook

    return _Handles([put(hooks_of(edge), met(i)) for i, edge in enumerate(edges)])


class _Pass:
    """What one backward pass has brought so far of the gradients that a multi-grad hook waits for."""

    def __init__(self, run: Any, edges: Sequence[Any]) -> None:
        self.run = run
        self.found: list[Any] = [None] * len(edges)
        self.missing = sum(run.reaches(edges))
        self.done = False

    def give(self, i: int, g: Any, fn: Callable[..., None], mode: str) -> None:
        self.found[i] = g
        self.missing -= 1
        if self.done or (mode == "all" and self.missing):
            return
        self.done = True
        fn(g if mode == "any" else self.found)
