"""In-place methods that change a tensor's own shape: squeeze_, transpose_ and their like.

The tensor becomes a view of what it was. That stays behind as a tensor that nobody else can reach, in whose terms the
views that were made before are kept (see `autograd.views`).
"""

from collections.abc import Callable
from typing import Any

from expkit.autograd.handle import wrap
from expkit.autograd.mode import MODE, tick
from expkit.autograd.node import Leaf
from expkit.autograd.views import refresh, root_of
from expkit.errors import AutogradError


def relaid(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn_`: the tensor itself becomes fn(tensor), a view. AutogradError for a leaf that requires a gradient."""
    name = f"{fn.__name__}_"

    def method(self: Any, *args: Any, **kw: Any) -> Any:
        refresh(self)
        if MODE.grad and self.node.__class__ is Leaf:
            raise AutogradError(f"a leaf tensor that requires grad is being used in an in-place operation ({name})")
        before = wrap(self.raw, self.node)
        before.chain, before.written = self.chain, self.written
        if MODE.special:
            before.born = self.born = getattr(self, "born", 0)
        root_of(before).written = self.written = tick()
        if before.chain is not None:
            before.chain.stamp = self.written
        out = fn(before, *args, **kw)
        self.raw, self.node, self.chain = out.raw, out.node, out.chain
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"{fn.__name__}(), of the tensor itself. Returns the tensor."
    return method


def refused(name: str, instead: str) -> Callable[..., Any]:
    """A method of PyTorch that is not there, with what does its work."""

    def method(self: Any, *args: Any, **kw: Any) -> Any:
        raise RuntimeError(f"{name}() is not supported: a tensor keeps the memory that it was made with. {instead}")

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Not supported. {instead}"
    return method
