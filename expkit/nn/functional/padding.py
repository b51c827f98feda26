"""Padding by a value, by reflection, by the edge, or around: torch.nn.functional.pad."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.tensor import Tensor
from expkit.tensor.ops.movement import pad_p

Places = Callable[[int, int, int], np.ndarray]


def _around(n: int, a: int, b: int) -> np.ndarray:
    """What a negative side crops is gone before the rest goes around."""
    left = n + min(a, 0) + min(b, 0)
    return np.arange(-max(a, 0), left + max(b, 0)) % left - min(a, 0)


# mode: which elements of an axis of n stand at its places after padding by a and b
PLACES: dict[str, Places] = {
    "reflect": lambda n, a, b: (n - 1) - abs((n - 1) - abs(np.arange(-a, n + b))),
    "replicate": lambda n, a, b: np.arange(-a, n + b).clip(0, n - 1),
    "circular": _around,
}
_MOST = {"reflect": (-1, "less than"), "circular": (0, "at most")}  # the largest padding, less the axis's size


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """The last dimensions longer by pad = (before the last, after it, before the last but one, ...).

    mode: "constant" (`value`, 0 unless given; negative paddings crop), "reflect" (about the edge elements), "replicate"
    (the edge elements), "circular" (around). The latter three pad the last one to three of 2 to 5 dimensions.
    """
    pads = [int(n) for n in pad]
    if len(pads) % 2:
        raise ShapeError(f"pad: Padding length must be divisible by 2, got {len(pads)} numbers")
    if len(pads) > 2 * input.ndim:
        raise ShapeError(
            f"pad: Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pads)} and input of dimension {input.ndim}"
        )
    pairs = list(zip(pads[::2], pads[1::2], strict=True))
    if mode == "constant":
        return _constant(input, pairs, 0.0 if value is None else value)
    if mode not in PLACES:
        raise NotImplementedError(f"pad: unrecognised mode {mode!r}: constant, reflect, replicate or circular")
    if value is not None:
        raise ValueError(f"pad: mode {mode!r} doesn't take in value argument")
    if not (0 < len(pairs) <= 3 and input.ndim - len(pairs) in (1, 2)):
        raise NotImplementedError(
            f"pad: mode {mode!r} pads the last 1, 2 or 3 of (C, ...) or (N, C, ...) dimensions: "
            f"got {len(pads)} numbers for an input of shape {tuple(input.shape)}"
        )
    out = input
    for dim, (a, b) in zip(range(-1, -1 - len(pairs), -1), pairs, strict=True):
        out = _by_places(out, dim, a, b, mode)
    return out


def _constant(x: Tensor, pairs: list[tuple[int, int]], value: float) -> Tensor:
    every = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    for dim, (a, b) in enumerate(every):
        if min(a, b) < 0:
            length = x.shape[dim] + min(a, 0) + min(b, 0)
            if length < 0:
                raise ShapeError(f"pad: dimension {dim} of {tuple(x.shape)} is too small to crop by {a} and {b}")
            x = x.narrow(dim, max(-a, 0), length)
    widths = tuple((max(a, 0), max(b, 0)) for a, b in every)
    if not any(a or b for a, b in widths):
        return x.clone()
    return pad_p(x, widths=widths, value=bool(value) if x.dtype is T.bool_ else value)


def _by_places(x: Tensor, dim: int, a: int, b: int, mode: str) -> Tensor:
    n = x.shape[dim]
    if mode in _MOST:
        most, words = _MOST[mode]
        cropped = n + min(a, 0) + min(b, 0) if mode == "circular" else n
        if max(a, b) > cropped + most:
            raise ShapeError(
                f"pad: padding size should be {words} the corresponding input dimension, but got: padding ({a}, {b}) "
                f"at dimension {dim} of input {tuple(x.shape)}"
            )
    if n + a + b < 1 or (n == 0 and a + b > 0):
        raise ShapeError(f"pad: dimension {dim} of {tuple(x.shape)}, padded by {a} and {b}, would have no elements")
    if a == b == 0:
        return x
    places = T.tensor(PLACES[mode](n, a, b), dtype=T.int64, device=x.device)
    return T.index_select(x, dim, places)
