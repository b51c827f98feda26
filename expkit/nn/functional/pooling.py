"""Pooling beside maxima and averages: power averages, fractional maxima, and maxima put back where they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.tensor import Tensor
from expkit.tensor.ops.pool import avg_pool1d, avg_pool2d, avg_pool3d, picked
from expkit.tensor.ops.windows import Sizes, check_rank, per_axis

# ---- power averages --------------------------------------------------------------------------------------------------


def _power_average(average: Callable[..., Tensor], spatial: int) -> Callable[..., Tensor]:
    name = f"lp_pool{spatial}d"

    def fn(
        input: Tensor, norm_type: int | float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> Tensor:
        check_rank(name, input, spatial)
        (kernel,) = per_axis(name, spatial, kernel_size=kernel_size)
        mean = average(T.pow(input, norm_type), kernel_size, stride, 0, ceil_mode)
        return T.pow(T.sign(mean) * T.relu(T.abs(mean)) * prod(kernel), 1.0 / norm_type)

    return _named(fn, name, spatial, "(Sum of x^p)^(1/p) over each window; p = 1 sums, p = infinity would be maxima.")


def _named(fn: Any, name: str, spatial: int, summary: str) -> Any:
    axes = ", ".join("DHW"[-spatial:]) if spatial > 1 else "L"
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"{summary}\n\n    input: (N, C, {axes}) or (C, {axes}). Arguments and defaults are PyTorch's.\n    "
    return fn


lp_pool1d, lp_pool2d, lp_pool3d = (
    _power_average(average, n) for n, average in enumerate((avg_pool1d, avg_pool2d, avg_pool3d), 1)
)

# ---- fractional maxima -----------------------------------------------------------------------------------------------


def _fractional(spatial: int) -> Callable[..., Any]:
    name = f"fractional_max_pool{spatial}d"

    def fn(
        input: Tensor,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        batched = check_rank(name, input, spatial)
        x = input if batched else input.unsqueeze(0)
        sizes = tuple(x.shape[2:])
        (kernel,) = per_axis(name, spatial, kernel_size=kernel_size)
        out = _fractional_sizes(name, sizes, output_size, output_ratio)
        if 0 in x.shape[1:]:
            raise ShapeError(f"{name}: the input has an empty dimension beside the batch, shape {tuple(x.shape)}")
        spare = spatial - 2  # PyTorch wants one more element for volumes
        if any(m + k - 1 + spare > n for m, k, n in zip(out, kernel, sizes, strict=True)):
            raise ShapeError(f"{name}: {out} windows of {kernel} do not fit an input of {sizes}")
        samples = _samples(name, x, _random_samples, spatial)
        order = (1, 0) if spatial == 2 else (0, 1, 2)  # of the samples: as PyTorch takes them
        axes = zip(order, sizes, out, kernel, strict=True)
        starts = [_starts(samples[:, :, i], n, m, k) for i, n, m, k in axes]
        values, places = _maxima(x, starts, kernel)
        if not batched:
            values, places = values.squeeze(0), places.squeeze(0)
        return (values, places) if return_indices else values

    return _named(
        fn, name, spatial, "Maxima over windows placed pseudo-randomly, for output sizes of any ratio (Graham, 2015)."
    )


def _fractional_sizes(name: str, sizes: Sizes, output_size: Any, output_ratio: Any) -> Sizes:
    if (output_size is None) == (output_ratio is None):
        raise ValueError(f"{name}: give one of output_size and output_ratio, and not both")
    if output_size is not None:
        return per_axis(name, len(sizes), output_size=output_size)[0]
    ratios = tuple(output_ratio) if isinstance(output_ratio, Sequence) else (output_ratio,) * len(sizes)
    if len(ratios) != len(sizes) or any(not 0 < r < 1 for r in ratios):
        raise ValueError(f"{name}: output_ratio must be {len(sizes)} numbers between 0 and 1, got {output_ratio!r}")
    return tuple(int(n * r) for n, r in zip(sizes, ratios, strict=True))


def _samples(name: str, x: Tensor, given: Tensor | None, spatial: int) -> Tensor:
    """Numbers in [0, 1), one for each axis of each plane: (N, C, spatial)."""
    shape = (*x.shape[:2], spatial)
    if given is None:
        return T.rand(shape, dtype=x.dtype, device=x.device)
    if given.ndim == 3 and given.shape[0] > shape[0]:  # those of a larger batch do as well
        given = given[: shape[0]]
    if tuple(given.shape) != shape or given.dtype != x.dtype:
        raise ShapeError(
            f"{name}: _random_samples must have shape {shape} and dtype {x.dtype}, "
            f"got {tuple(given.shape)} and {given.dtype}"
        )
    return given


def _starts(sample: Tensor, n: int, out: int, kernel: int) -> Tensor:
    """Where the `out` windows of an axis of n begin: int((i + u) alpha) - int(u alpha), and the last one at the end."""
    last = T.full((1,), n - kernel, dtype=T.int64, device=sample.device).expand(*sample.shape, 1)
    if out == 1:
        return last
    alpha = T.tensor((n - kernel) / (out - 1), dtype=sample.dtype, device=sample.device)
    at = T.arange(out - 1, dtype=sample.dtype, device=sample.device)
    u = sample.unsqueeze(-1)
    return T.cat([((at + u) * alpha).to(T.int64) - (u * alpha).to(T.int64), last], -1)


def _maxima(x: Tensor, starts: list[Tensor], kernel: Sizes) -> tuple[Tensor, Tensor]:
    """(maxima, their flat places) of the windows that begin at the products of `starts`, (N, C, out) for each axis."""
    spatial, places = len(kernel), T.zeros((), dtype=T.int64, device=x.device)
    for i, (start, k, n) in enumerate(zip(starts, kernel, x.shape[2:], strict=True)):
        shape = [1] * (2 * spatial)
        shape[i], shape[spatial + i] = start.shape[2], k
        taps = start.unsqueeze(-1) + T.arange(k, device=x.device)
        places = places * n + taps.reshape(*x.shape[:2], *shape)
    every = places.flatten(2 + spatial)
    windows = T.gather(x.flatten(2), 2, every.flatten(2)).reshape(every.shape)
    found = T.gather(every, -1, windows.detach().argmax(-1).unsqueeze(-1)).squeeze(-1)
    return picked(x, found, spatial), found


fractional_max_pool2d, fractional_max_pool3d = (_fractional(n) for n in (2, 3))

# ---- maxima put back -------------------------------------------------------------------------------------------------


def _unpool(spatial: int) -> Callable[..., Tensor]:
    name = f"max_unpool{spatial}d"

    def fn(
        input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
    ) -> Tensor:
        check_rank(name, input, spatial)
        if tuple(indices.shape) != tuple(input.shape):
            raise ShapeError(
                f"{name}: expected indices of the input's shape {tuple(input.shape)}, got {tuple(indices.shape)}"
            )
        if indices.dtype != T.int64:
            raise TypeError(f"{name}: indices must be int64, as return_indices=True gives them, got {indices.dtype}")
        kernel, pads = per_axis(name, spatial, kernel_size=kernel_size, padding=padding)
        steps = kernel if stride is None or stride == () else per_axis(name, spatial, stride=stride)[0]
        size = _unpooled(name, input, kernel, steps, pads, output_size)
        flat = T.zeros((*input.shape[:-spatial], prod(size)), dtype=input.dtype, device=input.device)
        if not input.numel():
            return flat.reshape(*input.shape[:-spatial], *size)
        return T.scatter(flat, -1, indices.flatten(-spatial), input.flatten(-spatial)).reshape(
            *input.shape[:-spatial], *size
        )

    return _named(fn, name, spatial, "The maxima of a pooling at the places where they were (`indices`), else zeros.")


def _unpooled(name: str, x: Tensor, kernel: Sizes, stride: Sizes, pads: Sizes, output_size: Any) -> Sizes:
    """The size of the result; what is asked for may be off from the computed one by less than a stride."""
    spatial = len(kernel)
    ends = zip(x.shape[x.ndim - spatial :], kernel, stride, pads, strict=True)
    usual = tuple((n - 1) * s + k - 2 * p for n, k, s, p in ends)
    if output_size is None:
        return usual
    size = tuple(output_size)
    size = size[2:] if len(size) == spatial + 2 else size
    if len(size) != spatial:
        raise ValueError(f"{name}: output_size should have {spatial} or {spatial + 2} entries, got {output_size}")
    if any(not n - s < m < n + s for m, n, s in zip(size, usual, stride, strict=True)):
        raise ValueError(f"{name}: output_size {size} must lie within a stride {stride} of {usual}")
    return size


max_unpool1d, max_unpool2d, max_unpool3d = (_unpool(n) for n in (1, 2, 3))
