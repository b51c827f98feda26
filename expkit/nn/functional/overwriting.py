"""Activations that overwrite their input: relu_(x) is relu(x, inplace=True)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expkit.nn.functional import activation as plain
from expkit.nn.functional.random_activation import rrelu
from expkit.tensor import Tensor


def _overwriting(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def form(input: Tensor, *args: Any, **kw: Any) -> Tensor:
        return function(input, *args, **kw, inplace=True)

    form.__name__ = form.__qualname__ = f"{function.__name__}_"
    form.__doc__ = f"{function.__name__} in place: {function.__doc__}"
    return form


celu_ = _overwriting(plain.celu)
elu_ = _overwriting(plain.elu)
hardtanh_ = _overwriting(plain.hardtanh)
leaky_relu_ = _overwriting(plain.leaky_relu)
relu_ = _overwriting(plain.relu)
rrelu_ = _overwriting(rrelu)
selu_ = _overwriting(plain.selu)
threshold_ = _overwriting(plain.threshold)
