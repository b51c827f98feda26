"""Reading and writing by index, by generated kernels.

The plain implementations keep what is small and other dtypes. Where there are many indices (`many`), it is here that
they are looked at: RangeError for those out of bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from expkit.errors import RangeError
from expkit.kernels.cpu.arrays import gather as kernels
from expkit.kernels.cpu.arrays.copy import contiguous, dense
from expkit.kernels.cpu.arrays.nonzero import nonzero as places
from expkit.kernels.cpu.arrays.write import filled
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.record.recording import flag
from expkit.tensor.generated.base import enabled

LEAST = 1 << 12  # elements from which a kernel is faster than NumPy
NAMES = {kernels.PUT: "scatter", kernels.ADD: "scatter_add"}
MOST = 4  # index arrays of one kernel
Plain = Callable[..., Any]


def many(index: Any) -> bool:
    """Whether the implementations here see to it that the indices are in range."""
    return index.__class__ is np.ndarray and index.size >= LEAST


def within(index: Any, n: int) -> bool:
    """Whether all are in [0, n), in one pass: what is negative is too large without a sign. Not for other dtypes."""
    return index.dtype == np.int64 and int(np.maximum.reduce(index.view(np.uint64), None)) < n


def look(index: Any, low: int, n: int, dim: int, what: str = "") -> None:
    """RangeError for an index that is not in [low, n)."""
    if not low and within(index, n):
        return
    least, most = int(index.min()), int(index.max())
    if least < low or most >= n:
        worst = least if least < low else most
        raise RangeError(f"{what}index {worst} is out of bounds for dimension {dim} with size {n}")


def _look_all(x: Any, indices: Sequence[Any], axes: Sequence[int]) -> None:
    for index, axis in zip(indices, axes, strict=True):
        if many(index):
            look(index, -x.shape[axis], x.shape[axis], axis)


# ---- index arrays on some axes ---------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """An array seen as outer axes of one stride, indexed axes, and dense rows."""

    before: tuple[int, ...]  # axes in front of the indexed ones, in the order of memory
    behind: tuple[int, ...]  # those of a row
    outer: tuple[int, int]  # size and stride in bytes
    columns: int

    def order(self, count: int) -> list[int]:
        """Where (outer..., index..., row...) takes its axes from (index..., others...), with `count` index axes."""
        place = {a: count + k for k, a in enumerate(sorted((*self.before, *self.behind)))}
        return [*(place[a] for a in self.before), *range(count), *(place[a] for a in self.behind)]


def _rows(x: Any, axes: Sequence[int]) -> Rows | None:
    """x in that form; None where its strides do not allow it."""
    rest = sorted((a for a in range(x.ndim) if a not in axes), key=lambda a: (-x.strides[a], a))
    columns, step = 1, x.itemsize
    behind: list[int] = []
    while rest and (x.strides[rest[-1]] == step or x.shape[rest[-1]] == 1):
        behind.insert(0, rest.pop())
        columns *= x.shape[behind[0]]
        step = columns * x.itemsize
    outer, stride = 1, 0
    for a in reversed([a for a in rest if x.shape[a] != 1]):
        if outer == 1:
            stride = x.strides[a]
        elif x.strides[a] != stride * outer:
            return None
        outer *= x.shape[a]
    return Rows(tuple(rest), tuple(behind), (outer, stride), columns)


def _form(x: Any, axes: Sequence[int]) -> Rows:
    """That of an array that has it, as dense ones do."""
    found = _rows(x, axes)
    if found is None:
        raise ValueError(f"strides {x.strides} are none of outer axes and dense rows")
    return found


def _known(how: str, x: Any, indices: Sequence[Any]) -> bool:
    """Whether there is a kernel for such arrays."""
    return (
        x.__class__ is np.ndarray
        and 0 < len(indices) <= MOST
        and x.size > 0
        and all(
            i.__class__ is np.ndarray and i.shape == indices[0].shape and kernels.index_kind(i.dtype) is not None
            for i in indices
        )
        and enabled()
        and kernels.kind_of(x.dtype, how) is not None
    )


def _cell() -> Any:
    return np.zeros(1, np.int64)


def taken(x: Any, indices: Sequence[Any], axes: Sequence[int], cell: Any) -> Any:
    """x at index arrays of one shape on `axes`: (index..., the other axes...); None without a kernel.

    Here and below the cell becomes 1 where an index is out of range.
    """
    if not _known(kernels.TAKE, x, indices):
        return None
    form = _rows(x, axes)
    if form is None:
        x = contiguous(x)
        form = _form(x, axes)
    shape = indices[0].shape
    sizes = (*(x.shape[a] for a in form.before), *shape, *(x.shape[a] for a in form.behind))
    out = plan.empty(sizes, x.dtype)
    if out.size:
        kernels.by_rows(kernels.TAKE, x, out, _all_dense(indices), axes, form.outer, form.columns, cell)
    return out.transpose(np.argsort(form.order(len(shape))))


def take(plain: Plain) -> Plain:
    """As `taken`."""

    @wraps(plain)
    def impl(x: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
        if indices[0].size * x.size < LEAST:
            return plain(x, *indices, axes=axes)
        count = indices[0].size * math.prod(n for a, n in enumerate(x.shape) if a not in axes)
        if count >= LEAST and (x.size <= 2 * count or _rows(x, axes) is not None):
            cell = _cell()
            out = taken(x, indices, axes, cell)
            if out is not None and not cell[0]:
                return out
        _look_all(x, indices, axes)
        return plain(x, *indices, axes=axes)

    return impl


def _all_dense(indices: Sequence[Any]) -> list[Any]:
    return [dense(i) for i in indices]


def written(how: str, base: Any, value: Any, indices: Sequence[Any], axes: Sequence[int], cell: Any) -> Any:
    """A copy of `base` with value (index..., the other axes...) written, or added, at index arrays on `axes`.

    None without a kernel.
    """
    if not _known(how, base, indices) or value.__class__ is not np.ndarray or value.dtype != base.dtype:
        return None
    new = contiguous(base)
    _write(how, new, value, indices, axes, cell)
    return new


def put(how: str, plain: Plain) -> Plain:
    """As `written`."""

    @wraps(plain)
    def impl(base: Any, value: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
        if value.size < LEAST and indices[0].size < LEAST:
            return plain(base, value, *indices, axes=axes)
        if value.size >= LEAST:
            cell = _cell()
            new = written(how, base, value, indices, axes, cell)
            if new is not None and not cell[0]:
                return new
        _look_all(base, indices, axes)
        return plain(base, value, *indices, axes=axes)

    return impl


def put_into(how: str, target: Any, value: Any, indices: Sequence[Any], axes: tuple[int, ...]) -> None:
    """Writes (adds) value (index..., the other axes...) at index arrays on `axes`, in place; for NumPy's arrays."""
    for index, axis in zip(indices, axes, strict=True):
        if index.size:
            look(index, -target.shape[axis], target.shape[axis], axis)
    value, *indices = (x.copy() if np.may_share_memory(target, x) else x for x in (value, *indices))
    fits = value.dtype == target.dtype and value.size >= LEAST and _known(how, target, indices)
    if fits and _rows(target, axes) is not None:
        _write(how, target, value, indices, axes, _cell())
        return
    front = target.transpose((*axes, *(a for a in range(target.ndim) if a not in axes)))
    if how == kernels.ADD:
        np.add.at(front, tuple(indices), value)
    else:
        front[tuple(indices)] = value


def _write(how: str, new: Any, value: Any, indices: Sequence[Any], axes: Sequence[int], cell: Any) -> None:
    """Writes into an array that has the form of rows."""
    form, ndim = _form(new, axes), indices[0].ndim
    shape = (*indices[0].shape, *(n for a, n in enumerate(new.shape) if a not in axes))
    value = (value if value.shape == shape else np.broadcast_to(value, shape)).transpose(form.order(ndim))
    if value.size:
        kernels.by_rows(how, new, dense(value), _all_dense(indices), axes, form.outer, form.columns, cell)


def added_up(g: Any, indices: Sequence[Any], axes: Sequence[int], shape: tuple[int, ...], cell: Any) -> Any:
    """Zeros of a shape with g (index..., the other axes...) added at index arrays on `axes`; None without a kernel."""
    if 0 in shape or not g.size or not _known(kernels.ADD, g, indices):
        return None
    new = filled(shape, g.dtype)
    _write(kernels.ADD, new, g, indices, axes, cell)
    return new


def placed(plain: Plain) -> Plain:
    """As `added_up`."""

    @wraps(plain)
    def impl(g: Any, *indices: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
        if g.size >= LEAST:
            cell = _cell()
            new = added_up(g, indices, axes, shape, cell)
            if new is not None and not cell[0]:
                return new
        return plain(g, *indices, axes=axes, shape=shape)  # the indices were looked at when they were taken

    return impl


def nonzero(plain: Plain) -> Plain:
    """The coordinates of what is not zero."""

    @wraps(plain)
    def impl(x: Any) -> Any:
        if x.__class__ is np.ndarray and x.size >= LEAST and x.ndim and enabled():
            return places(dense(x if x.dtype == bool else x != 0))
        return plain(x)

    return impl


# ---- along an axis ---------------------------------------------------------------------------------------------------


def _alike(x: Any, index: Any, axis: int) -> bool:
    """Whether all sizes but one agree."""
    have, want = x.shape, index.shape
    return have[:axis] == want[:axis] and have[axis + 1 :] == want[axis + 1 :]


def gathered(x: Any, index: Any, axis: int, cell: Any) -> Any:
    """x at an index along one axis; the other axes are x's. None without a kernel."""
    if not _known(kernels.TAKE, x, (index,)) or not _alike(x, index, axis):
        return None
    out = plan.empty(index.shape, x.dtype)
    if out.size:
        kernels.along_axis(kernels.TAKE, dense(x), out, dense(index), axis, cell)
    return out


def gather(plain: Plain) -> Plain:
    """As `gathered`."""

    @wraps(plain)
    def impl(x: Any, index: Any, *, axis: int) -> Any:
        if index.size < LEAST:
            return plain(x, index, axis=axis)
        if x.flags.c_contiguous or x.size <= 2 * index.size:
            cell = _cell()
            out = gathered(x, index, axis, cell)
            if out is not None and not cell[0]:
                return out
        if many(index):  # and no array of another library
            look(index, 0, x.shape[axis], axis, "gather(): ")
        return plain(x, index, axis=axis)

    return impl


def scattered(how: str, base: Any, index: Any, value: Any, axis: int, cell: Any) -> Any:
    """A copy of `base` with value written, or added, at an index along one axis; the other axes are base's.

    None without a kernel.
    """
    fits = _known(how, base, (index,)) and _alike(base, index, axis)
    if not fits or value.__class__ is not np.ndarray or value.dtype != base.dtype:
        return None
    new = contiguous(base)
    if index.size:
        kernels.along_axis(how, new, dense(np.broadcast_to(value, index.shape)), dense(index), axis, cell)
    return new


def scatter(how: str, plain: Plain) -> Plain:
    """As `scattered`."""

    @wraps(plain)
    def impl(base: Any, index: Any, value: Any, *, axis: int) -> Any:
        if index.size < LEAST:
            return plain(base, index, value, axis=axis)
        cell = _cell()
        new = scattered(how, base, index, value, axis, cell)
        if new is not None and not cell[0]:
            return new
        if many(index):
            look(index, 0, base.shape[axis], axis, f"{NAMES[how]}(): ")
        return plain(base, index, value, axis=axis)

    return impl


# ---- in recordings ---------------------------------------------------------------------------------------------------


def _flag(x: Any, axes: Sequence[int]) -> Any:
    where = ", ".join(f"{a} with size {x.shape[a]}" for a in axes)
    return flag(f"an index is out of bounds for dimension {where}")


def _lookup(table: Any, index: Any, _padding: Any) -> Any:
    return taken(table, (index,), (0,), _flag(table, (0,)))


def _putting(how: str) -> Plain:
    return lambda base, value, *indices, axes: written(how, base, value, indices, axes, _flag(base, axes))


def _scattering(how: str) -> Plain:
    return lambda base, index, value, *, axis: scattered(how, base, index, value, axis, _flag(base, (axis,)))


ROWS: dict[str, Callable[..., Any]] = {  # of the table in pure.py
    "take": lambda x, *indices, axes: taken(x, indices, axes, _flag(x, axes)),
    "lookup": _lookup,
    "placed": lambda g, *indices, axes, shape: added_up(
        g, indices, axes, shape, flag(f"an index is out of bounds for {list(shape)} on the axes {axes}")
    ),
    "put": _putting(kernels.PUT),
    "put_add": _putting(kernels.ADD),
    "gather": lambda x, index, *, axis: gathered(x, index, axis, _flag(x, (axis,))),
    "scatter": _scattering(kernels.PUT),
    "scatter_add": _scattering(kernels.ADD),
}
