"""Windows over the last axes of raw arrays: the geometry that convolution and pooling share.

A window is given per spatial axis by `kernel` (its taps), `stride`, `dilation` and `padding` ((before, after); negative
ones crop). `taps` walks over the places in a window; `windows` shows all of them at once, without a copy.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from math import prod
from typing import Any

import numpy as np

from expkit.autograd.equations import Var
from expkit.autograd.handle import ARRAYS
from expkit.autograd.mode import open_trace
from expkit.errors import ShapeError
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.special import is_float

Pads = tuple[tuple[int, int], ...]
Sizes = tuple[int, ...]


def all_raw(*values: Any) -> bool:
    """Whether a gradient rule runs on arrays: it may then take a shorter way than through primitives."""
    return all(v.__class__ in ARRAYS.raw_types for v in values)


def recordable(*values: Any) -> bool:
    """Whether a gradient rule may be one primitive: on arrays, or on Vars, which a live trace hands arrays to.

    Other interpreters, and Tensors whose gradients are to be differentiated again, need the rule in small steps.
    """
    return all(
        v.__class__ in ARRAYS.raw_types or (isinstance(v, Var) and v.trace.live and open_trace() is v.trace)
        for v in values
    )


def in_float32(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function of arrays, computed in float32 for two-byte floats and rounded once."""

    @wraps(fn)
    def impl(*arrays: Any, **kw: Any) -> Any:
        d = arrays[0].dtype
        if d.itemsize != 2 or not is_float(arrays[0]):
            return fn(*arrays, **kw)
        return fn(*(a.astype(np.float32) for a in arrays), **kw).astype(d)

    return impl


def padded(x: Any, padding: Pads, value: float = 0) -> Any:
    """x with `padding` around its last axes."""
    if not any(lo or hi for lo, hi in padding):
        return x
    lead = x.ndim - len(padding)
    inside, source = [slice(None)] * lead, [slice(None)] * lead
    shape = list(x.shape[:lead])
    for n, (lo, hi) in zip(x.shape[lead:], padding, strict=True):
        shape.append(n + lo + hi)
        inside.append(slice(max(lo, 0), n + lo + min(hi, 0)))
        source.append(slice(max(-lo, 0), n + min(hi, 0)))
    xp = xp_of(x)
    out = xp.zeros(tuple(shape), x.dtype) if value == 0 else xp.full(tuple(shape), value, x.dtype)
    out[tuple(inside)] = x[tuple(source)]
    return out


def reach(kernel: Sizes, dilation: Sizes) -> Sizes:
    """How many elements a window spans on each axis."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def out_sizes(sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Sizes:
    """How many windows fit on each axis."""
    spans = reach(kernel, dilation)
    return tuple((n + lo + hi - r) // s + 1 for n, r, s, (lo, hi) in zip(sizes, spans, stride, padding, strict=True))


def windows(x: Any, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes) -> Any:
    """A read-only view (..., *kernel, *out) of a padded x: element k of the window at position p."""
    n = len(kernel)
    inner = x.strides[x.ndim - n :]
    strides = (
        *x.strides[: x.ndim - n],
        *(s * d for s, d in zip(inner, dilation, strict=True)),
        *(s * t for s, t in zip(inner, stride, strict=True)),
    )
    return xp_of(x).lib.stride_tricks.as_strided(x, (*x.shape[: x.ndim - n], *kernel, *out), strides)


def taps(kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes) -> Iterator[tuple[Sizes, tuple[Any, ...]]]:
    """(place k in the window, the key that selects element k of every window from a padded array)."""
    for place in itertools.product(*map(range, kernel)):
        spans = (
            slice(k * d, k * d + (m - 1) * s + 1, s) for k, d, s, m in zip(place, dilation, stride, out, strict=True)
        )
        yield place, (..., *spans)


def chunks(count: int, size: int, limit: int) -> Iterator[slice]:
    """Slices of `count` items of `size` bytes each that stay below `limit` bytes, or of one item."""
    step = max(1, limit // max(size, 1))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def numel(sizes: Sizes) -> int:
    return prod(sizes)


# ---- arguments -------------------------------------------------------------------------------------------------------


LEAST = {"kernel_size": 1, "stride": 1, "dilation": 1, "padding": 0, "output_padding": 0, "output_size": 1}


def per_axis(name: str, spatial: int, **arguments: Any) -> list[Sizes]:
    """Each argument, an int or a sequence of ints, as `spatial` ints. ValueError names function and argument."""
    return [_ints(f"{name}: {what}", value, spatial, LEAST[what]) for what, value in arguments.items()]


def _ints(what: str, value: Any, count: int, least: int) -> Sizes:
    items = (value,) * count if isinstance(value, int) else tuple(value)
    if len(items) == 1:
        items *= count
    if len(items) != count or any(not isinstance(n, int) or isinstance(n, bool) for n in items):
        raise ValueError(f"{what} must be an int or {count} ints, got {value!r}")
    if any(n < least for n in items):
        raise ValueError(f"{what} must be at least {least}, got {value!r}")
    return items


def check_rank(name: str, x: Any, spatial: int) -> bool:
    """Whether the input has a batch axis. ShapeError where it is neither (N, C, ...) nor (C, ...)."""
    if x.ndim in (spatial + 1, spatial + 2):
        return bool(x.ndim == spatial + 2)
    axes = ", ".join(("C", *("L" if spatial == 1 else "DHW"[-spatial:])))
    raise ShapeError(
        f"{name}: expected {spatial + 2} dimensions (N, {axes}) or {spatial + 1} ({axes}), "
        f"but got an input of shape {tuple(x.shape)}"
    )


def geometry(name: str, x: Any, spatial: int, *arguments: Any) -> dict[str, Any]:
    """Canonical parameters of a pooling from kernel_size, stride, padding, dilation and ceil_mode, in this order."""
    check_rank(name, x, spatial)
    if 0 in x.shape[-spatial - 1 :]:
        raise ShapeError(f"{name}: only the batch may be empty, but the input has shape {tuple(x.shape)}")
    hashable = (tuple(a) if isinstance(a, list) else a for a in arguments)
    return dict(_geometry(name, tuple(x.shape), spatial, *hashable))


@lru_cache(maxsize=1024, typed=True)
def _geometry(
    name: str, shape: Sizes, spatial: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Any]:
    """ceil_mode is more padding behind, for one more window that starts inside."""
    kernel, pads, spread = per_axis(name, spatial, kernel_size=kernel_size, padding=padding, dilation=dilation)
    steps = kernel if stride is None or stride == () else per_axis(name, spatial, stride=stride)[0]
    spans, sizes = reach(kernel, spread), shape[len(shape) - spatial :]
    if any(2 * p > r for p, r in zip(pads, spans, strict=True)):
        raise ValueError(
            f"{name}: padding must be at most half of the kernel size, got padding={pads}, kernel={kernel}"
        )
    sides = []
    for n, r, s, p in zip(sizes, spans, steps, pads, strict=True):
        more = -(n + 2 * p - r) % s if ceil_mode else 0
        if more and (n + 2 * p + more - r) // s * s >= n + p:  # it would start in the padding behind
            more = 0
        sides.append((p, p + more))
    if any(n + lo + hi < r for n, r, (lo, hi) in zip(sizes, spans, sides, strict=True)):
        raise ShapeError(f"{name}: windows that span {spans} do not fit an input of shape {shape}, padding {pads}")
    axes = zip(sizes, kernel, steps, sides, spread, strict=True)
    if max(spread) > 1 and max(pads) and any(_misses(*axis) for axis in axes):
        raise ShapeError(f"{name}: a window lies in the padding altogether, input {shape}, dilation {spread}")
    return {"kernel": kernel, "stride": steps, "padding": tuple(sides), "dilation": spread, "plain": pads}


def _misses(n: int, kernel: int, stride: int, sides: tuple[int, int], dilation: int) -> bool:
    """Whether the steps of some dilated window jump over all n elements of an axis."""
    lo, hi = sides
    starts = range(-lo, n + hi - dilation * (kernel - 1), stride)
    return any(not any(0 <= a + i * dilation < n for i in range(kernel)) for a in starts)


def adaptive_sizes(name: str, x: Any, spatial: int, output_size: Any) -> Sizes:
    """output_size as ints; None keeps an axis as it is."""
    check_rank(name, x, spatial)
    sizes = tuple(x.shape[x.ndim - spatial :])
    wanted = (output_size,) * spatial if isinstance(output_size, int | None) else tuple(output_size)
    if len(wanted) != spatial:
        raise ValueError(f"{name}: output_size must be an int or {spatial} ints, got {output_size!r}")
    filled = tuple(n if m is None else m for n, m in zip(sizes, wanted, strict=True))
    if any(n == 0 for n in sizes):
        raise ShapeError(f"{name}: the input has no elements to pool, shape {tuple(x.shape)}")
    return per_axis(name, spatial, output_size=filled)[0]


def tiles(sizes: Sizes, out: Sizes) -> Sizes | None:
    """The size of the windows, where they are all equal."""
    return (
        None
        if any(n % m for n, m in zip(sizes, out, strict=True))
        else tuple(n // m for n, m in zip(sizes, out, strict=True))
    )
