"""Hooks on a module's call: how they are kept, and the slow path of `Module.__call__` that runs them.

`register_module_*` hooks run at the call of every module. Hooks on backward stand in the graph as an identity before
the module's inputs and one behind its outputs (`_Seam`): there the gradients come by.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from expkit.autograd import Function
from expkit.autograd.hooks import RemovableHandle
from expkit.tensor import Tensor, zeros_like

if TYPE_CHECKING:
    from expkit.nn.module import Module

KINDS = ("forward_pre", "forward", "backward_pre", "backward")
EVERYWHERE: dict[str, OrderedDict[int, Any]] = {}  # kind -> hooks of all modules; a kind is in it while it has some
Hooks = OrderedDict[int, Any]


class _Everywhere(RemovableHandle):
    def __init__(self, kind: str) -> None:
        super().__init__(EVERYWHERE.setdefault(kind, OrderedDict()))
        self.kind = kind

    def remove(self) -> None:
        super().remove()
        if not self.hooks and EVERYWHERE.get(self.kind) is self.hooks:
            del EVERYWHERE[self.kind]


def add(hooks: Hooks, hook: Callable[..., Any], *, prepend: bool = False, kind: Any = None) -> RemovableHandle:
    """Register `hook` in `hooks` (a table of one module) as (hook, kind); `prepend` puts it before the others."""
    return RemovableHandle(hooks).holding(hook, entry=(hook, kind), prepend=prepend)


def _everywhere(table: str, hook: Callable[..., Any], kind: Any = None) -> RemovableHandle:
    return _Everywhere(table).holding(hook, entry=(hook, kind))


# ---- hooks of all modules --------------------------------------------------------------------------------------------


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before the forward of every module; what it returns replaces the arguments."""
    return _everywhere("forward_pre", hook, False)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the forward of every module; what it returns replaces the output."""
    return _everywhere("forward", hook, (with_kwargs, always_call))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` where the gradients of any module's outputs are known."""
    return _everywhere("backward_pre", hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` where the gradients of any module's inputs are known."""
    return _everywhere("backward", hook)


# ---- a call with hooks -----------------------------------------------------------------------------------------------


def _of(module: Module, kind: str) -> list[tuple[int, Any]]:
    own = module.__dict__[f"_{kind}_hooks"]
    return [*EVERYWHERE.get(kind, {}).items(), *own.items()]


def call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward` between its pre-hooks (may replace the arguments) and its hooks (may replace the output)."""
    done: set[int] = set()
    try:
        for _, (hook, with_kwargs) in _of(module, "forward_pre"):
            args, kwargs = _before(module, hook, with_kwargs, args, kwargs)
        seam = _Seam(module) if _of(module, "backward") or _of(module, "backward_pre") else None
        if seam is not None:
            args = seam.enter(args)
        output = module.forward(*args, **kwargs)
        for number, (hook, (with_kwargs, _)) in _of(module, "forward"):
            done.add(number)
            replaced = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
            output = output if replaced is None else replaced
        return output if seam is None else seam.leave(output)
    except Exception:
        _always(module, args, kwargs, done)
        raise


def _always(module: Module, args: Any, kwargs: dict[str, Any], done: set[int]) -> None:
    """The forward hooks that run even where forward raised; what goes wrong in them is a warning beside that error."""
    for number, (hook, (with_kwargs, always)) in _of(module, "forward"):
        if always and number not in done:
            try:
                _ = hook(module, args, kwargs, None) if with_kwargs else hook(module, args, None)
            except Exception as error:  # noqa: BLE001  (the error that is under way must not be lost)
                warnings.warn(f"a forward hook with always_call=True raised after forward had: {error}", stacklevel=4)


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


# ---- backward --------------------------------------------------------------------------------------------------------


class _Identity(Function):
    """Its arguments again; `passed(grads)` sees the gradients, and says what goes on."""

    @staticmethod
    def forward(ctx: Any, passed: Callable[[tuple[Any, ...]], Any], *tensors: Tensor) -> Any:
        ctx.passed = passed
        ctx.set_materialize_grads(False)
        return tuple(t.view_as(t) if hasattr(t, "view_as") else t.reshape(t.shape) for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None, *ctx.passed(grads))


class _Seam:
    """One call of a module with hooks on backward."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.inputs: int = 0
        self.like: dict[int, Tensor] = {}  # tensors among the arguments: where no gradient comes, zeros like them
        self.places: list[int] = []  # of the arguments with gradients
        self.grad_output: tuple[Any, ...] | None = None

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.inputs = len(args)
        self.places = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
        if not self.places:
            return args
        self.like = {i: a for i, a in enumerate(args) if isinstance(a, Tensor)}
        seen = _as_tuple(_Identity.apply(self._at_inputs, *(args[i] for i in self.places)))
        fresh = list(args)
        for i, t in zip(self.places, seen, strict=True):
            fresh[i] = t
        return tuple(fresh)

    def leave(self, output: Any) -> Any:
        outs = output if isinstance(output, tuple) else (output,)
        places = [i for i, t in enumerate(outs) if isinstance(t, Tensor) and t.requires_grad]
        if not places:
            return output
        count = len(outs)

        def at_outputs(grads: tuple[Any, ...]) -> tuple[Any, ...]:
            return self._at_outputs(grads, places, count)

        seen = _as_tuple(_Identity.apply(at_outputs, *(outs[i] for i in places)))
        fresh = list(outs)
        for i, t in zip(places, seen, strict=True):
            fresh[i] = t
        if not isinstance(output, tuple):
            return fresh[0]
        return type(output)(*fresh) if hasattr(output, "_fields") else tuple(fresh)

    def _at_outputs(self, grads: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
        full = _spread(grads, places, count)
        for _, (hook, _kind) in _of(self.module, "backward_pre"):
            replaced = hook(self.module, full)
            if replaced is not None:
                full = _checked(replaced, count, "backward pre-hook", "grad_output")
        self.grad_output = full
        if not self.places:  # no gradient will come by the inputs
            self._run(_spread((), [], self.inputs))
        return tuple(full[i] for i in places)

    def _at_inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        come = _spread(grads, self.places, self.inputs)
        zeros = (self.like.get(i) if g is None else None for i, g in enumerate(come))
        full = self._run(tuple(g if z is None else zeros_like(z) for g, z in zip(come, zeros, strict=True)))
        return tuple(full[i] for i in self.places)

    def _run(self, grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.grad_output is None:
            raise RuntimeError("Module backward hook: the gradients of its outputs did not come by before its inputs'")
        for _, (hook, _kind) in _of(self.module, "backward"):
            replaced = hook(self.module, grad_input, self.grad_output)
            if replaced is not None:
                if not self.places:
                    raise RuntimeError(
                        "Backward hooks for Modules where no input requires gradient should always return None"
                    )
                grad_input = _checked(replaced, self.inputs, "backward hook", "grad_input")
        return grad_input


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _spread(values: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
    full: list[Any] = [None] * count
    for i, v in zip(places, values, strict=True):
        full[i] = v
    return tuple(full)


def _checked(replaced: Any, count: int, hook: str, what: str) -> tuple[Any, ...]:
    full = _as_tuple(replaced)
    if len(full) != count:
        raise RuntimeError(f"a {hook} returned {len(full)} values for {what}, expected {count}")
    return full
