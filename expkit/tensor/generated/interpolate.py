"""Resampling by generated kernels: float32 and float64 images from a size on."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import prod
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.interpolate import resample
from expkit.kernels.cpu.arrays.taps import Taps
from expkit.tensor.generated.base import F32, F64, enabled

LEAST = 1 << 9  # elements of input and result from which a kernel is faster than NumPy


def pure_resample(x: Any, *, taps: tuple[Taps, ...]) -> Any:
    """A banded matrix along each of the last axes, by kernels alone; None where there are none."""
    known = x.__class__ is np.ndarray and (x.dtype is F32 or x.dtype is F64) and x.size and enabled()
    return resample(x, taps) if known else None


def resampling(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation of `pure_resample`."""

    @wraps(plain)
    def impl(x: Any, *, taps: tuple[Taps, ...]) -> Any:
        grown = prod(t.n_out for t in taps) / prod(t.n_in for t in taps)
        found = pure_resample(x, taps=taps) if x.size * max(1.0, grown) >= LEAST else None
        return plain(x, taps=taps) if found is None else found

    return impl


ROWS: dict[str, Callable[..., Any]] = {"resample": pure_resample}  # of the table in pure.py
