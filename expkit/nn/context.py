"""Where in a model a shape error happened: added to the message as the error leaves the modules it passes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expkit.errors import ShapeError

if TYPE_CHECKING:
    from expkit.nn.module import Module

ROOT = "model"  # what the outermost module is called in a path: the config's name for it


def locate(error: ShapeError, module: Module) -> None:
    """Extend `error` with the path, seen from `module`, of the innermost module whose call raised it.

    Each module that the error passes calls this once, from the inside out, so the path grows at its front while the
    type at its end stays that of the innermost: `... in model.layers.2 (Linear(64 -> 10))`.
    """
    state = error.__dict__
    if "message" not in state:
        state.update(message=str(error), type=module.brief(), path=(), last=module)
    elif state["last"] is not module:
        state.update(path=(*_steps(module, state["last"]), *state["path"]), last=module)
    path = state["path"] if state["path"][:1] == (ROOT,) else (ROOT, *state["path"])
    error.args = (f"{state['message']}\n  in {'.'.join(path)} ({state['type']})",)


def _steps(module: Module, inner: Module) -> tuple[str, ...]:
    """The attribute names that lead from `module` to `inner`; none where it is no submodule (made during forward)."""
    for name, child in module.named_modules():
        if child is inner:
            return tuple(name.split("."))
    return ()
