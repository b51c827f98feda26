"""Reductions by generated kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from expkit.kernels.cpu.program import Program, Ref, Step
from expkit.kernels.cpu.reduce import Reduction
from expkit.tensor.generated.base import Lazy

LEAST = 1 << 13  # elements from which a reduction is faster than NumPy's


def reduction(name: str, plain: Callable[..., Any], *, whole: bool = True) -> Callable[..., Any]:
    """The implementation of sum, amax or amin over axes, the last one among them: NumPy is as fast along the others.

    whole: also where all axes are reduced, at which NumPy's extrema are as fast.
    """
    lazy = Lazy(lambda kind: Reduction(Program((kind,), (Step(name, (Ref(0),)),), (1,))))

    @wraps(plain)
    def impl(x: Any, *, axes: tuple[int, ...]) -> Any:
        if x.__class__ is np.ndarray and x.size >= LEAST and _worth(axes, x.ndim, whole):
            kernel = lazy.of(x.dtype)
            if kernel is not None:
                return kernel((x,), axes)
        return plain(x, axes=axes)

    return impl


def _worth(axes: tuple[int, ...], ndim: int, whole: bool) -> bool:
    return bool(axes) and axes[-1] == ndim - 1 and (whole or len(axes) < ndim)
