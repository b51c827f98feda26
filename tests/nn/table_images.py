"""Rows of interpolation and of pooling over volumes, with formulas written element by element."""

import itertools
from typing import Any

import numpy as np

R = np.random.default_rng(17)


def x(*shape: int) -> np.ndarray:
    return R.standard_normal(shape)


def cubic(d: float, a: float = -0.75) -> float:
    """Keys' kernel."""
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def smooth_weights(n: int, out: int, mode: str, scale: float | None, corners: bool) -> np.ndarray:
    """As `weights`, for antialias=True: kernels as wide as the image shrinks."""
    step = (n - 1) / max(out - 1, 1) if corners else 1 / scale if scale else n / out
    wide, w = max(step, 1.0), np.zeros((out, n))
    for i, k in itertools.product(range(out), range(n)):
        d = (k - step * (i + 0.5) + 0.5) / wide
        inside = abs(d) * wide <= (2 if mode == "bicubic" else 1) * wide
        w[i, k] = inside * (cubic(d, -0.5) if mode == "bicubic" else max(0.0, 1 - abs(d)))
    return w / w.sum(1, keepdims=True)


def weights(n: int, out: int, mode: str, scale: float | None, corners: bool) -> np.ndarray:
    """(out, n): how much of each element of an axis is in each of the result's."""
    w, step = np.zeros((out, n)), 1 / scale if scale else n / out
    for i in range(out):
        at = i * (n - 1) / max(out - 1, 1) if corners else (i + 0.5) * step - 0.5
        if mode == "area":
            w[i, i * n // out : -(-(i + 1) * n // out)] = 1
        elif mode.startswith("nearest"):
            w[i, min(int((i + 0.5 * (mode == "nearest-exact")) * step), n - 1)] = 1
        else:
            at = at if mode == "bicubic" else max(at, 0.0)
            for k in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                w[i, min(max(k, 0), n - 1)] += cubic(at - k) if mode == "bicubic" else max(0.0, 1 - abs(at - k))
    return w / w.sum(1, keepdims=True)


def interpolate(
    a: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None,
    recompute_scale_factor: Any = None, antialias: bool = False,
) -> Any:  # fmt: skip
    spatial = a.ndim - 2
    scales = scale_factor if isinstance(scale_factor, tuple) else (scale_factor,) * spatial
    sizes = size if isinstance(size, tuple) else (size,) * spatial
    for axis, (s, m) in enumerate(zip(scales, sizes, strict=True), 2):
        m = m or int(a.shape[axis] * s)
        make = smooth_weights if antialias else weights
        w = make(a.shape[axis], m, mode, None if recompute_scale_factor else s, bool(align_corners))
        a = np.moveaxis(np.tensordot(a, w, (axis, 1)), -1, axis)
    return a


def windows(take: Any, a: Any, spans: Any) -> Any:
    """take(...) over the boxes that the spans (per axis a list of slices) cut out of the last three axes."""
    out = np.empty((*a.shape[:-3], *map(len, spans)))
    for place in itertools.product(*(range(len(s)) for s in spans)):
        box = tuple(s[i] for s, i in zip(spans, place, strict=True))
        out[(..., *place)] = take(a[(..., *box)], axis=(-3, -2, -1))
    return out


def pool3d(take: Any) -> Any:
    def pooled(a: Any, kernel: int, stride: int | None = None) -> Any:
        step = stride or kernel
        spans = [[slice(i, i + kernel) for i in range(0, n - kernel + 1, step)] for n in a.shape[-3:]]
        return windows(take, a, spans)

    return pooled


def adaptive(take: Any) -> Any:
    def pooled(a: Any, sizes: Any) -> Any:
        spans = [
            [slice(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
            for n, m in zip(a.shape[-3:], sizes, strict=True)
        ]
        return windows(take, a, spans)

    return pooled


FUNCTIONS: list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = [
    *(("interpolate", interpolate, (x(2, 3, 5), 8), {"mode": mode}) for mode in ("nearest", "nearest-exact", "linear", "area")),
    *(("interpolate", interpolate, (x(2, 3, 8), 5), {"mode": mode}) for mode in ("nearest", "nearest-exact", "linear", "area")),
    *(("interpolate", interpolate, (x(2, 2, 4, 5), (7, 3)), {"mode": mode}) for mode in ("nearest", "bilinear", "bicubic", "area")),
    *(("interpolate", interpolate, (x(1, 2, 4, 3), (6, 5)), {"mode": mode, "align_corners": True}) for mode in ("bilinear", "bicubic")),
    ("interpolate", interpolate, (x(2, 2, 3, 4),), {"scale_factor": 2}),
    ("interpolate", interpolate, (x(2, 2, 5, 4),), {"scale_factor": (1.7, 2.3), "mode": "bilinear"}),
    ("interpolate", interpolate, (x(2, 2, 5, 4),), {"scale_factor": 1.7, "mode": "bicubic", "recompute_scale_factor": True}),
    ("interpolate", interpolate, (x(1, 2, 2, 3, 4), (3, 5, 2)), {"mode": "trilinear"}),
    *(
        ("interpolate", interpolate, (x(1, 2, 7, 5), (3, 6)), {"mode": mode, "align_corners": corners, "antialias": True})
        for mode in ("bilinear", "bicubic")
        for corners in (False, True)
    ),
    ("interpolate", interpolate, (x(1, 2, 2, 3, 4),), {"scale_factor": 2.0}),
    ("max_pool3d", pool3d(np.max), (x(2, 3, 4, 5, 6), 2), {}),
    ("max_pool3d", pool3d(np.max), (x(2, 4, 5, 6), 3, 1), {}),
    ("avg_pool3d", pool3d(np.mean), (x(2, 3, 4, 5, 6), 2), {}),
    ("avg_pool3d", pool3d(np.mean), (x(2, 4, 5, 6), 3, 1), {}),
    ("adaptive_avg_pool3d", adaptive(np.mean), (x(2, 3, 4, 5, 6), (2, 3, 4)), {}),
    ("adaptive_max_pool3d", adaptive(np.max), (x(2, 3, 4, 5, 6), (2, 3, 4)), {}),
]  # fmt: skip
