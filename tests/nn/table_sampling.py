"""Rows of windows as columns, transposed convolutions, sampling at places, bags of rows; formulas by element."""

import itertools
from typing import Any

import numpy as np

from tests.nn import table_images as images

R = np.random.default_rng(19)


def x(*shape: int) -> np.ndarray:
    return R.standard_normal(shape)


# ---- windows ---------------------------------------------------------------------------------------------------------


def places(sizes: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """(place of the window, place in it, pixel) for every pixel of every window that is not padding."""
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True)
    ]
    for at in itertools.product(*map(range, out)):
        for tap in itertools.product(*map(range, kernel)):
            pixel = [i * s + t * d - p for i, t, s, p, d in zip(at, tap, stride, padding, dilation, strict=True)]
            if all(0 <= i < n for i, n in zip(pixel, sizes, strict=True)):
                yield at, tap, tuple(pixel)


def several(value: Any, count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)


def convolution(
    a: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    n = w.ndim - 2
    stride, padding, dilation = (several(v, n) for v in (stride, padding, dilation))
    sizes, kernel = a.shape[2:], w.shape[2:]
    out = [
        (m + 2 * p - d * (k - 1) - 1) // s + 1
        for m, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True)
    ]
    y = np.zeros((a.shape[0], w.shape[0], *out))
    ins, outs = w.shape[1], w.shape[0] // groups
    for at, tap, pixel in places(sizes, kernel, stride, padding, dilation):
        for g in range(groups):
            part = (
                a[(slice(None), slice(g * ins, (g + 1) * ins), *pixel)]
                @ w[(slice(g * outs, (g + 1) * outs), slice(None), *tap)].T
            )
            y[(slice(None), slice(g * outs, (g + 1) * outs), *at)] += part
    return y if b is None else y + b.reshape(-1, *(1,) * n)


def transposed(
    a: Any,
    w: Any,
    b: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    n = w.ndim - 2
    stride, padding, more, dilation = (several(v, n) for v in (stride, padding, output_padding, dilation))
    kernel = w.shape[2:]
    sizes = [
        (m - 1) * s - 2 * p + d * (k - 1) + e + 1
        for m, k, s, p, d, e in zip(a.shape[2:], kernel, stride, padding, dilation, more, strict=True)
    ]
    ins, outs = w.shape[0] // groups, w.shape[1]
    y = np.zeros((a.shape[0], outs * groups, *sizes))
    for at, tap, pixel in places(sizes, kernel, stride, padding, dilation):
        if all(i < m for i, m in zip(at, a.shape[2:], strict=True)):
            for g in range(groups):
                part = (
                    a[(slice(None), slice(g * ins, (g + 1) * ins), *at)]
                    @ w[(slice(g * ins, (g + 1) * ins), slice(None), *tap)]
                )
                y[(slice(None), slice(g * outs, (g + 1) * outs), *pixel)] += part
    return y if b is None else y + b.reshape(-1, *(1,) * n)


def _plan(size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    return size, several(kernel_size, 2), several(stride, 2), several(padding, 2), several(dilation, 2)


def unfold(a: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    plan = _plan(a.shape[2:], kernel_size, dilation, padding, stride)
    found = list(places(*plan))
    ends = [max(at[i] for at, _, _ in found) + 1 for i in range(2)]
    y = np.zeros((*a.shape[:2], *plan[1], *ends))
    for at, tap, pixel in found:
        y[(..., *tap, *at)] = a[(..., *pixel)]
    return y.reshape(a.shape[0], -1, ends[0] * ends[1])


def fold(a: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    plan = _plan(several(output_size, 2), kernel_size, dilation, padding, stride)
    found = list(places(*plan))
    ends = [max(at[i] for at, _, _ in found) + 1 for i in range(2)]
    parts = a.reshape(a.shape[0], -1, *plan[1], *ends)
    y = np.zeros((*parts.shape[:2], *plan[0]))
    for at, tap, pixel in found:
        y[(..., *pixel)] += parts[(..., *tap, *at)]
    return y


def lp_pool(a: Any, norm_type: float, kernel_size: Any, stride: Any = None) -> Any:
    n = a.ndim - 2
    kernel = several(kernel_size, n)
    steps = several(stride or kernel_size, n)
    out = [(m - k) // s + 1 for m, k, s in zip(a.shape[2:], kernel, steps, strict=True)]
    y = np.zeros((*a.shape[:2], *out))
    for at, _, pixel in places(a.shape[2:], kernel, steps, (0,) * n, (1,) * n):
        y[(..., *at)] += a[(..., *pixel)] ** norm_type
    return y ** (1 / norm_type)


def fractional(a: Any, kernel_size: Any, output_size: Any, _random_samples: Any) -> Any:
    n = a.ndim - 2
    kernel, out = several(kernel_size, n), several(output_size, n)
    order = (1, 0) if n == 2 else (0, 1, 2)
    y = np.empty((*a.shape[:2], *out))
    for i, c in np.ndindex(*a.shape[:2]):
        spans = []
        for axis in range(n):
            u, m, k, o = _random_samples[i, c, order[axis]], a.shape[2 + axis], kernel[axis], out[axis]
            alpha = (m - k) / (o - 1)
            starts = [int((j + u) * alpha) - int(u * alpha) for j in range(o - 1)] + [m - k]
            spans.append([slice(s, s + k) for s in starts])
        for at in np.ndindex(*out):
            y[(i, c, *at)] = a[(i, c, *(s[j] for s, j in zip(spans, at, strict=True)))].max()
    return y


def unpool(a: Any, index: Any, kernel_size: Any, output_size: Any = None) -> Any:
    size = output_size or tuple(n * kernel_size for n in a.shape[2:])
    y = np.zeros((*a.shape[:2], int(np.prod(size))))
    for i, c in np.ndindex(*a.shape[:2]):
        y[i, c, index[i, c].reshape(-1)] = a[i, c].reshape(-1)
    return y.reshape(*a.shape[:2], *size)


def some_places(lead: tuple[int, int], count: int, total: int, *shape: int) -> np.ndarray:
    """Different places in each plane."""
    return np.stack([R.permutation(total)[:count] for _ in range(lead[0] * lead[1])]).reshape(*lead, *shape)


# ---- norms -----------------------------------------------------------------------------------------------------------


def instance_norm(
    a: Any,
    weight: Any = None,
    bias: Any = None,
    running_mean: Any = None,
    running_var: Any = None,
    use_input_stats: bool = True,
    eps: float = 1e-5,
) -> Any:
    axes, at = tuple(range(2, a.ndim)), (1, -1, *(1,) * (a.ndim - 2))
    mean, var = (
        (a.mean(axes, keepdims=True), a.var(axes, keepdims=True))
        if use_input_stats
        else (running_mean.reshape(at), running_var.reshape(at))
    )
    y = (a - mean) / np.sqrt(var + eps)
    return y * (1 if weight is None else weight.reshape(at)) + (0 if bias is None else bias.reshape(at))


def local_response_norm(a: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    y = np.empty_like(a)
    for c in range(a.shape[1]):
        near = a[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        y[:, c] = a[:, c] / (k + alpha * (near**2).sum(1) / size) ** beta
    return y


# ---- sampling --------------------------------------------------------------------------------------------------------


def mirrored(c: float, n: int, corners: bool) -> float:
    low, high = (0, n - 1) if corners else (-0.5, n - 0.5)
    while high > low and not low <= c <= high:
        c = 2 * low - c if c < low else 2 * high - c
    return min(max(c, 0), n - 1)


INSIDE = {
    "zeros": lambda c, n, corners: c,
    "border": lambda c, n, corners: min(max(c, 0), n - 1),
    "reflection": mirrored,
}


def grid_sample(
    a: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False
) -> Any:
    sizes, inside = a.shape[2:], INSIDE[padding_mode]
    y = np.zeros((*a.shape[:2], *grid.shape[1:-1]))
    for at in np.ndindex(grid.shape[0], *grid.shape[1:-1]):
        axes = []
        for n, c in zip(sizes, grid[at][::-1], strict=True):
            c = (c + 1) / 2 * (n - 1) if align_corners else ((c + 1) * n - 1) / 2
            c = c if mode == "bicubic" else inside(c, n, align_corners)
            low = int(np.floor(c))
            if mode == "nearest":
                axes.append([(round(c), 1.0)])
            elif mode == "bilinear":
                axes.append([(low, low + 1 - c), (low + 1, c - low)])
            else:
                axes.append(
                    [(int(inside(low + k, n, align_corners)), images.cubic(c - low - k)) for k in (-1, 0, 1, 2)]
                )
        for taps in itertools.product(*axes):
            place = tuple(i for i, _ in taps)
            if all(0 <= i < n for i, n in zip(place, sizes, strict=True)):
                y[(at[0], slice(None), *at[1:])] += a[(at[0], slice(None), *place)] * np.prod([w for _, w in taps])
    return y


def affine_grid(theta: Any, size: Any, align_corners: bool = False) -> Any:
    y = np.empty((theta.shape[0], *size[2:], len(size) - 2))
    for at in np.ndindex(*size[2:]):
        place = [
            2 * i / max(n - 1, 1) - (n > 1) if align_corners else (2 * i + 1) / n - 1
            for i, n in zip(at, size[2:], strict=True)
        ]
        y[(slice(None), *at)] = theta @ np.array([*place[::-1], 1.0])
    return y


# ---- bags ------------------------------------------------------------------------------------------------------------


def embedding_bag(
    index: Any,
    table: Any,
    offsets: Any = None,
    mode: str = "mean",
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    flat = index.reshape(-1)
    if offsets is None:
        offsets = np.arange(0, len(flat) + 1, index.shape[1])
    elif not include_last_offset:
        offsets = np.append(offsets, len(flat))
    y = np.zeros((len(offsets) - 1, table.shape[1]))
    for i, (a, b) in enumerate(itertools.pairwise(offsets)):
        kept = [j for j in range(a, b) if padding_idx is None or flat[j] != padding_idx % len(table)]
        rows = table[flat[kept]]
        if per_sample_weights is not None:
            rows = rows * per_sample_weights.reshape(-1)[kept][:, None]
        if kept:
            y[i] = {"sum": np.sum, "mean": np.mean, "max": np.max}[mode](rows, axis=0)
    return y


GRID, VOLUME = R.uniform(-1.3, 1.3, (2, 3, 2, 2)), R.uniform(-1.3, 1.3, (1, 2, 1, 2, 3))
BAG = np.array([1, 4, 2, 2, 0, 3])
FUNCTIONS: list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = [
    ("conv3d", convolution, (x(2, 2, 3, 4, 3), x(3, 2, 2, 2, 2), x(3)), {"padding": (1, 0, 1)}),
    ("conv3d", convolution, (x(1, 2, 4, 3, 3), x(2, 1, 2, 1, 2)), {"stride": (2, 1, 1), "groups": 2, "dilation": (1, 2, 1)}),
    ("conv_transpose1d", transposed, (x(2, 3, 4), x(3, 2, 3), x(2)), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("conv_transpose1d", transposed, (x(2, 4, 4), x(4, 1, 3)), {"dilation": 2, "groups": 2}),
    ("conv_transpose2d", transposed, (x(1, 2, 3, 2), x(2, 2, 2, 3), x(2)), {"stride": (2, 1), "padding": (0, 1), "output_padding": (1, 0)}),
    ("conv_transpose3d", transposed, (x(1, 2, 2, 2, 2), x(2, 1, 2, 2, 1), x(2)), {"stride": 2, "groups": 2}),
    ("unfold", unfold, (x(2, 2, 4, 5), 2), {}),
    ("unfold", unfold, (x(1, 2, 5, 5), (2, 3)), {"dilation": (2, 1), "padding": (0, 1), "stride": 2}),
    ("fold", fold, (x(2, 8, 12), (4, 5), 2), {}),
    ("fold", fold, (x(1, 6, 6), 5, (2, 3)), {"dilation": (2, 1), "padding": (0, 1), "stride": (1, 3)}),
    ("lp_pool1d", lp_pool, (abs(x(2, 3, 7)), 2, 3), {}),
    ("lp_pool2d", lp_pool, (abs(x(2, 2, 4, 5)), 3, 2), {"stride": 1}),
    ("lp_pool3d", lp_pool, (abs(x(1, 2, 2, 4, 4)), 2, (1, 2, 2)), {}),
    ("fractional_max_pool2d", fractional, (x(2, 2, 6, 7), 2, (3, 4)), {"_random_samples": R.random((2, 2, 2))}),
    ("fractional_max_pool3d", fractional, (x(1, 2, 5, 4, 6), 2, (2, 2, 4)), {"_random_samples": R.random((1, 2, 3))}),
    ("max_unpool1d", unpool, (x(2, 2, 3), some_places((2, 2), 3, 6, 3), 2), {}),
    ("max_unpool2d", unpool, (x(2, 2, 2, 3), some_places((2, 2), 6, 35, 2, 3), 2), {"output_size": (5, 7)}),
    ("max_unpool3d", unpool, (x(1, 2, 1, 2, 2), some_places((1, 2), 4, 32, 1, 2, 2), 2), {}),
    ("instance_norm", instance_norm, (x(2, 3, 4),), {}),
    ("instance_norm", instance_norm, (x(2, 3, 2, 2),), {"weight": x(3), "bias": x(3), "eps": 0.1}),
    ("instance_norm", instance_norm, (x(2, 3, 4),), {"running_mean": x(3), "running_var": abs(x(3)), "use_input_stats": False}),
    ("local_response_norm", local_response_norm, (x(2, 5, 3), 3), {}),
    ("local_response_norm", local_response_norm, (x(2, 4, 2, 3), 2), {"alpha": 0.7, "beta": 0.3, "k": 2.0}),
    *(
        ("grid_sample", grid_sample, (x(2, 2, 3, 4), GRID), {"mode": mode, "padding_mode": padding, "align_corners": corners})
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in INSIDE
        for corners in (False, True)
    ),
    ("grid_sample", grid_sample, (x(1, 2, 3, 2, 4), VOLUME), {"align_corners": False}),
    ("grid_sample", grid_sample, (x(1, 2, 3, 2, 4), VOLUME), {"align_corners": True, "padding_mode": "reflection"}),
    ("affine_grid", affine_grid, (x(2, 2, 3), (2, 1, 3, 4)), {"align_corners": False}),
    ("affine_grid", affine_grid, (x(1, 3, 4), (1, 1, 2, 3, 2)), {"align_corners": True}),
    *(("embedding_bag", embedding_bag, (BAG.reshape(2, 3), x(5, 3)), {"mode": mode}) for mode in ("sum", "mean", "max")),
    *(
        ("embedding_bag", embedding_bag, (BAG, x(5, 3), np.array([0, 2, 2, 5])), {"mode": mode, "padding_idx": padding})
        for mode in ("sum", "mean", "max")
        for padding in (None, 2, -1)
    ),
    ("embedding_bag", embedding_bag, (BAG, x(5, 3), np.array([0, 1, 6])), {"include_last_offset": True}),
    ("embedding_bag", embedding_bag, (BAG, x(5, 3), np.array([0, 4])), {"mode": "sum", "per_sample_weights": x(6)}),
    ("upsample", images.interpolate, (x(1, 2, 3, 4), (5, 6)), {"mode": "bilinear"}),
    ("upsample_nearest", images.interpolate, (x(1, 2, 4), 7), {}),
    ("upsample_bilinear", lambda a, size: images.interpolate(a, size, mode="bilinear", align_corners=True), (x(1, 2, 3, 4), (5, 6)), {}),
]  # fmt: skip
