"""Where values belong in sorted ones: searchsorted and bucketize."""

from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.arguments import COMPLEX, refuse, require_tensor
from expkit.tensor.ops.convert import as_dtype, promote
from expkit.tensor.ops.index import take_along_dim
from expkit.tensor.ops.kinds import materialize, reshape_p
from expkit.tensor.ops.reduce import INT

# ---- the primitive ---------------------------------------------------------------------------------------------------


def _at(edges: Any, place: Any) -> Any:
    return edges[place] if edges.ndim == 1 else xp_of(edges).take_along_axis(edges, place, -1)


def _before(edge: Any, x: Any, right: bool) -> Any:
    """Whether an edge lies before x; NaN comes after all numbers."""
    nan = x != x
    return (edge <= x) | nan if right else (edge < x) | (nan & (edge == edge))


def _search(edges: Any, x: Any, *, right: bool) -> Any:
    """How many edges lie before each x: of one line of edges, or of the line at the same leading place."""
    xp, n = xp_of(x), edges.shape[-1]
    if edges.ndim == 1 and xp is np and x.dtype.kind != "V":
        return np.searchsorted(edges, x, "right" if right else "left").astype(INT)
    low, high = xp.zeros(x.shape, INT), xp.full(x.shape, n, INT)
    for _ in range(n.bit_length()):
        middle = (low + high) // 2
        edge = _at(edges, xp.minimum(middle, n - 1))
        before = (low < high) & _before(edge, x, right)
        low, high = xp.where(before, middle + 1, low), xp.where(before, high, middle)
    return low


def _search_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    edges, x = values
    if not mapped[0] and len(edges.shape) == 1:
        return searchsorted_p(edges, x, **kw)
    edges, x = materialize(size, edges, mapped[0]), materialize(size, x, mapped[1])
    if len(edges.shape) == len(x.shape):
        return searchsorted_p(edges, x, **kw)
    shape = tuple(x.shape)  # each element has a line of its own, for values of any shape
    return reshape_p(searchsorted_p(edges, reshape_p(x, shape=(size, -1)), **kw), shape=shape)


searchsorted_p = Primitive(
    "searchsorted", _search, lambda _edges, x, *, right: Aval(x.shape, INT, x.device), batch=_search_batch
)

# ---- functions -------------------------------------------------------------------------------------------------------


def _agreeing(what: str, edges: Any, x: Any) -> tuple[Any, Any]:
    """Both as tensors of one dtype."""
    refuse(edges, what, COMPLEX)
    edges, x = promote(edges, x)
    return edges, x


def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """Where each value goes in sorted_sequence, sorted along its last dimension, so that it stays sorted.

    Before equal ones, behind them with right=True (side="right"). sorter: indices that sort the sequence.
    """
    if side not in (None, "left", "right"):
        raise ValueError(f"searchsorted(): side must be 'left' or 'right', not {side!r}")
    if side == "left" and right:
        raise ValueError("searchsorted(): side='left' and right=True contradict each other")
    edges, x = _agreeing("searchsorted", sorted_sequence, input)
    if not edges.ndim or (edges.ndim > 1 and edges.shape[:-1] != x.shape[:-1]):
        raise ShapeError(
            f"searchsorted(): the sorted tensor must be 1-d, or agree with the values but for the last dimension, "
            f"got {tuple(edges.shape)} and {tuple(x.shape)}"
        )
    if sorter is not None:
        if sorter.shape != edges.shape or dtypes.of(sorter.raw) is not dtypes.int64:
            raise ShapeError(f"searchsorted(): sorter must be int64 of shape {tuple(edges.shape)}")
        edges = take_along_dim(edges, sorter, -1)
    found = apply(searchsorted_p, edges, x, right=bool(right) or side == "right")
    return as_dtype(found, dtypes.int32) if out_int32 else found


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """The number of the bucket of each value: boundaries[i-1] < value <= boundaries[i], or <= and < with right=True."""
    if require_tensor(boundaries, "bucketize").ndim != 1:
        raise ShapeError(f"bucketize(): boundaries must be 1-d, got shape {tuple(boundaries.shape)}")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
