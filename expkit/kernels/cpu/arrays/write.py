"""Writing into arrays by kernels alone: values that are broadcast and converted, numbers; and copies for other forms.

Nothing here asks how large an array is: programs that are recorded are made of these.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.arrays.copy import contiguous, copy
from expkit.kernels.cpu.code.elementwise import KINDS, Gap
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.pointwise import Kernel
from expkit.kernels.cpu.loops.program import Program, Ref, Step
from expkit.kernels.cpu.machine.locks import forkable

_lock = forkable()
_conversions: dict[tuple[Any, Any], Kernel | None] = {}


def number(value: Any, dtype: Any) -> Any:
    """A number as a read-only array without axes, which recordings take for a constant."""
    x = np.array(value, dtype)
    return _kept(x.tobytes(), x.dtype)


@lru_cache(maxsize=1024)
def _kept(data: bytes, dtype: Any) -> Any:
    x = np.array(np.frombuffer(data, dtype)[0], dtype)
    x.flags.writeable = False
    return x


def write(target: Any, value: Any) -> bool:
    """target[...] = value, broadcast and converted, for arrays that share no memory; False where no kernel converts."""
    if target.dtype == value.dtype:
        copy(target, value)
        return True
    kernel = _conversion(value.dtype, target.dtype)
    if kernel is None:
        return False
    kernel.run(target, np.broadcast_to(value, target.shape))
    return True


def converted(x: Any, dtype: Any) -> Any:
    """A copy in another dtype, in the order of the shape; None where no kernel converts."""
    if x.dtype != dtype and _conversion(x.dtype, dtype) is None:
        return None
    out = plan.empty(x.shape, dtype)
    write(out, x)
    return out


def _conversion(old: Any, new: Any) -> Kernel | None:
    key = (old, new)
    if key not in _conversions:
        with _lock:
            _conversions[key] = _made(old, new)
    return _conversions[key]


def _made(old: Any, new: Any) -> Kernel | None:
    """The kernel (target, value) that writes the converted value."""
    try:
        kinds = KINDS[new], KINDS[old]
        return Kernel(Program(kinds, (Step("cast", (Ref(1),), (("dtype", new),)),), (2,), into=0))
    except (Gap, KeyError):
        return None


def filled(shape: tuple[int, ...], dtype: Any, value: Any = 0) -> Any:
    """A new array with one number everywhere."""
    out = plan.empty(shape, dtype)
    copy(out, number(value, dtype))
    return out


def reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    """A view in another shape, or a copy where no strides give it."""
    try:
        return x.reshape(shape, copy=False)
    except ValueError:
        return contiguous(x).reshape(shape)
