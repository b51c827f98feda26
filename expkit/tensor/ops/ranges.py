"""Tensors of numbers in a row, of coordinates and of indices."""

import itertools
import math
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle, Value
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.ops.arguments import require_tensor, whole
from expkit.tensor.ops.convert import number
from expkit.tensor.ops.create import finished
from expkit.tensor.ops.index import where
from expkit.tensor.ops.join import stack
from expkit.tensor.ops.movement import expand, reshape, transpose


def _scalar(x: Any, what: str) -> Any:
    """A number: a Python one, NumPy's, or the value of a 0-d tensor."""
    if isinstance(x, Handle):
        if x.ndim:
            raise RuntimeError(f"{what} only supports numbers and 0-dimensional tensors, got {x.ndim} dimensions")
        return x.item()
    return number(x)


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """start, start + step, ... below end. int64 for ints, else the default dtype."""
    if end is None:
        start, end = 0, start
    plain = start.__class__ is end.__class__ is step.__class__ is int
    if not plain:
        start, end, step = (_scalar(x, "arange()") for x in (start, end, step))
        if any(isinstance(x, complex) for x in (start, end, step)):
            raise TypeError("arange(): there is no order among complex numbers")
        plain = all(isinstance(x, int) for x in (start, end, step))
    d = dtypes.get(dtype) if dtype is not None else dtypes.int64 if plain else dtypes.get_default_dtype()
    if d is dtypes.bool_ or d.is_complex:
        raise TypeError(f"arange(): dtype {d} is not supported")
    if not math.isfinite(end - start) or step == 0 or (end - start) * step < 0:
        raise RuntimeError(f"arange: step must be nonzero and lead from {start} to {end}, got {step}")
    if d is dtypes.int64:  # counted in whole steps then, as in PyTorch
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise RuntimeError("arange: step must be nonzero in whole numbers")
        plain = True
    count = max(len(range(start, end, step)) if plain else math.ceil((end - start) / step), 0)
    if dtypes.category(d) == 1:
        start, step = int(start), int(step)
        raw: Any = np.arange(start, start + count * step, step, dtype=np.int64) if step else np.full(count, start)
    elif plain:
        raw = np.arange(start, start + count * step, step, dtype=np.int64)
    else:  # not added up: each is rounded once
        raw = np.arange(count, dtype=np.float64)
        raw *= step
        raw += start
    return finished(raw.astype(d.dtype, copy=False), device, requires_grad)


def _beside(device: Any, *ends: Any) -> Any:
    """The given device, or that of a tensor among the ends."""
    return device if device is not None else next((x.device for x in ends if isinstance(x, Handle)), None)


def _spaced(start: Any, end: Any, steps: int) -> np.ndarray:
    """From both ends towards the middle, so that both are met."""
    step = (end - start) / (steps - 1) if steps > 1 else 0
    at = np.arange(steps, dtype=np.float64)
    return np.asarray(np.where(at < steps / 2, start + step * at, end - step * (steps - 1 - at)))


def _line(start: Any, end: Any, steps: int, dtype: Any, what: str) -> tuple[np.ndarray, dtypes.dtype]:
    steps = whole(steps, f"{what}: steps")
    if steps < 0:
        raise RuntimeError(f"{what}: number of steps must be non-negative, got {steps}")
    start, end = _scalar(start, what), _scalar(end, what)
    imaginary = isinstance(start, complex) or isinstance(end, complex)
    d = dtypes.get(dtype) if dtype is not None else dtypes.default_complex() if imaginary else None
    d = d or dtypes.get_default_dtype()
    if imaginary and not d.is_complex:
        raise RuntimeError(f"{what}: complex ends do not fit into {d}")
    if dtypes.category(d) == 1:
        start, end = int(start), int(end)
    return _spaced(start, end, steps), d


def _between(start: Any, end: Any, steps: int, d: dtypes.dtype, device: Any) -> Any:
    """As `_line`, of tensors inside a transform, before the result takes its dtype d."""
    whole_ones, wide = dtypes.category(d) == 1, dtypes.complex128 if d.is_complex else dtypes.float64
    start, end = (x.to(d).to(wide) if isinstance(x, Handle) else int(x) if whole_ones else x for x in (start, end))
    at = finished(np.arange(steps, dtype=np.float64), device, False)
    step = (end - start) / max(steps - 1, 1)
    return where(at < steps / 2, start + step * at, end - step * (steps - 1 - at))


def _inside(*ends: Any) -> bool:
    """Whether one of the ends is a tensor inside a transform, which has no value to look at."""
    return any(isinstance(x, Handle) and isinstance(x.raw, Value) for x in ends)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """`steps` evenly spaced values from start to end (numbers or 0-d tensors), both included."""
    if _inside(start, end):
        d = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
        return _between(start, end, steps, d, device).to(d)
    values, d = _line(start, end, steps, dtype, "linspace()")
    return finished(values.astype(d.dtype), _beside(device, start, end), requires_grad)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """base to the power of `steps` evenly spaced values from start to end, both included."""
    if _inside(start, end):
        d = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
        return (base ** _between(start, end, steps, d, device)).to(d)
    values, d = _line(start, end, steps, dtype, "logspace()")
    powers = (np.asarray(base, values.dtype) ** values).astype(d.dtype)
    return finished(powers, _beside(device, start, end), requires_grad)


def eye(
    n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """The identity matrix, n by m."""
    n = whole(n, "eye(): n")
    m = n if m is None else whole(m, "eye(): m")
    if n < 0 or m < 0:
        raise RuntimeError(f"eye(): n and m must not be negative, got {n} and {m}")
    d = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
    return finished(np.eye(n, m, dtype=d.dtype), device, requires_grad)


def _indices(name: str, part: Any, doc: str) -> Any:
    def fn(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None) -> Any:
        row, col = whole(row, f"{name}(): row"), whole(col, f"{name}(): col")
        if row < 0 or col < 0:
            raise RuntimeError(f"{name}(): row and col must not be negative, got {row} and {col}")
        d = dtypes.int64 if dtype is None else dtypes.get(dtype)
        places = np.stack(part(row, whole(offset, f"{name}(): offset"), col))
        return finished(places.astype(d.dtype), device, False)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn


tril_indices = _indices(
    "tril_indices", np.tril_indices, "Rows and columns of the lower triangle of a matrix, as (2, n)."
)
triu_indices = _indices(
    "triu_indices", np.triu_indices, "Rows and columns of the upper triangle of a matrix, as (2, n)."
)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    """Grids of coordinates from vectors: each result has the shape of the whole grid."""
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f"meshgrid: indexing must be one of 'xy' or 'ij', but received: {indexing}")
    xs = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else list(tensors)
    if not xs:
        raise RuntimeError("meshgrid expects a non-empty list of Tensors")
    for x in xs:
        if require_tensor(x, "meshgrid()").ndim > 1:
            raise ShapeError(f"meshgrid: expected 0-d or 1-d tensors, got one of shape {tuple(x.shape)}")
        if x.dtype is not xs[0].dtype:
            raise RuntimeError(f"meshgrid expects all tensors to have the same dtype, got {xs[0].dtype} and {x.dtype}")
    shape = tuple(x.numel() for x in xs)
    grids = [expand(reshape(x, tuple(-1 if k == i else 1 for k in range(len(xs)))), *shape) for i, x in enumerate(xs)]
    if indexing == "xy" and len(xs) > 1:
        grids = [transpose(g, 0, 1) for g in grids]
    return tuple(grids)


def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of one element of each vector, as rows (a single vector as it is)."""
    for x in tensors:
        if require_tensor(x, "cartesian_prod()").ndim != 1:
            raise ShapeError(f"cartesian_prod: expected vectors, got a tensor of shape {tuple(x.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(g, -1) for g in meshgrid(*tensors)], 1)


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All choices of r elements of a vector, in its order, as rows."""
    if require_tensor(input, "combinations()").ndim != 1:
        raise ShapeError(f"combinations: expected a vector, got shape {tuple(input.shape)}")
    if whole(r, "combinations(): r") < 0:
        raise RuntimeError(f"combinations: r must not be negative, got {r}")
    if r == 0:
        return input.new_empty(0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    return input[finished(places, input.device, False)]
