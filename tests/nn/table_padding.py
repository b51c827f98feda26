"""Rows of padding and of the layers that move between channels and places; NumPy's own pad is the oracle."""

from typing import Any

import numpy as np

R = np.random.default_rng(13)
MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def x(*shape: int) -> np.ndarray:
    return R.standard_normal(shape)


def pad(a: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    widths = [(0, 0)] * (a.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    kept = tuple(slice(max(-lo, 0), n + min(hi, 0)) for n, (lo, hi) in zip(a.shape, widths, strict=True))
    grown = [(max(lo, 0), max(hi, 0)) for lo, hi in widths]
    if mode == "constant":
        return np.pad(a[kept], grown, constant_values=value or 0.0)
    return np.pad(a, grown, MODES[mode])[tuple(
        slice(max(-lo, 0), None if hi >= 0 else hi) for lo, hi in widths
    )]  # fmt: skip


def pixel_shuffle(a: Any, r: int) -> Any:
    n, c, h, w = a.shape
    out = np.empty((n, c // r**2, h * r, w * r))
    for i in range(r):
        for j in range(r):
            out[:, :, i::r, j::r] = a[:, i * r + j :: r * r]
    return out


def pixel_unshuffle(a: Any, r: int) -> Any:
    n, c, h, w = a.shape
    return np.stack([a[:, :, i::r, j::r] for i in range(r) for j in range(r)], 2).reshape(n, c * r * r, h // r, w // r)


def channel_shuffle(a: Any, groups: int) -> Any:
    c = a.shape[1]
    return a[:, [g * (c // groups) + k for k in range(c // groups) for g in range(groups)]]


FUNCTIONS: list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = [
    ("pad", pad, (x(2, 3), (1, 2)), {}),
    ("pad", pad, (x(2, 3, 4), (1, -1, 0, 2)), {"value": 1.5}),
    ("pad", pad, (x(2, 3), (-1, 0, -1, 1)), {}),
    *(("pad", pad, (x(2, 5), (2, 1)), {"mode": mode}) for mode in MODES),
    *(("pad", pad, (x(2, 3, 4, 5), (2, 1, 0, 3)), {"mode": mode}) for mode in MODES),
    *(("pad", pad, (x(1, 2, 3, 4, 3), (1, 1, 2, 0, 1, 2)), {"mode": mode}) for mode in MODES),
    ("pad", pad, (x(2, 3, 4), (3, 3)), {"mode": "reflect"}),
    ("pad", pad, (x(2, 3, 4), (4, 4)), {"mode": "circular"}),
    ("pad", pad, (x(2, 3, 4), (7, 9)), {"mode": "replicate"}),
    ("pixel_shuffle", pixel_shuffle, (x(2, 8, 2, 3), 2), {}),
    ("pixel_unshuffle", pixel_unshuffle, (x(2, 3, 4, 6), 2), {}),
    ("channel_shuffle", channel_shuffle, (x(2, 6, 3, 2), 3), {}),
]  # fmt: skip

_LINES, _IMAGES, _VOLUMES = x(2, 3, 5), x(2, 3, 4, 5), x(1, 2, 3, 4, 3)
_PADS = {1: (_LINES, (1, 2)), 2: (_IMAGES, (1, 2, 0, 3)), 3: (_VOLUMES, (1, 2, 0, 1, 2, 1))}
# module, arguments, oracle, input
MODULES: list[tuple[str, tuple[Any, ...], Any, np.ndarray]] = [
    entry
    for n, (a, pads) in _PADS.items()
    for entry in (
        (f"ConstantPad{n}d", (pads, 2.5), lambda a, p=pads: pad(a, p, value=2.5), a),
        (f"ZeroPad{n}d", (1,), lambda a, n=n: pad(a, (1,) * (2 * n)), a),
        (f"ReflectionPad{n}d", (1,), lambda a, n=n: pad(a, (1,) * (2 * n), "reflect"), a),
        (f"ReplicationPad{n}d", (pads,), lambda a, p=pads: pad(a, p, "replicate"), a),
        (f"CircularPad{n}d", (pads,), lambda a, p=pads: pad(a, p, "circular"), a),
    )
]
