"""The handle below Tensor: one raw value, its place on the tape, its place in a chain of views.

`raw` is an array of some array library, or a `Value` that an interpreter put there. This package never looks into
arrays: what it must know of them is installed once by `expkit.tensor` (see `install`).
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple


class Aval(NamedTuple):
    """An abstract value: what is known of an array without having it."""

    shape: tuple[int, ...]
    dtype: Any
    device: Any = None

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Handle:
    """Slots of every Tensor. `node` is None where no gradient is needed, a Leaf, or the Node that made the value."""

    __slots__ = ("__weakref__", "_grad", "born", "chain", "node", "raw", "written")

    raw: Any
    node: Any
    chain: Any
    _grad: Any
    written: int
    born: int  # set only where an interpreter was at work when the tensor was made

    if TYPE_CHECKING:  # Tensor's attributes, which every handle has in practice

        def __getattr__(self, name: str) -> Any: ...


class Value:
    """A raw value that an interpreter owns. Subclasses have level, shape, dtype, device and `process`."""

    __slots__ = ()
    __array_ufunc__ = None  # NumPy must leave `array * value` to the operators below
    level: Any

    if TYPE_CHECKING:

        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def dtype(self) -> Any: ...
        @property
        def device(self) -> Any: ...

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def process(self, prim: Any, raws: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        """Applies `prim` where this value is the one of the highest level among `raws`."""
        raise NotImplementedError

    def looked_into(self, other: Any) -> bool:
        """Whether `other`, which a view operation made of it, is to behave as if it looked into its memory."""
        return True

    def stopped(self) -> Any:
        """The same value, cut off from what differentiation has recorded below: what detach() holds."""
        return self

    def carrying(self, new: Any) -> Any:
        """The value of `new` with this one's derivatives: what a write through detach() leaves behind."""
        return new


class View:
    """How a view came from its parent: `prim(parent, **kw)`, and when its own history was last brought up to date.

    tracked: its history is part of its parent's (True), was cut off by detach() (False), or was not recorded when it
    was made (None). made: when; a parent whose own view is younger has changed its shape in place since.
    """

    __slots__ = ("kw", "made", "parent", "prim", "root", "stamp", "tracked")

    def __init__(self, parent: Handle, prim: Any, kw: dict[str, Any], stamp: int, tracked: bool | None) -> None:
        self.parent, self.prim, self.kw, self.made, self.stamp, self.tracked = parent, prim, kw, stamp, stamp, tracked
        self.root: Handle = parent if parent.chain is None else parent.chain.root


class _Arrays:
    """What the tape must know of arrays; filled in by `install`."""

    tensor: Any  # the class of the handles that operations return
    raw_types: frozenset[Any]  # array classes; a result of another class (a NumPy scalar) is wrapped by `as_raw`
    as_raw: Callable[[Any], Any]
    shares: Callable[[Any, Any], bool]  # does the second array look into the first one's memory?
    owned: Callable[[Any, Any], Any]  # the array, or a copy that nobody else holds; in the second one's memory format
    plus: Callable[[Any, Any], Any]  # the sum of two gradients: arrays, Values or Tensors
    add_into: Callable[[Any, Any], None]
    has_nan: Callable[[Any], bool]  # False for what has no values yet
    write: Callable[[Any, Any], None]  # copies the second array into the first one's memory
    zeros: Callable[[Aval], Any]  # raw zeros
    ones: Callable[[Aval], Any]
    explain: Callable[..., Any]  # (prim, args, kw, error) -> a result after all, or a better error
    unbroadcast: Callable[..., Any]  # (grad, shape) -> grad summed to the shape
    convert: Callable[..., Any]  # (grad, dtype) -> grad of the dtype
    conj: Callable[[Any], Any]  # the complex conjugate of a gradient


ARRAYS = _Arrays()


def install(**hooks: Any) -> None:
    """Called once by expkit.tensor: hands over the array library's side of the contract."""
    for name, hook in hooks.items():
        if name not in _Arrays.__annotations__:
            raise TypeError(f"install: unknown hook {name!r}")
        setattr(ARRAYS, name, hook)


def wrap(raw: Any, node: Any = None) -> Any:
    """A Tensor that holds `raw`."""
    out = ARRAYS.tensor.__new__(ARRAYS.tensor)
    out.raw = raw
    out.node = node
    out.chain = None
    out._grad = None
    out.written = 0
    return out


def aval_of(x: Any) -> Aval:
    """The abstract value of a Tensor, an array or a Value."""
    return Aval(tuple(x.shape), x.dtype, getattr(x, "device", None))
