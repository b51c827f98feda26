"""Parameter and Buffer: tensors that a module registers when they are assigned to one of its attributes."""

from __future__ import annotations

from typing import Any

from expkit.tensor import Tensor, empty


def _adopt(made: Tensor, data: Tensor | None) -> None:
    """Let `made` hold the value of `data`: the same memory, no history."""
    if data is None:
        data = empty(0)
    if not isinstance(data, Tensor):
        kind = type(made).__name__
        raise TypeError(f"{kind} takes a Tensor, got {type(data).__name__}: write {kind}(ek.tensor(...))")
    made.raw = data.detach().raw
    made.node = made.chain = made._grad = None
    made.written = 0


class Parameter(Tensor):
    """A tensor that a module trains: it requires a gradient, and assigning it to a module's attribute registers it."""

    __slots__ = ()

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        _adopt(self, data)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that is state of a module but is not trained; `persistent=False` keeps it out of state dicts."""

    __slots__ = ("persistent",)

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        _adopt(self, data)
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        out: Any = super().__deepcopy__(memo)
        out.persistent = self.persistent
        return out
