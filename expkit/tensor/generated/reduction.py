"""Reductions by generated kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.code.elementwise import KINDS, Gap, kind_of
from expkit.kernels.cpu.loops.arguments import Place
from expkit.kernels.cpu.loops.program import Program, Ref, Step
from expkit.kernels.cpu.loops.reduce import Reduction
from expkit.kernels.cpu.machine.locks import forkable
from expkit.tensor.generated.base import enabled

LEAST = 1 << 13  # elements from which a reduction is faster than NumPy's
_lock = forkable()
Plain = Callable[..., Any]


class Reductions:
    """The kernels of one reduction, for each dtype: `before` are the elementwise steps in front of it."""

    def __init__(self, name: str, *before: Step) -> None:
        self._steps = (*before, Step(name, (Ref(len(before)),)))
        self._made: dict[Any, Reduction | None] = {}

    def __call__(self, x: Any, axes: tuple[int, ...]) -> Any:
        """The reduction of a non-empty array; None where there is no kernel."""
        kernel = self.of(x.dtype)
        return None if kernel is None else kernel((x,), axes)

    def of(self, dtype: Any) -> Reduction | None:
        """The kernel for a dtype, or None."""
        found = self._made.get(dtype, self)
        return self._first(dtype) if found is self else found  # type: ignore[return-value]

    def _first(self, dtype: Any) -> Reduction | None:
        with _lock:
            if dtype not in self._made:
                self._made[dtype] = self._make(dtype) if enabled() else None
        return self._made[dtype]

    def _make(self, dtype: Any) -> Reduction | None:
        try:
            return Reduction(Program((kind_of(dtype),), self._steps, (len(self._steps),)))
        except Gap:
            return None


def reduction(name: str, plain: Plain, *before: Step) -> Plain:
    """The implementation of a reduction over `axes`."""
    kernels = Reductions(name, *before)

    @wraps(plain)
    def impl(x: Any, *, axes: tuple[int, ...]) -> Any:
        if x.__class__ is np.ndarray and x.size >= LEAST and axes:
            out = kernels(x, axes)
            if out is not None:
                return out
        return plain(x, axes=axes)

    return impl


def along(name: str, plain: Plain) -> Plain:
    """The implementation of a reduction along one `axis`."""
    kernels = Reductions(name)

    @wraps(plain)
    def impl(x: Any, *, axis: int) -> Any:
        if x.__class__ is np.ndarray and x.size >= LEAST:
            out = kernels(x, (axis,))
            if out is not None:
                return out
        return plain(x, axis=axis)

    return impl


_places: dict[tuple[str, Any], Place] = {}


def _place(name: str, x: Any, axis: int) -> Any:
    """argmax or argmin by the kernel for columns; None where x does not lie so."""
    kind = KINDS.get(x.dtype)
    if x.__class__ is not np.ndarray or kind is None or not x.size or not enabled():
        return None
    if (name, kind) not in _places:
        _places[name, kind] = Place(name, kind)
    return _places[name, kind](x, axis)


def _placed(name: str, x: Any, *, axis: int) -> Any:
    """argmax or argmin by kernels alone; None where there is none."""
    found = _place(name, x, axis)
    if found is not None or x.dtype not in KINDS or not x.size or not enabled():
        return found
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    found = _place(name, dense(np.moveaxis(x, axis, 0)).reshape(x.shape[axis], -1), 0)
    return None if found is None else found.reshape(shape)


def place(name: str, plain: Plain) -> Plain:
    """The implementation of argmax or argmin along one `axis`."""

    @wraps(plain)
    def impl(x: Any, *, axis: int) -> Any:
        found = _place(name, x, axis) if x.size >= LEAST and x.size > x.shape[axis] else None
        return plain(x, axis=axis) if found is None else found

    return impl


def _cast(number: int, dtype: str) -> Step:
    return Step("cast", (Ref(number),), (("dtype", np.dtype(dtype)),))


_ALONE = {  # reductions that kernels of several equations do not have: the kernel, and what its result is read as
    "total": (Reductions("sum", _cast(0, "i8")), "i8"),
    "any": (Reductions("amax", _cast(0, "?"), _cast(1, "u1")), "?"),
    "all": (Reductions("amin", _cast(0, "?"), _cast(1, "u1")), "?"),
}


def _alone(name: str, x: Any, *, axes: tuple[int, ...]) -> Any:
    """By kernels alone; None where there is none."""
    kernel, dtype = _ALONE[name]
    found = kernel(x, axes) if x.__class__ is np.ndarray and x.size and axes else None
    return None if found is None else found.view(dtype)


ROWS: dict[str, Plain] = {  # of the table in pure.py
    **{name: partial(_placed, name) for name in ("argmax", "argmin")},
    **{name: partial(_alone, name) for name in _ALONE},
}
