"""In-place forms by generated kernels: one pass over the tensor's own memory, without temporaries."""

from __future__ import annotations

from typing import Any

import numpy as np

from expkit.kernels.cpu.loops.program import Ref, Step
from expkit.tensor.generated.pointwise import HEAVY, LIGHT, LIMITS, SIZES, Kernels

X, Y, Z, W = map(Ref, range(4))
SCALED = {  # name: steps; the operands come first, then the results of the steps
    "add": (Step("mul", (Y, Z)), Step("add", (X, Ref(3)))),
    "sub": (Step("mul", (Y, Z)), Step("sub", (X, Ref(3)))),
}
OTHERS = {
    "lerp": (Step("sub", (Y, X)), Step("mul", (Ref(3), Z)), Step("add", (X, Ref(4)))),
    "addcmul": (Step("mul", (Y, Z)), Step("mul", (Ref(4), W)), Step("add", (X, Ref(5)))),
    "addcdiv": (Step("div", (Y, Z)), Step("mul", (Ref(4), W)), Step("add", (X, Ref(5)))),
    **LIMITS,
}
_OPERANDS = {"lerp": 3, "addcmul": 4, "addcdiv": 4, "clamp": 3, "clamp_min": 2, "clamp_max": 2}
_MASKS = "where eq ne lt le gt ge logical_and logical_or logical_xor logical_not isfinite isinf isnan"


def _kernels() -> dict[tuple[str, int], Kernels]:
    """(name, operands) -> kernels"""
    made = {(name, 3): Kernels(*steps, operands=3, into=0) for name, steps in SCALED.items()}
    made |= {(n, _OPERANDS[n]): Kernels(*steps, operands=_OPERANDS[n], into=0) for n, steps in OTHERS.items()}
    for name in SIZES.keys() - set(_MASKS.split()):
        count = SIZES[name][0]
        made[name, count] = Kernels(Step(name, (X, Y)[:count]), operands=count, into=0)
    return made


_KERNELS = _kernels()


def update(name: str, x: Any, *others: Any) -> bool:
    """x = name(x, *others) in x's memory, if there is a kernel for it; others: arrays of x's dtype, and numbers."""
    if x.__class__ is not np.ndarray or x.size < (LIGHT if len(others) == 1 else HEAVY) or not x.flags.writeable:
        return False
    kernels = _KERNELS.get((name, 1 + len(others)))
    if kernels is None or 0 in x.strides:
        return False
    if name in LIMITS and not all(y.__class__ in (float, int) and y == y for y in others):  # numbers, no NaN
        return False
    for y in others:
        if y.__class__ is np.ndarray and not _fits(x, y):
            return False
    return kernels(x, *others) is not None


_FILL: dict[Any, Kernels] = {}


def fill(x: Any, value: Any) -> bool:
    """x[...] = value, an array of x's dtype that holds one number, if there is a kernel for it."""
    if x.size < HEAVY or not x.flags.writeable or 0 in x.strides or x.dtype.kind not in "fiub":
        return False
    if x.dtype not in _FILL:
        same = Step("cast", (Y,), (("dtype", x.dtype),))  # the number itself
        _FILL[x.dtype] = Kernels(same, operands=2, into=0)
    return _FILL[x.dtype](x, value) is not None


def _fits(x: Any, y: Any) -> bool:
    """Whether the array y may stand beside x: broadcast to its shape, with none or all of its memory."""
    if y.shape != x.shape and not _spreads(y.shape, x.shape):
        return False
    if y is x or not np.may_share_memory(x, y):
        return True
    return y.ctypes.data == x.ctypes.data and y.strides == x.strides and y.shape == x.shape


def _spreads(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    return len(shape) <= len(full) and all(n in (1, m) for n, m in zip(shape[::-1], full[::-1], strict=False))
