"""Rows of a table by index, of which one may stand for padding: it gets no gradient. And rows of the unit matrix."""

from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, wrap
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import index as by_kernel
from expkit.tensor.ops.index import in_bounds, index_tensor, placed_p, take_p
from expkit.tensor.ops.kinds import expand_p, materialize, reshape_p, zeros_raw
from expkit.tensor.ops.pointwise import where_p


def _visible(rows: Any, padding: Any) -> Any:
    """The rows (..., columns) with zeros where `padding` (...) is true."""
    hidden = expand_p(reshape_p(padding, shape=(*padding.shape, 1)), shape=tuple(rows.shape))
    return where_p(hidden, zeros_raw(rows), rows)


def _push(tangents: list[Any], _out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    return None if tangents[0] is None else _visible(take_p(tangents[0], primals[1], axes=(0,)), primals[2])


def _batch(size: int, values: list[Any], mapped: list[bool], _kw: dict[str, Any]) -> Any:
    """A batch of indices is a larger index; a batch of tables is one table, of which each sees its own part."""
    index, padding = (materialize(size, v, m) for v, m in zip(values[1:], mapped[1:], strict=True))
    if not mapped[0]:
        return lookup_p(values[0], index, padding)
    _, rows, columns = values[0].shape
    xp = xp_of(getattr(index, "raw", index))
    first = wrap((xp.arange(size) * rows).reshape((size,) + (1,) * (len(index.shape) - 1)))
    return lookup_p(reshape_p(values[0], shape=(size * rows, columns)), index + first, padding)


_rows = by_kernel.take(lambda x, index, *, axes: x[index])
lookup_p = Primitive(  # table (rows, columns), index, and where it is padding -> (index..., columns)
    "lookup",
    lambda table, index, _padding: _rows(table, index, axes=(0,)),
    lambda table, index, _padding: take_p.shape(table, index, axes=(0,)),
    (
        lambda g, _out, _table, index, padding: placed_p(
            _visible(g, padding), index, axes=(0,), shape=tuple(_table.shape)
        ),
        None,
        None,
    ),
    jvp=_push,
    batch=_batch,
)


def _one_hot(index: Any, *, dtype: Any, classes: int) -> Any:
    xp = xp_of(index)
    out = xp.zeros((index.size, classes), dtype)
    rows = xp.arange(index.size)
    flat = index.reshape(-1)
    known = (flat >= 0) & (flat < classes)
    out[rows[known], flat[known]] = 1
    return out.reshape((*index.shape, classes))


one_hot_p = Primitive(  # index -> (index..., classes): 1 at each class; an index out of range has none
    "one_hot",
    _one_hot,
    lambda index, *, dtype, classes: Aval((*index.shape, classes), dtype, index.device),
    batch=lambda size, values, mapped, kw: one_hot_p(values[0], **kw),
)

scaled_gradient_p = Primitive(  # (x, factor) -> x, whose gradient is multiplied by the factor
    "scaled_gradient",
    lambda x, factor: x,
    lambda x, factor: x,
    (lambda g, _out, _x, factor: g * factor, None),
    jvp=lambda tangents, _out, primals, kw: tangents[0],
    batch=lambda size, values, mapped, kw: scaled_gradient_p(
        *(materialize(size, v, m) for v, m in zip(values, mapped, strict=True))
    ),
)


def scaled_gradient(x: Any, factor: Any) -> Any:
    """x itself, whose gradient is multiplied by `factor` (of x's rank; no gradient of its own) on the way back."""
    return apply(scaled_gradient_p, x, factor)


def known(x: Any) -> bool:
    """Whether a tensor's values can be looked at without cost: an array on the CPU."""
    return x.raw.__class__ is np.ndarray


def lookup(table: Any, index: Any, padding: int | None = None) -> Any:
    """The rows of a table (rows, columns) at an integer index of any shape. Indices outside [0, rows): IndexError."""
    index = in_bounds(index, table.shape[0], 0, "embedding()")
    if padding is None:
        return apply(take_p, table, index, axes=(0,))
    return apply(lookup_p, table, index, index == padding % table.shape[0])


def one_hot(index: Any, classes: int) -> Any:
    """int64 (index..., classes): 1 at each class, 0 elsewhere."""
    return apply(one_hot_p, index_tensor(index, "one_hot()"), dtype=np.dtype(np.int64), classes=classes)
