"""Small things that tensors hand out: shapes, their arrays."""

from typing import Any

from expkit.autograd.handle import Handle, Value
from expkit.autograd.mode import MODE, open_trace
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


def array_of(x: Handle, what: str) -> Any:
    """The raw array of a tensor that has one. Under a transform there are no values to look at."""
    if x.chain is not None and MODE.special and x.chain.root.written > x.chain.stamp:
        refresh(x)
    trace = open_trace() if MODE.special else None
    if isinstance(x.raw, Value) or (trace is not None and trace.live and trace.is_outside(x)):
        raise TraceError(
            f"{what} asks for the value of a tensor inside a transform (trace, vmap, jvp, grad), where it has none. "
            "Use where() instead of Python's if, and keep values as tensors."
        )
    return x.raw
