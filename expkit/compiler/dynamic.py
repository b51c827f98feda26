"""mark_dynamic: a dimension whose size is said to change from call to call.

Sizes are part of a program: loops, divisions of work and memory are laid out for them. So each size of a marked
dimension has a program of its own, traced when that size comes for the second time; but all of them together count as
one signature, and only those used last are kept. That is what lengths of texts and smaller last batches need: no
warning, no end of compiling, no memory that grows.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any
from weakref import ref

from expkit.errors import RangeError
from expkit.tensor import Tensor

KEPT = 32  # programs of one signature that differ in the sizes of marked dimensions

_MARKS: dict[int, tuple["ref[Tensor]", tuple[int, ...]]] = {}  # by the tensor's id


def mark_dynamic(x: Tensor, dim: int | Iterable[int]) -> None:
    """Tells compiled functions that the size of this dim (or these) of x changes from call to call.

    The mark is the tensor's, not its copies': mark what is passed to the function. RangeError for a dim that x lacks.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"mark_dynamic: a Tensor was expected, not {type(x).__name__}")
    dims = {dim} if isinstance(dim, int) else set(dim)
    for d in dims:
        if not -x.ndim <= d < x.ndim:
            raise RangeError(f"mark_dynamic: dim {d} of a tensor of {x.ndim} dims: expected {-x.ndim} to {x.ndim - 1}.")
    place = id(x)
    found = tuple(sorted({d % x.ndim for d in dims} | set(marked(x))))
    _MARKS[place] = ref(x, lambda _: _MARKS.pop(place, None)), found


def marked(x: Tensor) -> tuple[int, ...]:
    """The dims of x that are marked, in order."""
    if not _MARKS:
        return ()
    found = _MARKS.get(id(x))
    return found[1] if found is not None and found[0]() is x else ()


class Recent:
    """Which signatures a function has met; of each, the sizes of marked dims in the order of their last use."""

    def __init__(self) -> None:
        self._sizes: dict[Any, OrderedDict[Any, None]] = {}

    def __len__(self) -> int:
        """How many signatures, whatever the sizes of marked dims."""
        return len(self._sizes)

    def use(self, key: Any) -> Any:
        """Notes that `key` (signature, sizes) is used now. The key that has to go for it, if one has."""
        signature, sizes = key
        known = self._sizes.setdefault(signature, OrderedDict())
        known[sizes] = None
        known.move_to_end(sizes)
        return (signature, known.popitem(last=False)[0]) if len(known) > KEPT else None
