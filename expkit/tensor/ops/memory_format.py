"""Memory formats: in which order the axes of a dense tensor lie in memory, whatever its shape says.

`channels_last`: an image batch of shape (N, C, H, W) lies as N, H, W, C, which convolutions and pooling are fastest on;
they hand the format on. `channels_last_3d`: (N, C, D, H, W) as N, D, H, W, C.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from expkit.autograd.handle import Handle, Value
from expkit.autograd.tape import apply1
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import copy as by_kernel
from expkit.tensor.generated.copy import is_channels_last, lies_in
from expkit.tensor.ops import movement
from expkit.tensor.ops.kinds import linear


class memory_format(NamedTuple):
    """One of the formats; `order`: the axes from slow to fast in memory, empty where the shape's own order holds."""

    name: str
    order: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"expkit.{self.name}"


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last", (0, 2, 3, 1))
channels_last_3d = memory_format("channels_last_3d", (0, 2, 3, 4, 1))

layout_p = linear(  # a copy with the axes in memory from slow to fast as in `order`
    "layout",
    by_kernel.ordered(lambda x, *, order: ordered(x, order)),
    lambda x, *, order: x,
    lambda g, _x, *, order: g,
    batch_kw=lambda size, kw: {"order": (0, *(a + 1 for a in kw["order"]))},
)


def ordered(x: Any, order: tuple[int, ...]) -> Any:
    """A copy of the array that lies in memory in this order of its axes."""
    xp = xp_of(x)
    out = xp.empty(tuple(x.shape[a] for a in order), x.dtype).transpose(inverse(order))
    out[...] = x
    return out


def in_own_order(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn, whose result lies in memory as its shape says, however the operands do: what PyTorch promises, for view()."""

    @wraps(fn)
    def call(*args: Any, **kw: Any) -> Any:
        out = fn(*args, **kw)
        raw = out.raw
        if isinstance(raw, Value) or raw.flags.c_contiguous:
            return out
        return apply1(layout_p, out, order=tuple(range(raw.ndim)))

    return call


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """Where each axis stands in the order."""
    return tuple(order.index(a) for a in range(len(order)))


def check(format: Any, x: Any) -> None:
    """Refuses what is no memory format, and a format for another number of dimensions."""
    if not isinstance(format, memory_format):
        raise TypeError(f"memory_format must be expkit.channels_last or its like, got {format!r}")
    if format.order and x.ndim != len(format.order):
        raise RuntimeError(f"required rank {len(format.order)} tensor to use {format.name} format, got {x.ndim}")


def contiguous(input: Any, memory_format: memory_format = contiguous_format) -> Any:
    """The tensor itself if it lies in memory in its own order, or in the format's; else a copy that does."""
    check(memory_format, input)
    if not memory_format.order:
        return movement.contiguous(input)
    if isinstance(getattr(input.raw, "strides", None), tuple) and lies_in(input.raw, memory_format.order):
        return input
    return apply1(layout_p, input, order=memory_format.order)


def clone(input: Any, *, memory_format: memory_format = preserve_format) -> Any:
    """A differentiable copy, in the memory format of the tensor, if it has one, or in the given one."""
    check(memory_format, input)
    if memory_format is preserve_format and isinstance(input.raw, np.ndarray) and is_channels_last(input.raw):
        return apply1(layout_p, input, order=(0, *range(2, input.ndim), 1))
    if memory_format.order:
        return apply1(layout_p, input, order=memory_format.order)
    return movement.clone(input)


def converted(x: Handle, format: memory_format | None) -> Any:
    """What `Tensor.to(memory_format=...)` does: nothing where none is given or it is to be kept."""
    return x if format is None or format is preserve_format else contiguous(x, format)
