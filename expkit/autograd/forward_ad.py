"""Forward mode on tensors, as torch.autograd.forward_ad.

    with forward_ad.dual_level():
        x = forward_ad.make_dual(primal, tangent)
        value, derivative = forward_ad.unpack_dual(x.sin())

When the level is left, tensors made in it are their values alone.
"""

from types import TracebackType
from typing import Any, NamedTuple, Self

from expkit.autograd.handle import Handle, wrap
from expkit.autograd.levels import Dual, Level
from expkit.autograd.mode import MODE, interpreting
from expkit.autograd.tape import made_inside
from expkit.errors import AutogradError, ShapeError


class UnpackedDualTensor(NamedTuple):
    """What unpack_dual returns; tangent is None where there is none."""

    primal: Any
    tangent: Any


class dual_level:
    """The level on which tangents live: a with block. Levels of this kind do not nest; func.jvp does."""

    def __enter__(self) -> Self:
        if MODE.duals is not None:
            raise AutogradError("forward_ad: a dual level is open already, and they do not nest. Use func.jvp.")
        self.level = Level("forward_ad")
        self.context = interpreting(self.level)
        self.context.__enter__()
        MODE.duals = []
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        made, MODE.duals = MODE.duals, None
        self.context.__exit__(kind, error, trace)
        for ref in made or ():
            _leave(ref(), self.level.level)


def _leave(x: Any, level: int) -> None:
    """A tensor of the closed level becomes its value."""
    if x is not None and x.raw.__class__ is Dual and x.raw.level == level:
        inner = x.raw.value
        x.raw, x.node = inner.raw, inner.node


def enter_dual_level() -> dual_level:
    """Opens a level, to be closed by exit_dual_level(level=what this returns)."""
    return dual_level().__enter__()


def exit_dual_level(*, level: dual_level) -> None:
    """Closes a level that enter_dual_level opened."""
    level.__exit__(None, None, None)


def _level() -> int:
    found = next((i for i in reversed(MODE.stack) if i.kind == "forward_ad"), None) if MODE.duals is not None else None
    if found is None:
        raise AutogradError("forward_ad: no dual level is open; use it within `with forward_ad.dual_level():`")
    return found.level


def make_dual(tensor: Any, tangent: Any, *, level: Any = None) -> Any:
    """The tensor with a tangent of its shape and dtype."""
    for x in (tensor, tangent):
        if not isinstance(x, Handle):
            raise TypeError(f"make_dual: expected Tensors, got {type(x).__name__}")
        if not (x.dtype.is_floating_point or x.dtype.is_complex):
            raise ValueError(f"make_dual: only floating-point and complex tensors have tangents, this one is {x.dtype}")
    if tuple(tensor.shape) != tuple(tangent.shape):
        raise ShapeError(f"make_dual: the tensor has shape {tuple(tensor.shape)}, its tangent {tuple(tangent.shape)}")
    if tensor.dtype is not tangent.dtype:
        raise AutogradError(f"make_dual: the tensor is {tensor.dtype}, its tangent {tangent.dtype}")
    if unpack_dual(tensor).tangent is not None:
        raise AutogradError("make_dual: the tensor has a tangent at this level already")
    out = wrap(Dual(_level(), tensor, tangent))
    made_inside(out)
    return out


def unpack_dual(tensor: Any, *, level: Any = None) -> UnpackedDualTensor:
    """(value, tangent) of a tensor; the tangent is None outside a level, and for what has none."""
    if not isinstance(tensor, Handle):
        raise TypeError(f"unpack_dual: expected a Tensor, got {type(tensor).__name__}")
    tensor.requires_grad  # noqa: B018  (brings a view up to date)
    if MODE.duals is None or tensor.raw.__class__ is not Dual or tensor.raw.level != _level():
        return UnpackedDualTensor(tensor, None)
    return UnpackedDualTensor(tensor.raw.value, tensor.raw.tangent)
