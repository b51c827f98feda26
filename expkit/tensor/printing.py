"""How a tensor prints: as PyTorch's, `tensor([[1., 2.]], dtype=...)`."""

from typing import Any

import numpy as np

from expkit.autograd.handle import Value
from expkit.autograd.node import Leaf
from expkit.tensor import devices, dtypes

_options = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80}


def set_printoptions(**options: Any) -> None:
    """precision (digits after the point), threshold (elements before summarising), edgeitems, linewidth."""
    for name, value in options.items():
        if name not in _options:
            raise TypeError(f"set_printoptions: unknown option {name!r}; there are {', '.join(_options)}")
        _options[name] = value


def describe(x: Any) -> str:
    """The text of repr(x)."""
    if isinstance(x.raw, Value):
        kind = type(x.raw).__name__
        return f"tensor(<{kind} level {x.raw.level}>, shape={list(x.shape)}, dtype={x.dtype})"
    raw = devices.transfer(x.raw, devices.CPU)
    body = _body(raw)
    extras = []
    d = x.dtype
    if raw.size == 0 and raw.ndim != 1:
        extras.append(f"size={tuple(x.shape)}")
    if not (d is dtypes.get_default_dtype() or d in (dtypes.int64, dtypes.bool_)):
        extras.append(f"dtype={d}")
    if x.is_cuda:
        extras.append(f"device='{x.device}'")
    if x.requires_grad:
        extras.append("requires_grad=True" if x.node.__class__ is Leaf else f"grad_fn=<{_name(x)}>")
    return f"tensor({', '.join([body, *extras])})"


def _name(x: Any) -> str:
    return x.grad_fn.name


def _body(raw: np.ndarray) -> str:
    if raw.dtype not in dtypes.BY_NUMPY or raw.dtype.kind not in "biufc":
        raw = raw.astype(np.float32)
    if raw.ndim == 0:
        value = raw.item()
        return (
            f"{value:.{_options['precision']}f}".rstrip("0")
            if isinstance(value, float) and np.isfinite(value) and 1e-4 <= abs(value) < 1e6
            else f"{value:.4e}"
            if isinstance(value, float) and np.isfinite(value) and value
            else str(value)
            if not isinstance(value, float) or not np.isfinite(value)
            else "0."
        )
    with np.printoptions(floatmode="maxprec_equal", suppress=None):
        return np.array2string(
            raw, separator=", ", prefix="tensor(", precision=_options["precision"], threshold=_options["threshold"],
            edgeitems=_options["edgeitems"], max_line_width=_options["linewidth"],
        )  # fmt: skip
