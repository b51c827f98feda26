"""Convolutions. The 2-d primitive is the engine's, the 1-d form is the 2-d one on an image of height 1."""

from __future__ import annotations

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.tensor import Tensor

Size = int | tuple[int, ...] | list[int]


def tuple_of(value: Size, count: int, name: str) -> tuple[int, ...]:
    """`value` for each of `count` spatial dimensions. ValueError names the argument."""
    if isinstance(value, int):
        return (value,) * count
    if len(value) != count:
        raise ValueError(f"{name} must be an int or {count} ints, got {value!r}")
    return tuple(value)


def same_padding(kernel_size: tuple[int, ...], dilation: tuple[int, ...]) -> list[tuple[int, int]]:
    """(before, after) for each dimension, so that a stride of 1 keeps the size; the odd one goes after."""
    totals = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def batched(name: str, input: Tensor, spatial: int) -> tuple[Tensor, bool]:
    """The input with a batch dimension, and whether it had one. ShapeError for any other number of dimensions."""
    if input.ndim == spatial + 2:
        return input, True
    if input.ndim == spatial + 1:
        return input.unsqueeze(0), False
    raise ShapeError(
        f"{name}: expected {spatial + 2} dimensions (batch, channels, ...) or {spatial + 1} (one sample), "
        f"got {input.ndim}: {tuple(input.shape)}"
    )


def _check(name: str, input: Tensor, weight: Tensor, groups: int) -> None:
    expected = weight.shape[1] * groups
    if input.shape[1] != expected:
        in_groups = f" in {groups} groups" if groups > 1 else ""
        raise ShapeError(
            f"{name}: the input has {input.shape[1]} channels (input {tuple(input.shape)}), "
            f"the weight {tuple(weight.shape)} expects {expected}{in_groups}"
        )


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation.   input: (N, C, H, W) or (C, H, W), weight: (out, C / groups, kh, kw) -> (N, out, H', W')

    H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1. `padding` may be 'same' (stride 1) or 'valid'.
    """
    x, has_batch = batched("conv2d", input, 2)
    _check("conv2d", x, weight, groups)
    stride, dilation = tuple_of(stride, 2, "stride"), tuple_of(dilation, 2, "dilation")
    sides = _sides(padding, tuple(weight.shape[2:]), stride, dilation)
    out = T.conv2d(x, weight, bias, stride, tuple(after for _, after in sides), dilation, groups)
    if any(before != after for before, after in sides):
        (top, bottom), (left, right) = sides  # padded alike on both sides: what the extra row or column made is cut off
        out = out[:, :, bottom - top :, right - left :]
    return out if has_batch else out.squeeze(0)


def _sides(
    padding: Size | str, kernel_size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> list[tuple[int, int]]:
    """(before, after) for each spatial dimension."""
    if not isinstance(padding, str):
        return [(n, n) for n in tuple_of(padding, len(stride), "padding")]
    if padding == "valid":
        return [(0, 0)] * len(stride)
    if padding != "same":
        raise ValueError(f"padding must be 'same', 'valid' or numbers, got {padding!r}")
    if any(step != 1 for step in stride):
        raise ValueError("padding='same' is not supported for strided convolutions")
    return same_padding(kernel_size, dilation)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation.   input: (N, C, L) or (C, L), weight: (out, C / groups, k) -> (N, out, L')"""
    x, has_batch = batched("conv1d", input, 1)
    _check("conv1d", x, weight, groups)
    if not isinstance(padding, str):
        padding = (0, *tuple_of(padding, 1, "padding"))
    stride, dilation = (1, *tuple_of(stride, 1, "stride")), (1, *tuple_of(dilation, 1, "dilation"))
    out = conv2d(x.unsqueeze(2), weight.unsqueeze(2), bias, stride, padding, dilation, groups).squeeze(2)
    return out if has_batch else out.squeeze(0)
