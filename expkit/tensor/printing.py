"""How a tensor prints: as PyTorch's, `tensor([[1., 2.]], dtype=...)`.

One format serves all elements shown: whole floats as `1.`, others with `precision` digits after the point, in
scientific notation where the magnitudes are far apart.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.handle import Value
from expkit.autograd.node import Leaf
from expkit.tensor import devices, dtypes

_DEFAULTS: dict[str, Any] = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "short": {"precision": 2, "edgeitems": 2},
    "full": {"threshold": math.inf},
}  # fmt: skip
_options = dict(_DEFAULTS)


def set_printoptions(*, profile: str | None = None, **options: Any) -> None:
    """precision (digits after the point), threshold (elements before summarising), edgeitems, linewidth, sci_mode.

    profile: "default", "short" or "full" sets all of them first.
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions: unknown profile {profile!r}; there are {', '.join(_PROFILES)}")
        _options.update(_DEFAULTS | _PROFILES[profile])
    for name, value in options.items():
        if name not in _options:
            raise TypeError(f"set_printoptions: unknown option {name!r}; there are {', '.join(_options)}")
        if value is not None or name == "sci_mode":
            _options[name] = value


def describe(x: Any) -> str:
    """The text of repr(x)."""
    if isinstance(x.raw, Value):
        kind = type(x.raw).__name__
        return f"tensor(<{kind} level {x.raw.level}>, shape={list(x.shape)}, dtype={x.dtype})"
    raw = devices.transfer(x.raw, devices.CPU)
    d, extras = x.dtype, []
    if x.is_cuda:
        extras.append(f"device='{x.device}'")
    if not raw.size and raw.ndim != 1:
        extras.append(f"size={tuple(x.shape)}")
    known = (dtypes.get_default_dtype(), dtypes.default_complex(), *((dtypes.int64, dtypes.bool_) if raw.size else ()))
    if d not in known:
        extras.append(f"dtype={d}")
    if x.requires_grad:
        extras.append("requires_grad=True" if x.node.__class__ is Leaf else f"grad_fn=<{x.grad_fn.name()}>")
    return _with_extras(f"tensor({_body(raw)}", extras)


def _with_extras(text: str, extras: list[str]) -> str:
    """The text with its keywords, on new lines where the last one is full."""
    length = len(text) - text.rfind("\n")
    for extra in extras:
        if length + len(extra) + 2 > _options["linewidth"]:
            text, length = f"{text},\n       {extra}", len(extra) + 7
        else:
            text, length = f"{text}, {extra}", length + len(extra) + 2
    return f"{text})"


def _body(raw: np.ndarray) -> str:
    if not raw.size:
        return "[]"
    raw = raw.astype(np.float32) if raw.dtype.kind == "V" else raw
    shown = raw if raw.size <= _options["threshold"] else _edges(raw)
    return _rows(raw, _formatter(shown.ravel()), len("tensor("), raw.size > _options["threshold"])


def _edges(raw: np.ndarray) -> np.ndarray:
    """Only the elements that a summary shows."""
    k = _options["edgeitems"]
    for axis, n in enumerate(raw.shape):
        if n > 2 * k:
            raw = np.take(raw, [*range(k), *range(n - k, n)], axis)
    return raw


def _formatter(values: np.ndarray) -> Callable[[Any], str]:
    """value -> text, all texts of the finite values equally wide."""
    if values.dtype.kind == "c":
        real, imag = _formatter(values.real), _formatter(values.imag)
        return lambda v: f"{real(v.real)}{'' if v.imag < 0 else '+'}{imag(v.imag).lstrip()}j"
    write = _writer(values) if values.dtype.kind == "f" else str
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    width = max((len(write(v)) for v in finite), default=1)
    return lambda v: write(v).rjust(width)


def _writer(values: np.ndarray) -> Callable[[Any], str]:
    digits, sci = _options["precision"], _options["sci_mode"]
    sizes = np.abs(values[np.isfinite(values) & (values != 0)].astype(np.float64))
    whole = bool((sizes == np.ceil(sizes)).all())
    if sizes.size and sci is None:
        sci = sizes.max() / sizes.min() > 1000 or sizes.max() > 1e8 or (not whole and sizes.min() < 1e-4)
    if sci:
        return lambda v: f"{v:.{digits}e}"
    if not whole:
        return lambda v: f"{v:.{digits}f}"
    return lambda v: f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"


def _rows(x: np.ndarray, write: Callable[[Any], str], indent: int, summarise: bool) -> str:
    if x.ndim == 0:
        return write(x[()])
    k = _options["edgeitems"]
    cut = summarise and len(x) > 2 * k
    parts = [*x[:k], None, *x[-k:]] if cut else list(x)
    if x.ndim > 1:
        texts = ["..." if p is None else _rows(p, write, indent + 1, summarise) for p in parts]
        return f"[{(',' + chr(10) * (x.ndim - 1) + ' ' * (indent + 1)).join(texts)}]"
    texts = [" ..." if p is None else write(p) for p in parts]
    per_line = max(1, (_options["linewidth"] - indent) // (max(map(len, texts)) + 2))
    lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
    return f"[{(',' + chr(10) + ' ' * (indent + 1)).join(lines)}]"
