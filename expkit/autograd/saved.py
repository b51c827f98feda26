"""What is done to a node right after it was made: the user's hooks pack what it saved; anomaly mode notes where.

The tape looks in here only while MODE.special is set, so that usual operations pay nothing.
"""

import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expkit.autograd.handle import Handle, wrap
from expkit.autograd.mode import MODE

PACKAGE = str(Path(__file__).resolve().parents[1])
FRAMES = 12  # how much of the stack is kept

Hook = Callable[[Any], Any]


class Packed:
    """A saved tensor as a pack hook left it, and how to have it back."""

    __slots__ = ("edge", "held", "unpack")

    def __init__(self, tensor: Handle, hooks: tuple[Hook, Hook]) -> None:
        self.edge = tensor.node
        pack, self.unpack = hooks
        with _alone():
            self.held = pack(wrap(tensor.raw))

    def open(self) -> Handle:
        with _alone():
            found = self.unpack(self.held)
        if not isinstance(found, Handle):
            raise TypeError(f"saved_tensors_hooks: unpack must return a Tensor, not {type(found).__name__}")
        found.requires_grad  # noqa: B018  (brings a view up to date)
        return wrap(found.raw, self.edge)


class _alone:
    """Hooks run without hooks and unrecorded."""

    def __enter__(self) -> None:
        self.before = (MODE.packing, MODE.grad)
        MODE.packing, MODE.grad = (), False

    def __exit__(self, *_exc: object) -> None:
        MODE.packing, MODE.grad = self.before


class PackedNode(list[Any]):
    """A node's `saved`, where its tensors are packed."""


def note(node: Any) -> None:
    """Called with every node that is made while an interpreter, hooks on saved tensors or anomaly mode are at work."""
    if MODE.anomaly:
        node.where = stack()
    if MODE.packing:
        hooks = MODE.packing[-1]
        node.saved = PackedNode(Packed(s, hooks) if isinstance(s, Handle) else s for s in node.saved)
        if node.out.__class__ is tuple:
            node.out = tuple(None if r is None else Packed(wrap(r), hooks) for r in node.out)
        elif node.out is not None:
            node.out = Packed(wrap(node.out), hooks)


def opened(node: Any) -> tuple[tuple[Any, ...], Any]:
    """(saved, out) of a node whose tensors are packed."""
    out = node.out
    if out.__class__ is tuple:
        out = tuple(None if r is None else r.open().raw for r in out)
    elif out is not None:
        out = out.open().raw
    return tuple(s.open() if s.__class__ is Packed else s for s in node.saved), out


# ---- where an operation was called -----------------------------------------------------------------------------------


def stack() -> list[tuple[str, int, str]]:
    """(file, line, function) of the callers outside the engine, innermost first."""
    found: list[tuple[str, int, str]] = []
    frame: Any = sys._getframe(1)
    while frame is not None and len(found) < FRAMES:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE) and not code.co_filename.startswith("<frozen"):
            found.append((code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    return found


def origin(node: Any) -> str:
    """The forward line that made the node, and who called it; empty where anomaly mode did not see it made."""
    where = getattr(node, "where", None)
    if not where:
        return ""
    lines = [f"{file}:{line}, in {name}: {linecache.getline(file, line).strip()}" for file, line, name in where]
    called = "".join(f"\n    called from {line}" for line in lines[1:])
    return f"\n  {node.name()} was recorded at {lines[0]}{called}"
