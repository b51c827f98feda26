"""Images read at arbitrary places: grid_sample, and the grids of affine maps (Jaderberg et al., 2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.tensor import Tensor

MODES = ("bilinear", "nearest", "bicubic")
PADDING = ("zeros", "border", "reflection")
Tap = tuple[Tensor, Tensor]  # where along an axis (whole numbers, as floats), and with which weight


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The input at the places of `grid`, interpolated.

    input: (N, C, H, W) or (N, C, D, H, W), grid: (N, *out, 2 or 3) with coordinates (x, y[, z]) in [-1, 1]
    -> (N, C, *out). -1 and 1 mean the centres of the edge pixels (`align_corners`), else their outer edges.

    mode: bilinear (trilinear for volumes), nearest, bicubic (images only; A = -0.75). padding_mode: what lies outside:
    zeros, border (the edge), reflection. A coordinate that is NaN counts as -1.
    """
    _check(input, grid, mode, padding_mode)
    sizes, corners = tuple(input.shape[2:]), bool(align_corners)
    grid = T.where(T.isnan(grid), -1.0, grid)
    where = [_in_pixels(grid[..., len(sizes) - 1 - i], n, corners) for i, n in enumerate(sizes)]
    inside = _INSIDE[padding_mode]
    if mode == "bicubic":
        taps = [_cubic(c, n, inside, corners) for c, n in zip(where, sizes, strict=True)]
    else:
        take = _nearest if mode == "nearest" else _linear
        taps = [take(inside(c, n, corners)) for c, n in zip(where, sizes, strict=True)]
    return _blend(input, taps, tuple(grid.shape[1:-1]))


def _check(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"grid_sample: mode must be one of {', '.join(MODES)}, got {mode!r}")
    if padding_mode not in PADDING:
        raise ValueError(f"grid_sample: padding_mode must be one of {', '.join(PADDING)}, got {padding_mode!r}")
    spatial = input.ndim - 2
    if spatial not in (2, 3) or grid.ndim != input.ndim:
        raise ShapeError(
            "grid_sample: expected an input of 4 or 5 dimensions and a grid of as many, "
            f"got {tuple(input.shape)} and {tuple(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise ShapeError(f"grid_sample: the batch sizes differ: {tuple(input.shape)} and {tuple(grid.shape)}")
    if grid.shape[-1] != spatial:
        raise ShapeError(f"grid_sample: the grid's last dimension must be {spatial}, got {tuple(grid.shape)}")
    if 0 in input.shape[2:]:
        raise ShapeError(f"grid_sample: the input has no pixels, shape {tuple(input.shape)}")
    if mode == "bicubic" and spatial != 2:
        raise ShapeError("grid_sample: mode='bicubic' takes inputs of 4 dimensions only")
    if not input.dtype.is_floating_point or input.dtype != grid.dtype:
        raise RuntimeError(
            f"grid_sample: input and grid must have one floating-point dtype, got {input.dtype} and {grid.dtype}"
        )


def _in_pixels(c: Tensor, n: int, corners: bool) -> Tensor:
    return (c + 1) * ((n - 1) / 2) if corners else (c + 1) * (n / 2) - 0.5


# ---- what lies outside -----------------------------------------------------------------------------------------------


def _anywhere(c: Tensor, n: int, corners: bool) -> Tensor:
    return c


def _clipped(c: Tensor, n: int, corners: bool) -> Tensor:
    """Within [0, n - 1]; there is no gradient at the ends, as in PyTorch."""
    return T.where((c > 0) & (c < n - 1), c, c.detach().clamp(0, n - 1))


def _reflected(c: Tensor, n: int, corners: bool) -> Tensor:
    """Mirrored at the centres of the edge pixels, or at their outer edges."""
    low, span = (0.0, n - 1.0) if corners else (-0.5, float(n))
    if span == 0:
        return c.detach() * 0
    away = T.abs(c - low)
    rest = T.fmod(away, span)
    turns = T.floor(away.detach() / span)
    return _clipped(T.where(T.fmod(turns, 2.0) == 0, rest, span - rest) + low, n, corners)


_INSIDE: dict[str, Callable[[Tensor, int, bool], Tensor]] = {
    "zeros": _anywhere, "border": _clipped, "reflection": _reflected,
}  # fmt: skip

# ---- taps along an axis ----------------------------------------------------------------------------------------------


def _nearest(c: Tensor) -> list[Tap]:
    """The weight is 1 and has a gradient of zeros, as PyTorch's."""
    return [(T.round(c.detach()), T.where(T.isnan(c), c, 1.0))]


def _linear(c: Tensor) -> list[Tap]:
    first = T.floor(c.detach())
    share = c - first
    return [(first, 1 - share), (first + 1, share)]


def _cubic(c: Tensor, n: int, inside: Callable[[Tensor, int, bool], Tensor], corners: bool) -> list[Tap]:
    """Keys' convolution kernel with A = -0.75; each tap by itself is brought inside."""
    first = T.floor(c.detach())
    t = c - first

    def near(d: Tensor) -> Tensor:
        return (1.25 * d - 2.25) * d * d + 1

    def far(d: Tensor) -> Tensor:
        return -0.75 * (((d - 5) * d + 8) * d - 4)

    weights = (far(t + 1), near(t), near(1 - t), far(2 - t))
    return [(T.trunc(inside(first + k, n, corners)), w) for k, w in zip((-1, 0, 1, 2), weights, strict=True)]


def _blend(input: Tensor, taps: Sequence[Sequence[Tap]], out: tuple[int, ...]) -> Tensor:
    """The sum over all combinations of the axes' taps of weight times pixel; pixels outside count as zeros."""
    flat = input.flatten(2)
    nothing = T.zeros((), dtype=input.dtype, device=input.device)
    parts = []
    for corner in product(*taps):
        at, seen = _place([place for place, _ in corner], tuple(input.shape[2:]))
        at = at.reshape(at.shape[0], 1, -1).expand(*flat.shape[:2], -1)
        part = T.where(seen.unsqueeze(1), T.gather(flat, 2, at).reshape(*flat.shape[:2], *out), nothing)
        parts.append(reduce(T.mul, [share.unsqueeze(1) for _, share in corner], part))
    return reduce(T.add, parts)


def _place(places: Sequence[Tensor], sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(flat indices into an image, whether they lie inside)."""
    flat = [p.clamp(0, n - 1).to(T.int64) for p, n in zip(places, sizes, strict=True)]
    at = reduce(lambda index, axis: index * axis[1] + axis[0], zip(flat[1:], sizes[1:], strict=True), flat[0])
    seen = reduce(T.logical_and, [(p >= 0) & (p < n) for p, n in zip(places, sizes, strict=True)])
    return at, seen


# ---- grids -----------------------------------------------------------------------------------------------------------


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Where an affine map takes each pixel of an image: a grid for `grid_sample`.

    theta: (N, 2, 3) and size (N, C, H, W) -> (N, H, W, 2); or (N, 3, 4) and (N, C, D, H, W) -> (N, D, H, W, 3).
    """
    spatial = len(size) - 2
    if not theta.dtype.is_floating_point:
        raise ValueError(f"affine_grid: theta must be floating-point, got {theta.dtype}")
    if spatial not in (2, 3):
        raise NotImplementedError(f"affine_grid: size must have 4 or 5 entries, got {tuple(size)}")
    if tuple(theta.shape[1:]) != (spatial, spatial + 1) or theta.ndim != 3:
        raise ValueError(
            f"affine_grid: expected theta of shape (N, {spatial}, {spatial + 1}) for size {tuple(size)}, "
            f"got {tuple(theta.shape)}"
        )
    if min(size) <= 0:
        raise ValueError(f"affine_grid: expected non-zero, positive output sizes, got {tuple(size)}")
    axes = []
    for i, n in enumerate(size[2:]):
        line = T.linspace(-1, 1, n, dtype=theta.dtype, device=theta.device)
        if n == 1:
            line = T.zeros_like(line)
        elif not align_corners:
            line = line * ((n - 1) / n)
        axes.append(line.reshape([-1 if k == i else 1 for k in range(spatial)]).expand(*size[2:]))
    ones = T.ones(tuple(size[2:]), dtype=theta.dtype, device=theta.device)
    places = T.stack([*reversed(axes), ones], -1).reshape(-1, spatial + 1)
    return T.matmul(places, theta.transpose(1, 2)).reshape(theta.shape[0], *size[2:], spatial)
