"""Pooling. The 2-d primitives are the engine's, the 1-d forms are the 2-d ones on an image of height 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.tensor import Tensor
from expkit.tensor.ops.windows import per_axis, with_batch

Size = int | tuple[int, ...] | list[int]


def tuple_of(value: Any, count: int, name: str) -> tuple[int, ...]:
    return per_axis("pooling", count, **{name: value})[0]


def batched(name: str, x: Tensor, spatial: int) -> tuple[Tensor, bool]:
    return with_batch(x, spatial, name)


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Greatest value of each window.   input: (N, C, H, W) or (C, H, W); stride None: the kernel's size"""
    kernel, step, pad = _windows(kernel_size, stride, padding, 2)
    steps = tuple_of(dilation, 2, "dilation")
    x, has_batch = batched("max_pool2d", input, 2)
    _fits("max_pool2d", x, kernel, pad, steps)
    out = T.max_pool2d(x, kernel, step, pad, steps, ceil_mode)
    return out if has_batch else out.squeeze(0)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window.   input: (N, C, H, W) or (C, H, W); stride None: the kernel's size"""
    kernel, step, pad = _windows(kernel_size, stride, padding, 2)
    x, has_batch = batched("avg_pool2d", input, 2)
    _fits("avg_pool2d", x, kernel, pad, (1, 1))
    out = T.avg_pool2d(x, kernel, step, pad, ceil_mode, count_include_pad, divisor_override)
    return out if has_batch else out.squeeze(0)


def _windows(
    kernel_size: Size, stride: Size | None, padding: Size, spatial: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    kernel = tuple_of(kernel_size, spatial, "kernel_size")
    pad = tuple_of(padding, spatial, "padding")
    if any(p > k // 2 for p, k in zip(pad, kernel, strict=True)):
        raise ValueError(f"padding must be at most half of the kernel size, got padding={pad}, kernel_size={kernel}")
    return kernel, kernel if stride is None else tuple_of(stride, spatial, "stride"), pad


def _fits(name: str, x: Tensor, kernel: tuple[int, ...], pad: tuple[int, ...], dilation: tuple[int, ...]) -> None:
    """ShapeError where a window is larger than the padded image."""
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(r > n + 2 * p for r, n, p in zip(reach, x.shape[2:], pad, strict=True)):
        raise ShapeError(
            f"{name}: windows of {kernel} (dilation {dilation}, padding {pad}) do not fit in images of "
            f"{tuple(x.shape[2:])} (input {tuple(x.shape)})"
        )


def _on_lines(name: str, pool: Callable[..., Tensor], input: Tensor, **kw: Any) -> Tensor:
    """A 2-d pooling of (N, C, L) or (C, L) taken as images of height 1."""
    x, has_batch = batched(name, input, 1)
    out = pool(x.unsqueeze(2), **kw).squeeze(2)
    return out if has_batch else out.squeeze(0)


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Greatest value of each window.   input: (N, C, L) or (C, L); stride None: the kernel's size"""
    (k,), (s,), (p,) = _windows(kernel_size, stride, padding, 1)
    steps = (1, *tuple_of(dilation, 1, "dilation"))
    kw = {"kernel_size": (1, k), "stride": (1, s), "padding": (0, p), "dilation": steps, "ceil_mode": ceil_mode}
    return _on_lines("max_pool1d", max_pool2d, input, **kw)


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window.   input: (N, C, L) or (C, L); stride None: the kernel's size"""
    (k,), (s,), (p,) = _windows(kernel_size, stride, padding, 1)
    kw = {"kernel_size": (1, k), "stride": (1, s), "padding": (0, p), "ceil_mode": ceil_mode}
    return _on_lines("avg_pool1d", avg_pool2d, input, **kw, count_include_pad=count_include_pad)


def _means(size: int, out: int, like: Tensor) -> Tensor:
    """(out, size): row i averages the elements from floor(i size / out) to ceil((i + 1) size / out)."""
    rows = np.zeros((out, size), dtype=np.float64)
    for i in range(out):
        start, end = i * size // out, -(-(i + 1) * size // out)
        rows[i, start:end] = 1 / (end - start)
    return T.tensor(rows, dtype=like.dtype, device=like.device)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means over windows that cut the image into `output_size` (an int or two; None keeps that dimension's size)."""
    x, has_batch = batched("adaptive_avg_pool2d", input, 2)
    height, width = x.shape[2:]
    sizes = (output_size, output_size) if isinstance(output_size, int | None) else tuple(output_size)
    out_h, out_w = (n if out is None else out for n, out in zip((height, width), sizes, strict=True))
    if (out_h, out_w) == (1, 1):
        out = x.mean((2, 3), keepdim=True)
    elif height % out_h == 0 and width % out_w == 0:
        out = T.avg_pool2d(x, (height // out_h, width // out_w))
    else:
        out = T.matmul(T.matmul(_means(height, out_h, x), x), _means(width, out_w, x).T)
    return out if has_batch else out.squeeze(0)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means over windows that cut the line into `output_size` pieces.   input: (N, C, L) or (C, L)"""
    (size,) = tuple_of(output_size, 1, "output_size")
    return _on_lines("adaptive_avg_pool1d", adaptive_avg_pool2d, input, output_size=(1, size))
