"""Parameter and Buffer: tensors that a module registers when they are assigned to one of its attributes.

The uninitialized ones of lazy modules have a dtype and a device, and no shape until `materialize` gives them one.
"""

from __future__ import annotations

from typing import Any, NoReturn

from expkit.tensor import Tensor, empty


def _adopt(made: Tensor, data: Tensor | None) -> None:
    """Let `made` hold the value of `data`: the same memory, no history."""
    if data is None:
        data = empty(0)
    if not isinstance(data, Tensor):
        kind = type(made).__name__
        raise TypeError(f"{kind} takes a Tensor, got {type(data).__name__}: write {kind}(ek.tensor(...))")
    made.raw = data.detach().raw
    made.node = made.chain = made.grad = None
    made.written = 0


class Parameter(Tensor):
    """A tensor that a module trains: it requires a gradient, and assigning it to a module's attribute registers it."""

    __slots__ = ()

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        _adopt(self, data)
        self.requires_grad_(requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """A parameter of this value; as PyTorch's without the gradient, so that a copied model begins without one."""
        out: Any = super().__deepcopy__(memo)
        out._grad = None
        return out

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


class _Shapeless(Tensor):
    """What both uninitialized kinds are: no question about the values has an answer yet."""

    __slots__ = ()
    becomes: type[Tensor]

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become a Parameter or Buffer of this shape, with arbitrary values."""
        made = empty(shape, device=self.device if device is None else device, dtype=dtype or self.dtype)
        self.data = made
        self.__class__ = self.becomes  # type: ignore[assignment]

    def _refused(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ValueError(
            "an uninitialized parameter or buffer has no shape and no values before the first forward of its module: "
            "call the module once on an example, or materialize(shape)"
        )

    shape = ndim = property(_refused)
    dim = size = numel = nelement = item = tolist = numpy = __array__ = __len__ = __iter__ = copy_ = _refused
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __getitem__ = _refused

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Shapeless, Parameter):
    """A parameter whose shape is not known yet: what a lazy module has before its first forward."""

    __slots__ = ()
    becomes = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        Parameter.__init__(self, empty(0, device=device, dtype=dtype), requires_grad)


class UninitializedBuffer(_Shapeless, Buffer):
    """A buffer whose shape is not known yet."""

    __slots__ = ()
    becomes = Buffer

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None, *, persistent: bool = True
    ) -> None:
        Buffer.__init__(self, empty(0, device=device, dtype=dtype), persistent=persistent)
        self.requires_grad_(requires_grad)


def is_lazy(value: Any) -> bool:
    """Whether it is an uninitialized parameter or buffer."""
    return isinstance(value, _Shapeless)
